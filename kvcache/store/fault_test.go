package store

import (
	"context"
	"errors"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-run/holdfast/internal/testkit/vfstest"
	"github.com/holdfast-run/holdfast/internal/vfs"
)

// TestFailTheNth fails each call of the file system in turn, once and for long, while
// a store is opened, filled, read, collected and closed. The process lives, what was
// acknowledged stays readable, and the store writes again once the disk is well.
// With HOLDFAST_LONG=1 it is each call, and else every fifth.
func TestFailTheNth(t *testing.T) {
	stride := 5
	if os.Getenv("HOLDFAST_LONG") != "" {
		stride = 1
	}
	for i, err := range []error{syscall.EIO, syscall.ENOSPC, syscall.EROFS} {
		for _, times := range []int{1, 30} {
			n := 1 + i%stride
			for ; ; n += stride {
				failed := 0
				synctest.Test(t, func(t *testing.T) { failed = failNth(t, n, times, err) })
				if t.Failed() {
					t.Fatalf("%v at call %d, %d times", err, n, times)
				}
				if failed == 0 {
					break
				}
			}
			t.Logf("%v %d times: %d calls", err, times, n)
			if n < 100 {
				t.Errorf("%d calls only: the script does too little", n)
			}
		}
	}
}

// failNth runs the script with calls n to n+times-1 failing, and returns how many of
// them there were.
func failNth(t *testing.T, n, times int, failure error) (failed int) {
	calls := 0
	disk := vfstest.NewDisk()
	fs := vfstest.Fault(disk, func(c vfstest.Call) error {
		if calls++; calls >= n && calls < n+times {
			failed++
			return failure
		}
		return nil
	})
	o := Options{SegmentBytes: minSegment, MaxBytes: 12 * minSegment}
	expected := func(err error) {
		t.Helper()
		if err != nil && !errors.Is(err, failure) {
			t.Errorf("an error that hides its cause: %v", err)
		}
	}
	for round := range 2 {
		s, err := Open(fs, "kv", o)
		for ; err != nil; s, err = Open(fs, "kv", o) {
			expected(err)
		}
		for i := range 4 {
			before, list := s.Stats(), span(round*20+i*3, round*20+i*3+6)
			err := s.Put(list)
			expected(err)
			st := s.Stats()
			if err == nil && st.Evicted == before.Evicted {
				for _, b := range list {
					if !s.Has(b.Key) {
						t.Errorf("put says that it has put")
					}
				}
			} else if err != nil && (st.Err == nil || !errors.Is(st.Err, failure) || st.Failures == before.Failures && before.Err == nil) {
				t.Errorf("put failed: %v, and Stats says %+v", err, st)
			}
			for _, b := range list {
				if err := read(t, s, b); err != ErrMissing {
					expected(err)
				}
			}
			time.Sleep(o.RetryEvery + 3*time.Second) // the time of a bubble
		}
		_, err = s.Collect(context.Background(), func(k Key) bool { return k.Hash[0]%4 != uint8(round) })
		expected(err)
		check(t, s)
		expected(s.Close())
	}
	calls = n + times // the disk is well
	s := mustOpen(t, fs, o)
	defer s.Close()
	mustPut(t, s, span(60, 70))
	mustRead(t, s, span(60, 70))
	for i := range 60 {
		if err := read(t, s, block(i)); err != nil && err != ErrMissing {
			t.Error(err)
		}
	}
	if st := s.Stats(); st.Err != nil || st.Corrupt != 0 || st.Damaged != 0 {
		t.Errorf("at the end: %+v", st)
	}
	check(t, s)
	return failed
}

// TestPause: after a failure nothing is written for RetryEvery, and then it is tried
// again, elsewhere. What was stored before is read all the time.
func TestPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fault error
		writes := map[string]int{}
		s := mustOpen(t, vfstest.Fault(vfstest.NewDisk(), func(c vfstest.Call) error {
			if c.Op == "write" || c.Op == "sync" {
				writes[c.Name]++
			}
			if c.Op == "sync" {
				return fault
			}
			return nil
		}), small)
		defer s.Close()
		mustPut(t, s, span(0, 4))
		fault = syscall.EIO
		if err := s.Put(span(4, 6)); !errors.Is(err, syscall.EIO) {
			t.Fatal(err)
		}
		fault = nil
		old := writes["kv/00000001.seg"]
		var paused *PausedError
		if err := s.Put(span(4, 6)); !errors.As(err, &paused) || !errors.Is(err, syscall.EIO) {
			t.Errorf("at once: %v", err)
		}
		if err := s.Put(span(0, 4)); err != nil {
			t.Errorf("what is stored already needs no disk: %v", err)
		}
		if st := s.Stats(); !errors.Is(st.Err, syscall.EIO) || st.Failures != 1 {
			t.Errorf("%+v", st)
		}
		mustRead(t, s, span(0, 4))
		mustMiss(t, s, span(4, 6))
		time.Sleep(s.options.RetryEvery)
		mustPut(t, s, span(4, 6))
		mustRead(t, s, span(0, 6))
		if st := s.Stats(); st.Err != nil {
			t.Errorf("%+v", st)
		}
		if writes["kv/00000001.seg"] != old {
			t.Error("a segment was written after its sync had failed")
		}
	})
}

// scarce is a file system with so many bytes left.
type scarce struct {
	vfs.FS
	free *int64
}

func (s scarce) Free(string) (int64, error) { return *s.free, nil }

// TestLastOfADisk: the store leaves room for others.
func TestLastOfADisk(t *testing.T) {
	free := 2*small.SegmentBytes - 1
	synctest.Test(t, func(t *testing.T) {
		s := mustOpen(t, scarce{vfstest.NewDisk(), &free}, small)
		if err := s.Put(span(0, 3)); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("put: %v", err)
		}
		free++
		time.Sleep(s.options.RetryEvery)
		mustPut(t, s, span(0, 3))
		free--
		mustPut(t, s, span(3, 100))
		if st := s.Stats(); st.Segments != 1 || st.Err != nil {
			t.Errorf("%+v", st)
		}
		mustClose(t, s)
	})
}

// TestFullDisk: when there is no room for another segment the oldest gives way.
func TestFullDisk(t *testing.T) {
	full := false
	s := mustOpen(t, vfstest.Fault(vfstest.NewDisk(), func(c vfstest.Call) error {
		if full && (c.Op == "create" || c.Op == "allocate") {
			return syscall.ENOSPC
		}
		return nil
	}), small)
	defer s.Close()
	mustPut(t, s, span(0, 60))
	segments := s.Stats().Segments
	full = true
	mustPut(t, s, span(60, 200))
	mustRead(t, s, span(190, 200))
	if st := s.Stats(); st.Segments > segments || st.Evicted == 0 || st.Err != nil {
		t.Errorf("%+v", st)
	}
	check(t, s)
}
