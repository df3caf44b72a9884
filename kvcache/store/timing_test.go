package store

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/internal/slab"
	"github.com/holdfast-run/holdfast/internal/vfs"
)

// blockBytes is the KV of 32 tokens of a model with 30 layers and 3 heads of 64, in
// 16 bits; 126 of them are a prompt of 4,000 tokens.
const (
	blockBytes   = 736 << 10
	promptBlocks = 126
)

func prompt(n int) []Block {
	rng := rand.New(rand.NewPCG(uint64(n), 1))
	list := make([]Block, promptBlocks)
	for i := range list {
		payload := make([]byte, blockBytes)
		for at := 0; at < len(payload); at += 8 {
			binary.LittleEndian.PutUint64(payload[at:], rng.Uint64())
		}
		list[i] = Block{Key: key(n*promptBlocks + i), Tokens: make([]int32, 32), Payload: payload}
	}
	return list
}

// BenchmarkPut writes prompts of 95 MB, and in turns the same bytes to a plain file in
// the same pieces, without digests: ratio is the time of Put by that of those.
func BenchmarkPut(b *testing.B) {
	dir := b.TempDir()
	s, err := Open(vfs.OS{}, dir+"/kv", Options{MaxBytes: 2 << 30})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	plain, err := vfs.OS{}.Open(dir+"/plain", vfs.Create|vfs.Direct)
	if err != nil {
		b.Fatal(err)
	}
	defer plain.Close()
	memory, err := slab.New(stageBytes)
	if err != nil {
		b.Fatal(err)
	}
	defer memory.Close()
	stage := memory.Take(stageBytes)
	list := prompt(0)
	var put, bare time.Duration
	b.SetBytes(promptBlocks * blockBytes)
	for i := 0; b.Loop(); i++ {
		for j := range list {
			list[j].Key = key(i*promptBlocks + j)
		}
		start := time.Now()
		if err := s.Put(list); err != nil {
			b.Fatal(err)
		}
		put += time.Since(start)
		start = time.Now()
		for at := 0; at < promptBlocks*blockBytes; at += stageBytes {
			if _, err := plain.WriteAt(stage, int64(at)); err != nil {
				b.Fatal(err)
			}
			if at%batchBytes == 0 {
				if err := plain.Sync(); err != nil {
					b.Fatal(err)
				}
			}
		}
		bare += time.Since(start)
	}
	report(b, put, bare)
}

// report prints bandwidths of both ways and the ratio of their times.
func report(b *testing.B, ours, bare time.Duration) {
	mb := float64(b.N) * promptBlocks * blockBytes / 1e6
	b.ReportMetric(mb/ours.Seconds(), "MB/s-store")
	b.ReportMetric(mb/bare.Seconds(), "MB/s-bare")
	b.ReportMetric(ours.Seconds()/bare.Seconds(), "ratio")
}

// BenchmarkRead reads a prompt of 95 MB from the page cache by 1, 2 and 4 goroutines,
// verified, and in turns the same bytes by bare reads.
func BenchmarkRead(b *testing.B) {
	s, err := Open(vfs.OS{}, b.TempDir()+"/kv", Options{MaxBytes: 2 << 30})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	list := prompt(0)
	if err := s.Put(list); err != nil {
		b.Fatal(err)
	}
	for _, n := range []int{1, 2, 4} {
		b.Run(fmt.Sprintf("%dreaders", n), func(b *testing.B) {
			b.SetBytes(promptBlocks * blockBytes)
			var read, bare time.Duration
			buffers := make([][]byte, n)
			for i := range buffers {
				buffers[i] = make([]byte, blockBytes)
			}
			each := func(do func(block *Block, dst []byte) error) time.Duration {
				start := time.Now()
				errs := make(chan error, n)
				for r := range n {
					go func() {
						var err error
						for i := r; i < len(list) && err == nil; i += n {
							err = do(&list[i], buffers[r])
						}
						errs <- err
					}()
				}
				for range n {
					if err := <-errs; err != nil {
						b.Fatal(err)
					}
				}
				return time.Since(start)
			}
			verified := func(block *Block, dst []byte) error { return s.Read(block.Key, block.Tokens, dst) }
			each(verified) // what was written past the page cache is not in it
			for b.Loop() {
				read += each(verified)
				bare += each(func(block *Block, dst []byte) error {
					p, _ := s.at(block.Key.fingerprint())
					return readFull(s.lives[p.segment()].file, dst, p.offset()+pageSize)
				})
			}
			report(b, read, bare)
		})
	}
}

// BenchmarkHas is a look-up among a million blocks.
func BenchmarkHas(b *testing.B) {
	s := &Store{index: map[uint64]place{}}
	keys := make([]Key, 1<<20)
	for i := range keys {
		keys[i] = key(i)
		s.index[keys[i].fingerprint()] = 0
	}
	for i := 0; b.Loop(); i++ {
		if !s.Has(keys[i*7919%len(keys)]) {
			b.Fatal("missing")
		}
	}
}

// BenchmarkOpen opens a store of 40 full segments with 350 blocks each, small ones, so
// that it is its lists that are read.
func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir() + "/kv"
	o := Options{SegmentBytes: 4 << 20, MaxBytes: 1 << 30}
	s, err := Open(vfs.OS{}, dir, o)
	if err != nil {
		b.Fatal(err)
	}
	for n := 0; n < 14_000; n += 500 {
		list := make([]Block, 500)
		for i := range list {
			list[i] = Block{Key: key(n + i), Payload: make([]byte, 4000)}
		}
		if err := s.Put(list); err != nil {
			b.Fatal(err)
		}
	}
	st := s.Stats()
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		s, err := Open(vfs.OS{}, dir, o)
		if err != nil || s.Stats().Blocks != st.Blocks {
			b.Fatal(err)
		}
		s.Close()
	}
	b.ReportMetric(float64(st.Segments), "segments")
}
