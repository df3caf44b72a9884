package tokenlog

import (
	"errors"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/holdfast-run/holdfast/internal/testkit/vfstest"
	"github.com/holdfast-run/holdfast/internal/vfs"
)

func TestLocked(t *testing.T) {
	dir := t.TempDir() + "/store/log"
	l, err := Open(vfs.OS{}, dir, small, nil)
	if err != nil {
		t.Fatal(err)
	}
	put(t, l, id(1), "x")
	equal(t, "history from a real file system", history(t, l, id(1)), "1.1* x") // and into its page cache
	put(t, l, id(1), "y")
	equal(t, "history behind the page cache", history(t, l, id(1)), "1.1* x", "1.2 y")
	var locked *vfs.LockedError
	if _, err := Open(vfs.OS{}, dir, small, nil); !errors.As(err, &locked) || locked.PID != os.Getpid() {
		t.Errorf("a second open: %v", err)
	}
	mustClose(t, l)
	var got []Record
	if l, err = Open(vfs.OS{}, dir, small, collect(&got)); err != nil {
		t.Fatal(err)
	}
	equal(t, "replay from a real file system", text(got), "1.1* x", "1.2 y")
	mustClose(t, l)
}

func TestOptions(t *testing.T) {
	for _, o := range []Options{
		{SegmentBytes: 5000}, {SegmentBytes: 2 << 30}, {SegmentBytes: 2 * pageSize}, {BufferBytes: 100}, {BufferBytes: 64 << 20}, {MaxSegments: 2},
	} {
		if _, err := Open(vfstest.NewDisk(), "log", o, nil); err == nil || !strings.Contains(err.Error(), "take") {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

func TestReplayError(t *testing.T) {
	disk := vfstest.NewDisk()
	l, _ := mustOpen(t, disk, small)
	put(t, l, id(1), "x")
	mustClose(t, l)
	no := errors.New("no")
	if _, err := Open(disk, "log", small, func(Record) error { return no }); !errors.Is(err, no) {
		t.Errorf("open: %v", err)
	}
	l, _ = mustOpen(t, disk, small) // the lock is free again
	mustClose(t, l)
}

// TestOpenCloses: an Open that fails, at whichever call, leaves no file open.
func TestOpenCloses(t *testing.T) {
	disk := vfstest.NewDisk()
	l, _ := mustOpen(t, disk, small)
	for i := range 12 {
		put(t, l, id(i%3+1), strings.Repeat("x", 900))
	}
	mustClose(t, l)
	for n, again := int32(1), true; again; n++ {
		var calls, opened atomic.Int32
		files := &counted{FS: vfstest.Fault(disk, func(c vfstest.Call) error {
			if calls.Add(1) >= n && opened.Load() == 0 && c.Op != "close" {
				return syscall.EIO
			}
			return nil
		})}
		l, err := Open(files, "log", small, func(Record) error { return nil })
		if opened.Store(1); err == nil {
			again = false
			mustClose(t, l)
		}
		if open := files.open.Load(); open != 0 {
			t.Errorf("all calls from %d on fail (%v): %d files are open", n, err, open)
		}
	}
}

// counted counts the files that are open.
type counted struct {
	vfs.FS
	open atomic.Int32
}

func (c *counted) Open(name string, flag vfs.Flag) (vfs.File, error) {
	f, err := c.FS.Open(name, flag)
	if err != nil {
		return nil, err
	}
	c.open.Add(1)
	return &countedFile{File: f, open: &c.open}, nil
}

type countedFile struct {
	vfs.File
	open   *atomic.Int32
	closed atomic.Bool
}

func (f *countedFile) Close() error {
	if !f.closed.Swap(true) {
		f.open.Add(-1)
	}
	return f.File.Close()
}

// TestTwoLogs: files of two logs in one folder are refused: one would be used up as
// the other's spares.
func TestTwoLogs(t *testing.T) {
	disk := vfstest.NewDisk()
	l, _ := mustOpen(t, disk, small)
	put(t, l, id(1), "x")
	mustClose(t, l)
	f, err := disk.Open("log/00000009.seg", vfs.Create)
	if err == nil {
		_, err = f.WriteAt(example{major, minor}.file(), 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	ops := disk.Ops()
	if _, err := Open(disk, "log", small, nil); err == nil || !strings.Contains(err.Error(), "different logs") || disk.Ops() != ops {
		t.Errorf("open: %v", err)
	}
}

// TestLimits: what is refused, and that a refusal changes nothing.
func TestLimits(t *testing.T) {
	l, err := open(vfstest.NewDisk(), "log", Options{SegmentBytes: 4 << 20}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.release()
	before := l.fill.next()
	for what, c := range map[string]struct {
		err, want error
	}{
		"a payload above the limit": {last(l.Append(id(1), kind, make([]byte, MaxPayload+1))), ErrTooLarge},
		"an end without history":    {last(l.End(id(1), kind, nil)), ErrNoOwner},
		"a rewrite of nobody":       {l.Rewrite(id(1), 0, nil), ErrNoOwner},
		"the last of nobody":        {last(l.Last(id(1))), ErrNoOwner},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: %v", what, c.err)
		}
	}
	if l.fill.next() != before || len(l.owners) != 0 {
		t.Error("a refusal left something behind")
	}
	lsn, err := l.Append(id(1), kind, make([]byte, MaxPayload))
	if err != nil {
		t.Fatal(err)
	}
	big := Record{Payload: make([]byte, MaxPayload)}
	for what, c := range map[string]struct {
		records []Record
		want    error
	}{
		"more than a buffer":  {[]Record{{Seq: 1, Payload: big.Payload}, {Seq: 2, Payload: big.Payload}, {Seq: 3, Payload: big.Payload}, {Seq: 4, Payload: big.Payload}}, ErrTooLarge},
		"more than is left":   {[]Record{{Seq: 1, Payload: big.Payload}, {Seq: 2, Payload: big.Payload}, {Seq: 3, Payload: big.Payload}}, ErrFull},
		"a payload too large": {[]Record{{Seq: 1, Payload: make([]byte, MaxPayload+1)}}, ErrTooLarge},
	} {
		if err := l.Rewrite(id(1), lsn, c.records); !errors.Is(err, c.want) {
			t.Errorf("a rewrite with %s: %v", what, err)
		}
	}
	if err := l.Rewrite(id(1), lsn, []Record{{Seq: 2}, {Seq: 2}}); err == nil {
		t.Error("a rewrite out of order was taken")
	}
	if err := l.Rewrite(id(1), lsn-1, []Record{{Seq: 1}}); !errors.Is(err, ErrChanged) {
		t.Errorf("a rewrite of another history: %v", err)
	}
	if err := l.Rewrite(id(1), lsn, []Record{{}, {Seq: 1}}); err == nil {
		t.Error("a rewrite with a new number before an old one was taken")
	}
	if err := l.Rewrite(id(2), lsn, []Record{{}}); !errors.Is(err, ErrNoOwner) {
		t.Errorf("a rewrite of nobody's records: %v", err)
	}
	if o := l.owners[id(1)]; o.last != lsn || o.seq != 1 {
		t.Errorf("a refusal changed %+v", o)
	}
}

func last[T any](_ T, err error) error { return err }

// TestMaxSegments: a log that may not grow says so, and goes on when it is compacted.
func TestMaxSegments(t *testing.T) {
	o := small
	o.MaxSegments = 3
	l, err := open(vfstest.NewDisk(), "log", o, nil)
	if err != nil {
		t.Fatal(err)
	}
	run := func() {
		for job := l.pick(); job != idle; job = l.pick() {
			l.do(job)
		}
	}
	n := 0
	for ; l.Status().Err == nil; n++ {
		if _, err := l.Append(id(n%2), kind, make([]byte, 3000)); err != nil {
			t.Fatal(err)
		}
		run()
	}
	if s := l.Status(); !errors.Is(s.Err, errTooMany) || s.Segments != 3 || n < 40 {
		t.Errorf("after %d records: %+v", n, s)
	}
	for i := range 2 {
		if _, err := l.End(id(i), kind, nil); err != nil {
			t.Fatal(err)
		}
	}
	// All is nobody's now, but the batch that says so needs a place: there is none
	// without one more file.
	l.options.MaxSegments++
	l.due = true
	run()
	if s := l.Status(); s.Err != nil || s.Segments > 2 || s.Owners != 0 {
		t.Errorf("after the ends: %+v", s)
	}
	l.abandon()
	l.release()
}

// TestSegmentsAreUsedAgain: a log whose owners come and go keeps to a few files.
func TestSegmentsAreUsedAgain(t *testing.T) {
	disk := vfstest.NewDisk()
	l, err := open(disk, "log", small, nil)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 300 {
		for range 2 {
			if _, err := l.Append(id(n), kind, make([]byte, 2000)); err != nil {
				t.Fatal(err)
			}
		}
		if n >= 3 {
			if _, err := l.End(id(n-3), kind, nil); err != nil {
				t.Fatal(err)
			}
		}
		for job := l.pick(); job != idle; job = l.pick() {
			l.do(job)
		}
	}
	names, _ := disk.List("log")
	if s := l.Status(); s.Segments > 3 || len(names) > 3+maxSpares || l.w.number < 30 {
		t.Errorf("%d segments begun, files %v, %+v", l.w.number, names, s)
	}
	l.abandon()
	l.release()
}

// TestLeftovers: a half-made segment is removed, a file of a strange name is left.
func TestLeftovers(t *testing.T) {
	disk := vfstest.NewDisk()
	for _, name := range []string{"log/00000009.tmp", "log/00000004.seg", "log/readme.txt"} {
		if _, err := disk.Open(name, vfs.Create); err != nil {
			t.Fatal(err)
		}
	}
	l, err := open(disk, "log", small, nil)
	if err != nil {
		t.Fatal(err)
	}
	for job := l.pick(); job != idle; job = l.pick() {
		l.do(job)
	}
	l.release()
	names, _ := disk.List("log")
	if slices.Contains(names, "00000009.tmp") || slices.Contains(names, "00000004.seg") || !slices.Contains(names, "readme.txt") {
		t.Errorf("files %v", names)
	}
}
