package store

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/internal/testkit/vfstest"
	"github.com/holdfast-run/holdfast/internal/vfs"
)

// TestConcurrent reads, checks and looks up blocks while others are put, collected,
// compacted and evicted: what is read is right or missing, and nothing is called
// corrupt.
func TestConcurrent(t *testing.T) {
	s := mustOpen(t, vfstest.NewDisk(), Options{SegmentBytes: 32 * pageSize, MaxBytes: 12 * 32 * pageSize})
	const count = 150
	for n := range count { // they are made once
		block(n)
	}
	done := make(chan struct{})
	var wait sync.WaitGroup
	spawn := func(seed uint64, do func(rng *rand.Rand)) {
		wait.Go(func() {
			rng := rand.New(rand.NewPCG(seed, 0))
			for {
				select {
				case <-done:
					return
				default:
					do(rng)
				}
			}
		})
	}
	for i := range uint64(3) {
		spawn(i, func(rng *rand.Rand) {
			n := rng.IntN(count)
			s.Has(key(n))
			if err := read(t, s, block(n)); err != nil && err != ErrMissing {
				t.Errorf("read: %v", err)
			}
		})
	}
	spawn(5, func(rng *rand.Rand) {
		keep := byte(rng.IntN(5))
		if _, err := s.Collect(t.Context(), func(k Key) bool { return k.Hash[1]%5 != keep }); err != nil {
			t.Errorf("collect: %v", err)
		}
	})
	spawn(6, func(*rand.Rand) {
		if r, err := s.Fsck(t.Context()); err != nil || r.Bad != 0 {
			t.Errorf("fsck: %+v, %v", r, err)
		}
		s.Stats()
	})
	rng := rand.New(rand.NewPCG(7, 7))
	var total Stats
	end := time.Now().Add(5 * time.Minute)
	for i := 0; i < 300 || time.Now().Before(end) && (total.Moved == 0 || total.Evicted == 0 || total.Collected == 0 || total.Read == 0); i++ {
		n := rng.IntN(count - 6)
		if err := s.Put(span(n, n+6)); err != nil {
			t.Fatal(err)
		}
		total = s.Stats()
	}
	close(done)
	wait.Wait()
	if st := s.Stats(); st.Corrupt != 0 || st.Moved == 0 || st.Evicted == 0 || st.Collected == 0 {
		t.Errorf("%+v", st)
	}
	check(t, s)
	mustClose(t, s)
}

// slowFile waits before it reads a payload.
type slowFile struct {
	vfs.File
	reading, proceed chan struct{}
}

func (f *slowFile) ReadAt(p []byte, off int64) (int, error) {
	f.reading <- struct{}{}
	<-f.proceed
	return f.File.ReadAt(p, off)
}

// TestReaderKeepsItsSegment: a segment that is evicted under a reader is not written
// before the reader has done.
func TestReaderKeepsItsSegment(t *testing.T) {
	s := mustOpen(t, vfstest.NewDisk(), Options{SegmentBytes: 32 * pageSize, MaxBytes: 4 * 32 * pageSize})
	mustPut(t, s, span(0, 3))
	mustPut(t, s, span(3, 14)) // the first is not written to any more
	mustRead(t, s, blocks(1))
	slow := &slowFile{s.segments[0].file, make(chan struct{}), make(chan struct{})}
	s.mu.Lock()
	s.segments[0].file = slow
	g := s.segments[0]
	s.mu.Unlock()
	dst := make([]byte, len(block(1).Payload))
	result := make(chan error)
	go func() { result <- s.Read(key(1), block(1).Tokens, dst) }()
	<-slow.reading
	s.writing.Lock()
	s.mu.Lock()
	for fp, p := range s.index { // without reading the list of a file that waits
		if p.segment() == g.id {
			s.drop(fp)
		}
	}
	s.mu.Unlock()
	s.retire(g, true)
	s.writing.Unlock()
	s.mu.RLock()
	for _, name := range s.spares {
		if name == g.name {
			t.Error("it is to be written while it is read")
		}
	}
	if s.retiring != 1 {
		t.Errorf("%d retiring", s.retiring)
	}
	s.mu.RUnlock()
	slow.proceed <- struct{}{}
	<-slow.reading
	slow.proceed <- struct{}{}
	if err := <-result; err != nil {
		t.Errorf("read: %v", err)
	}
	check(t, s)
	mustClose(t, s)
}

// TestPutAgainWhileCollecting: a block that is dead by all that is known, and put again
// before it is dropped, stays; and so does one that was put first then.
func TestPutAgainWhileCollecting(t *testing.T) {
	s := mustOpen(t, vfstest.NewDisk(), small)
	mustPut(t, s, span(0, 50))
	once := sync.OnceFunc(func() { mustPut(t, s, append(span(10, 20), span(50, 60)...)) })
	c, err := s.Collect(t.Context(), func(Key) bool { once(); return false })
	if err != nil || c.Blocks != 40 {
		t.Errorf("%+v, %v", c, err)
	}
	mustRead(t, s, append(span(10, 20), span(50, 60)...))
	mustMiss(t, s, append(span(0, 10), span(20, 50)...))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Collect(context.Background(), nil); err != nil && !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}
