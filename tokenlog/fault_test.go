package tokenlog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-run/holdfast/internal/testkit/vfstest"
	"github.com/holdfast-run/holdfast/internal/vfs"
)

// TestFailTheNth fails each call of the file system in turn, once, a few times, and
// for long: opening, appending over several segments, compacting, closing. The
// process lives, nothing that was accepted is lost once the disk is well again,
// and the log says how it is.
func TestFailTheNth(t *testing.T) {
	for _, err := range []error{syscall.EIO, syscall.ENOSPC, syscall.EROFS} {
		for _, times := range []int{1, 5, 60} {
			n := 1
			for ; ; n++ {
				failed := 0
				synctest.Test(t, func(t *testing.T) { failed = failNth(t, n, times, err) })
				if t.Failed() {
					t.Fatalf("%v at call %d, %d times", err, n, times)
				}
				if failed == 0 {
					break
				}
			}
			if n < 40 {
				t.Errorf("%d calls only: the script does too little", n)
			}
		}
	}
}

// failNth runs the script with calls n to n+times-1 failing, and returns how many
// of them there were.
func failNth(t *testing.T, n, times int, failure error) (failed int) {
	disk, calls := vfstest.NewDisk(), 0
	var mu sync.Mutex
	fs := vfstest.Fault(disk, func(c vfstest.Call) error {
		mu.Lock()
		defer mu.Unlock()
		if calls++; calls >= n && calls < n+times && (c.Op != "read" || times == 1) {
			failed++
			return failure
		}
		return nil
	})
	o := small
	o.SegmentBytes = 6 * pageSize
	var want []string
	for round := range 2 {
		l := openFailing(t, fs, o, failure)
		for i := range 8 {
			payload := fmt.Sprintf("%d.%d %s", round, i, strings.Repeat("x", 700))
			lsn := appendFailing(t, l, id(1), payload)
			want = append(want, payload[:3])
			if i == 5 {
				compactFailing(t, l)
			}
			if err := l.Wait(t.Context(), lsn); err == nil && l.Durable() <= lsn || err != nil && !errors.Is(err, ErrNotDurable) {
				t.Errorf("wait: %v, durable %d, record %d", err, l.Durable(), lsn)
			} else if err != nil && !errors.Is(err, failure) {
				t.Errorf("wait hides the cause: %v", err)
			}
		}
		healthy(t, l)
		closeFailing(t, l, failure)
	}
	mu.Lock()
	calls = n + times // the disk is well
	mu.Unlock()
	found := replayed{}
	l, err := Open(fs, "log", o, found.record)
	if err != nil {
		t.Fatal(err)
	}
	if r := l.Recovery(); len(r.Damage)+len(r.Owners) != 0 {
		t.Errorf("damage: %+v", r)
	}
	var got []string
	for _, s := range history(t, l, id(1)) {
		_, payload, _ := strings.Cut(s, " ")
		got = append(got, payload[:3])
	}
	equal(t, "history", got, want...)
	mustClose(t, l)
	return failed
}

func openFailing(t *testing.T, fs vfs.FS, o Options, failure error) *Log {
	for {
		l, err := Open(fs, "log", o, func(Record) error { return nil })
		if err == nil {
			return l
		}
		if !errors.Is(err, failure) {
			t.Fatalf("open: %v", err)
		}
	}
}

// appendFailing appends when there is room: a full buffer empties once the disk is
// well.
func appendFailing(t *testing.T, l *Log, owner Owner, payload string) LSN {
	for {
		lsn, err := l.Append(owner, kind, []byte(payload))
		if err == nil {
			return lsn
		}
		if !errors.Is(err, ErrFull) || l.Status().Err == nil {
			t.Fatalf("append: %v; %+v", err, l.Status())
		}
		time.Sleep(time.Second) // of the bubble's clock
	}
}

func compactFailing(t *testing.T, l *Log) {
	for {
		_, err := l.Compact(t.Context(), func(Record) bool { return true })
		if err == nil {
			return
		}
		if !errors.Is(err, ErrNotDurable) && !errors.Is(err, syscall.EIO) && !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EROFS) {
			t.Fatalf("compact: %v", err)
		}
		time.Sleep(time.Second)
	}
}

// healthy waits until the disk is well and all is durable again.
func healthy(t *testing.T, l *Log) {
	for range 200 {
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if s := l.Status(); s.Err == nil && s.Spares >= 2 && s.SpareErr == nil {
			l.mu.Lock()
			left := l.flying || l.fill.count > 0
			l.mu.Unlock()
			if left {
				t.Error("the log is well and has records that are not durable")
			}
			return
		}
	}
	t.Fatalf("the disk is well again and the log is not: %+v", l.Status())
}

// closeFailing closes a log of which everything is durable: at worst the mark of
// its end is not.
func closeFailing(t *testing.T, l *Log, failure error) {
	if err := l.Close(); err != nil && !errors.Is(err, failure) {
		t.Errorf("close: %v", err)
	}
}

// TestUnreadable: a page that cannot be read costs what is in it; at the end of the
// log, where nobody knows what that is, Open fails and leaves all as it is.
func TestUnreadable(t *testing.T) {
	w := write(t)
	segments := w.live(t)
	last := segments[len(segments)-1]
	ends := 0
	for _, s := range segments {
		for page := int64(1); page < s.size/pageSize-1; page++ {
			what := fmt.Sprintf("%s page %d", s.name, page)
			disk := w.copy()
			fs := badDisk{disk, "log/" + s.name, page * pageSize}
			l, err := open(fs, "log", small, func(Record) error { return nil })
			// The mark of a clean end is the last batch; before it may come a torn one.
			if off := page * pageSize; s == last && (off == s.offset(s.end) || off == s.offset(s.end)-pageSize) {
				ends++
				if !errors.Is(err, syscall.EIO) {
					t.Errorf("%s, the end: %v", what, err)
				}
				w.reopen(t, disk, what+", readable again")
				continue
			}
			if err != nil {
				t.Errorf("%s: %v", what, err)
				continue
			}
			l.abandon()
			l.release()
			if used := page*pageSize < s.offset(s.end); used != (len(l.Recovery().Damage) != 0) {
				t.Errorf("%s: %+v", what, l.Recovery())
			}
		}
	}
	if ends != 2 {
		t.Errorf("%d pages at the end", ends)
	}
}

// badDisk is a disk with a bad page.
type badDisk struct {
	vfs.FS
	name string
	off  int64
}

func (u badDisk) Open(name string, flag vfs.Flag) (vfs.File, error) {
	f, err := u.FS.Open(name, flag)
	if name == u.name {
		return badPage{f, u.off}, err
	}
	return f, err
}

type badPage struct {
	vfs.File
	off int64
}

func (b badPage) ReadAt(p []byte, off int64) (int, error) {
	if off <= b.off && b.off < off+int64(len(p)) {
		return 0, syscall.EIO
	}
	return b.File.ReadAt(p, off)
}

// TestLongOutage: the disk fails for long. Appends go on until the buffer is full,
// Wait answers at once, Status and Notify tell; when the disk is back, what was
// accepted becomes durable.
func TestLongOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var broken atomic.Bool
		var notified atomic.Int64
		disk := vfstest.NewDisk()
		fs := vfstest.Fault(disk, func(c vfstest.Call) error {
			if broken.Load() && (c.Op == "sync" || c.Op == "allocate") {
				return syscall.EIO
			}
			return nil
		})
		o := small
		o.Notify = func() { notified.Add(1) }
		l, _ := mustOpen(t, fs, o)
		put(t, l, id(1), "before")
		synctest.Wait()
		broken.Store(true)
		want := []string{"1.1* before"}
		for i := 2; ; i++ {
			payload := strings.Repeat("y", 1000)
			lsn, err := l.Append(id(1), kind, []byte(payload))
			if errors.Is(err, ErrFull) {
				break
			} else if err != nil || i > 100 {
				t.Fatalf("record %d: %v", i, err)
			}
			want = append(want, fmt.Sprintf("1.%d %s", i, payload))
			synctest.Wait()
			var lost *NotDurableError
			if err := l.Wait(context.Background(), lsn); !errors.As(err, &lost) || lost.Cause != syscall.EIO {
				t.Fatalf("wait: %v", err)
			}
		}
		if len(want) < 10 {
			t.Errorf("the buffer took %d records", len(want))
		}
		s, before := l.Status(), notified.Load()
		if !errors.Is(s.Err, syscall.EIO) || s.Failures == 0 || before < 2 {
			t.Errorf("status %+v, %d notes", s, before)
		}
		equal(t, "history out of the buffer", history(t, l, id(1)), want...)
		time.Sleep(10 * time.Second)
		if l.Status().Err == nil || l.Status().Durable != s.Durable {
			t.Errorf("durable without a sync: %+v", l.Status())
		}
		broken.Store(false)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if s := l.Status(); s.Err != nil || s.SpareErr != nil || s.Spares < 2 || notified.Load() == before {
			t.Errorf("after the outage: %+v", s)
		}
		put(t, l, id(1), "after")
		mustClose(t, l)
		_, got := mustOpenClose(t, disk)
		equal(t, "replay", text(got), append(want, fmt.Sprintf("1.%d after", len(want)+1))...)
	})
}

func mustOpenClose(t *testing.T, fs vfs.FS) (Recovery, []Record) {
	l, got := mustOpen(t, fs, small)
	defer mustClose(t, l)
	return l.Recovery(), got
}

// TestFailedSyncIsNotRetried: the segment of a failed sync gets no further call
// that could write, and the batch goes to another one.
func TestFailedSyncIsNotRetried(t *testing.T) {
	var calls []vfstest.Call
	fail := false
	disk := vfstest.NewDisk()
	fs := vfstest.Fault(disk, func(c vfstest.Call) error {
		calls = append(calls, c)
		if fail && c.Op == "sync" {
			fail = false
			return syscall.EIO
		}
		return nil
	})
	l, err := open(fs, "log", small, func(Record) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	put := func() {
		if _, err := l.Append(id(1), kind, []byte("x")); err != nil {
			t.Fatal(err)
		}
		for job := l.pick(); job != idle; job = l.pick() {
			l.do(job)
		}
	}
	put()
	bad := l.path(l.w.current.name)
	calls, fail = nil, true
	put()
	put()
	writes := slices.DeleteFunc(slices.Clone(calls), func(c vfstest.Call) bool {
		return c.Name != bad || c.Op != "write" && c.Op != "sync" && c.Op != "truncate"
	})
	if want := []vfstest.Call{{Op: "write", Name: bad}, {Op: "sync", Name: bad}}; !slices.Equal(writes, want) {
		t.Errorf("on the failed segment: %v", writes)
	}
	if n := len(l.segments); n != 2 || l.Status().Failures != 1 || l.Status().Err != nil {
		t.Errorf("%d segments, %+v", n, l.Status())
	}
	l.abandon()
	l.release()
}

// TestSpares: a segment file is written whole, then synced, then named, then the
// name is synced, and only then used; there are two.
func TestSpares(t *testing.T) {
	var ops []string
	fs := vfstest.Fault(vfstest.NewDisk(), func(c vfstest.Call) error {
		ops = append(ops, c.Op+" "+strings.TrimPrefix(c.Name, "log/"))
		return nil
	})
	l, err := open(fs, "log", small, func(Record) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	ops = nil
	for job := l.pick(); job != idle; job = l.pick() {
		l.do(job)
	}
	var want []string
	for _, n := range []string{"00000001", "00000002"} {
		want = append(want, "free log", "create "+n+".tmp", "allocate "+n+".tmp", "write "+n+".tmp",
			"sync "+n+".tmp", "rename "+n+".tmp", "syncdir log", "close "+n+".tmp")
	}
	equal(t, "making spares", ops, want...)
	if s := l.Status(); s.Spares != 2 || s.Segments != 0 {
		t.Errorf("%+v", s)
	}
	l.release()
}
