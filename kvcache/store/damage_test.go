package store

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"syscall"
	"testing"

	"github.com/holdfast-run/holdfast/internal/testkit/vfstest"
	"github.com/holdfast-run/holdfast/internal/vfs"
)

// memory is a segment's file whose bytes a test can reach.
type memory struct {
	vfs.File
	b   []byte
	err error
}

func (m *memory) ReadAt(p []byte, off int64) (int, error) {
	if m.err != nil {
		return 0, m.err
	}
	if off > int64(len(m.b)) {
		return 0, io.EOF
	}
	n := copy(p, m.b[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// inMemory has the segments of a store read from memory from now on.
func inMemory(t testing.TB, s *Store) {
	for _, g := range s.segments {
		m := &memory{File: g.file, b: make([]byte, g.size)}
		if _, err := g.file.ReadAt(m.b, 0); err != nil {
			t.Fatal(err)
		}
		g.file = m
	}
}

// victim is a stored block, and the bytes that it lies in.
type victim struct {
	b      Block
	p      place
	g      *segment
	m      *memory
	bytes  []byte // of its header and payload, on whole pages
	header []byte // of those, the ones that mean something
	body   []byte
}

func find(t testing.TB, s *Store, n int) victim {
	v := victim{b: block(n)}
	var ok bool
	if v.p, ok = s.at(v.b.Key.fingerprint()); !ok {
		t.Fatalf("block %d is not there", n)
	}
	v.g = s.lives[v.p.segment()]
	v.m = v.g.file.(*memory)
	v.bytes = v.m.b[v.p.offset() : v.p.offset()+int64(v.p.pages())*pageSize]
	size := headerBytes(len(v.b.Tokens))
	v.header = v.bytes[:size]
	v.body = v.bytes[int(pagesOf(size))*pageSize:][:len(v.b.Payload)]
	return v
}

// some returns a place in a byte that means something.
func (v *victim) some(rng *rand.Rand) *byte {
	if n := rng.IntN(len(v.header) + len(v.body)); n >= len(v.header) {
		return &v.body[n-len(v.header)]
	} else {
		return &v.header[n]
	}
}

// rewrite writes another header there, whole by itself.
func (v *victim) rewrite(change func(*blockHeader, []int32)) {
	h, _, _ := parseBlockHeader(v.header)
	tokens := slices.Clone(v.b.Tokens)
	change(&h, tokens)
	copy(v.header, h.append(nil, tokens))
}

// damages are all the ways in which what is stored for a block can be something
// else. other is another block of the store.
var damages = []struct {
	name string
	do   func(rng *rand.Rand, v, other *victim)
}{
	{"bit flipped", func(rng *rand.Rand, v, _ *victim) { *v.some(rng) ^= 1 << rng.IntN(8) }},
	{"byte changed", func(rng *rand.Rand, v, _ *victim) { *v.some(rng) ^= byte(1 + rng.IntN(255)) }},
	{"blocks swapped", func(_ *rand.Rand, v, other *victim) {
		n := min(len(v.bytes), len(other.bytes))
		mine := bytes.Clone(v.bytes)
		copy(v.bytes, other.bytes[:n])
		copy(other.bytes, mine[:n])
	}},
	{"header of another", func(_ *rand.Rand, v, other *victim) { copy(v.bytes[:pageSize], other.bytes) }},
	{"payload of another", func(rng *rand.Rand, v, other *victim) {
		if copy(v.body, other.body); bytes.Equal(v.body, v.b.Payload) {
			*v.some(rng) ^= 1
		}
	}},
	{"of the segment's former life", func(_ *rand.Rand, v, _ *victim) {
		v.rewrite(func(h *blockHeader, _ []int32) { h.salt++ })
	}},
	{"written for another place", func(_ *rand.Rand, v, _ *victim) {
		v.rewrite(func(h *blockHeader, _ []int32) { h.page++ })
	}},
	{"of another model", func(_ *rand.Rand, v, _ *victim) {
		v.rewrite(func(h *blockHeader, _ []int32) { h.key.Hash[9]++; h.root[3]++ })
	}},
	{"of another pool", func(_ *rand.Rand, v, _ *victim) {
		v.rewrite(func(h *blockHeader, _ []int32) { h.key.Kind++ })
	}},
	{"other tokens", func(rng *rand.Rand, v, _ *victim) {
		v.rewrite(func(_ *blockHeader, tokens []int32) { tokens[rng.IntN(len(tokens))]++ })
	}},
	{"other length", func(_ *rand.Rand, v, _ *victim) {
		v.rewrite(func(h *blockHeader, _ []int32) { h.payload++ })
	}},
	{"sector of zeros", func(rng *rand.Rand, v, _ *victim) { clear(v.header[:min(512, len(v.header))]) }},
	{"page of zeros", func(rng *rand.Rand, v, _ *victim) { clear(v.bytes[:pageSize]) }},
	{"file cut short", func(rng *rand.Rand, v, _ *victim) {
		end := v.p.offset() + int64(len(v.header))
		if len(v.body) > 0 {
			end = v.p.offset() + int64(pagesOf(len(v.header)))*pageSize + int64(len(v.body))
		}
		v.m.b = v.m.b[:end-1-rng.Int64N(end-v.p.offset())]
	}},
	{"unreadable", func(_ *rand.Rand, v, _ *victim) { v.m.err = syscall.EIO }},
}

// TestDamage damages stored blocks in every way that a disk, a driver or a bug can,
// 20,000 times, 100,000 with HOLDFAST_LONG=1: each is detected, counted once, and the
// block missing from then on. As many loads of whole blocks find nothing.
func TestDamage(t *testing.T) {
	n := 20_000
	if os.Getenv("HOLDFAST_LONG") != "" {
		n = 100_000
	}
	if testing.Short() {
		n = 2_000
	}
	const count = 300
	s := mustOpen(t, vfstest.NewDisk(), small)
	for i := 0; i < count; i += 7 {
		mustPut(t, s, span(i, min(i+7, count)))
	}
	inMemory(t, s)
	rng := rand.New(rand.NewPCG(9, 9))
	for i := range n {
		a := rng.IntN(count)
		b := (a + 1 + rng.IntN(count-1)) % count
		v, other := find(t, s, a), find(t, s, b)
		saved, kept, whole := bytes.Clone(v.bytes), bytes.Clone(other.bytes), v.m.b
		d := damages[i%len(damages)]
		d.do(rng, &v, &other)
		before := s.Stats()
		var corrupt *CorruptError
		if err := read(t, s, v.b); !errors.As(err, &corrupt) || corrupt.Key != v.b.Key {
			t.Fatalf("block %d, %s: %v", a, d.name, err)
		}
		mustMiss(t, s, []Block{v.b})
		if st := s.Stats(); st.Corrupt != before.Corrupt+1 || st.Blocks != before.Blocks-1 {
			t.Fatalf("block %d, %s: %+v", a, d.name, st)
		}
		v.m.b, v.m.err = whole, nil
		copy(v.bytes, saved)
		copy(other.bytes, kept)
		s.mu.Lock()
		s.set(v.b.Key.fingerprint(), v.p)
		s.mu.Unlock()
		mustRead(t, s, []Block{v.b})
	}
	if st := s.Stats(); st.Corrupt != uint64(n) || st.Read != uint64(n) {
		t.Errorf("%d damaged, %d whole: %+v", n, n, st)
	}
	check(t, s)
	mustClose(t, s)
}

// TestDamageIsNotCopied: Fsck and compaction verify what they touch.
func TestDamageIsNotCopied(t *testing.T) {
	for _, compact := range []bool{false, true} {
		s := mustOpen(t, vfstest.NewDisk(), small)
		mustPut(t, s, span(0, 60))
		inMemory(t, s)
		rng := rand.New(rand.NewPCG(1, 1))
		bad, live := map[Key]bool{}, map[Key]bool{}
		for n := 0; n < 60; n += 3 {
			v := find(t, s, n)
			live[v.b.Key] = true
			if n%2 == 0 {
				*v.some(rng) ^= 64
				bad[v.b.Key] = true
			}
		}
		if compact {
			if c, err := s.Collect(context.Background(), func(k Key) bool { return live[k] }); err != nil || c.Moved == 0 || c.Segments == 0 {
				t.Fatalf("%+v, %v", c, err)
			}
		} else if r, err := s.Fsck(context.Background()); err != nil || r.Bad != len(bad) || r.Blocks != 60 {
			t.Fatalf("%+v, %v", r, err)
		}
		wrong := 0
		for n := 0; n < 60; n += 3 {
			b := block(n)
			switch err := read(t, s, b); {
			case bad[b.Key] && err == nil, !bad[b.Key] && err != nil:
				t.Errorf("block %d: %v", n, err)
			case err == ErrMissing:
				wrong++
			}
		}
		if st := s.Stats(); st.Corrupt != uint64(len(bad)) || wrong == 0 {
			t.Errorf("%+v", st)
		}
		check(t, s)
		mustClose(t, s)
	}
}

// TestDamagedLists: a segment whose index or directories are damaged costs blocks, and
// never shows a wrong one. An index and its directories stand in for each other.
func TestDamagedLists(t *testing.T) {
	disk := vfstest.NewDisk()
	s := mustOpen(t, disk, small)
	for n := range 100 {
		mustPut(t, s, blocks(n))
	}
	mustClose(t, s)
	rng := rand.New(rand.NewPCG(4, 4))
	lost := 0
	for i := range 600 {
		wreck := disk.Crash(disk.Ops(), vfstest.KeepAll, nil)
		f, err := wreck.Open("kv/"+fileName(uint64(1+rng.IntN(8))), 0)
		if err != nil {
			t.Fatal(err)
		}
		var b [1]byte
		off := rng.Int64N(small.SegmentBytes)
		if i%2 == 0 { // the list in the index
			off = small.SegmentBytes - 1 - rng.Int64N(600)
		}
		f.ReadAt(b[:], off)
		b[0] ^= 1 << rng.IntN(8)
		f.WriteAt(b[:], off)
		s := mustOpen(t, wreck, small)
		for n := range 100 {
			if err := read(t, s, block(n)); err != nil {
				lost++
				if off >= small.SegmentBytes-pageSize {
					t.Errorf("damage at %d: block %d: %v", off, n, err)
				}
			}
		}
		check(t, s)
		s.release()
	}
	if lost == 0 {
		t.Error("nothing was lost: the test damages nothing")
	}
}
