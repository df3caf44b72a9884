package vfstest

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"

	"github.com/holdfast-run/holdfast/internal/vfs"
)

// must returns a function that ends the test on an error.
func must(t *testing.T) func(error) {
	return func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
}

func content(t *testing.T, d vfs.FS, name string) string {
	t.Helper()
	f, err := d.Open(name, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return "no file"
	}
	must(t)(err)
	size, err := f.Size()
	must(t)(err)
	b := make([]byte, size)
	_, err = f.ReadAt(b, 0)
	must(t)(err)
	return strings.TrimRight(string(b), "\x00")
}

func put(t *testing.T, f vfs.File, text string, off int64) {
	t.Helper()
	_, err := f.WriteAt([]byte(text), off)
	must(t)(err)
}

// TestCrash: what each policy leaves of a file, its name and its pages.
func TestCrash(t *testing.T) {
	d, ok := NewDisk(), must(t)
	f, err := d.Open("dir/a", vfs.Create)
	ok(err)
	put(t, f, "one", 0)
	ok(f.Sync())
	ok(d.SyncDir("dir"))
	durable := d.Ops()
	put(t, f, "two", 0)
	put(t, f, "far", 3*pageSize)
	ok(d.Rename("dir/a", "dir/b"))
	after := func(op int, p Policy, seed uint64) *Disk { return d.Crash(op, p, rand.New(rand.NewPCG(seed, 0))) }
	if got := content(t, after(d.Ops(), KeepNone, 0), "dir/a"); got != "one" {
		t.Errorf("nothing unsynced is left: %q", got)
	}
	if got := content(t, after(d.Ops(), KeepAll, 0), "dir/b"); !strings.HasPrefix(got, "two") || !strings.HasSuffix(got, "far") {
		t.Errorf("everything is left: %q", got)
	}
	if got := content(t, after(durable-2, KeepNone, 0), "dir/a"); got != "no file" {
		t.Errorf("before the folder's sync: %q", got)
	}
	seen := map[string]bool{}
	for seed := range uint64(200) {
		c := after(d.Ops(), KeepSome, seed)
		a, b := content(t, c, "dir/a"), content(t, c, "dir/b")
		if (a == "no file") == (b == "no file") {
			t.Fatalf("a rename is half done: %q and %q", a, b)
		}
		if a == "no file" {
			a = b
		}
		seen[strings.ReplaceAll(a, "\x00", "")] = true
	}
	for _, want := range []string{"one", "two", "onefar", "twofar"} {
		if !seen[want] {
			t.Errorf("never seen: %q", want)
		}
	}
	// Prefixes keep the order: never the second write without the first.
	for seed := range uint64(200) {
		c := after(d.Ops(), KeepPrefix, seed)
		for _, name := range []string{"dir/a", "dir/b"} {
			if got := content(t, c, name); strings.HasPrefix(got, "one") && strings.HasSuffix(got, "far") {
				t.Fatalf("not a prefix: %q", got)
			}
		}
	}
}

// TestTorn: sectors of one page come from different versions.
func TestTorn(t *testing.T) {
	d, ok := NewDisk(), must(t)
	f, err := d.Open("a", vfs.Create)
	ok(err)
	put(t, f, strings.Repeat("x", pageSize), 0)
	ok(f.Sync())
	ok(d.SyncDir("."))
	put(t, f, strings.Repeat("y", pageSize), 0)
	mixed := 0
	for seed := range uint64(50) {
		got := content(t, d.Crash(d.Ops(), KeepTorn, rand.New(rand.NewPCG(seed, 0))), "a")
		n := strings.Count(got, "y")
		if n%sectorSize != 0 || len(got) != pageSize {
			t.Fatalf("%d bytes of a torn page are new", n)
		}
		if n != 0 && n != pageSize {
			mixed++
		}
	}
	if mixed == 0 {
		t.Error("no page was torn")
	}
}

// TestLostSync: after a failed sync the cache shows what the disk may not have, and
// a later sync does not help.
func TestLostSync(t *testing.T) {
	d, ok, fail := NewDisk(), must(t), false
	faulty := Fault(d, func(c Call) error {
		if fail && c.Op == "sync" {
			return syscall.EIO
		}
		return nil
	})
	f, err := faulty.Open("a", vfs.Create)
	ok(err)
	put(t, f, "old", 0)
	ok(f.Sync())
	ok(d.SyncDir("."))
	put(t, f, "new", 0)
	fail = true
	if err := f.Sync(); err != syscall.EIO {
		t.Fatalf("sync: %v", err)
	}
	fail = false
	ok(f.Sync())
	if got := content(t, d, "a"); got != "new" {
		t.Errorf("the cache has %q", got)
	}
	if got := content(t, d.Crash(d.Ops(), KeepNone, nil), "a"); got != "old" {
		t.Errorf("the disk has %q", got)
	}
	put(t, f, "newer", 0)
	ok(f.Sync())
	if got := content(t, d.Crash(d.Ops(), KeepNone, nil), "a"); got != "newer" {
		t.Errorf("written again and synced, the disk has %q", got)
	}
}

// TestCrashSharesNothingThatChanges: a wreck and its disk live on apart.
func TestCrashSharesNothingThatChanges(t *testing.T) {
	d, ok := NewDisk(), must(t)
	f, err := d.Open("a", vfs.Create)
	ok(err)
	put(t, f, "same", 0)
	wreck := d.Crash(d.Ops(), KeepAll, nil)
	g, err := wreck.Open("a", 0)
	ok(err)
	put(t, g, "that", 0)
	put(t, f, "this", 0)
	if a, b := content(t, d, "a"), content(t, wreck, "a"); a != "this" || b != "that" {
		t.Errorf("%q and %q", a, b)
	}
}

// TestRecord: a real file system and its record hold the same.
func TestRecord(t *testing.T) {
	dir, d, ok := t.TempDir(), NewDisk(), must(t)
	r := Record(vfs.OS{}, d)
	f, err := r.Open(dir+"/a", vfs.Create)
	ok(err)
	ok(f.Allocate(3 * pageSize))
	put(t, f, "hello", 5000)
	ok(f.Sync())
	put(t, f, "lost", 100)
	ok(f.Truncate(2 * pageSize))
	ok(r.Rename(dir+"/a", dir+"/b"))
	ok(r.SyncDir(dir))
	var got [2][]byte
	for i, side := range []vfs.FS{vfs.OS{}, d} {
		f, err := side.Open(dir+"/b", 0)
		ok(err)
		size, err := f.Size()
		ok(err)
		got[i] = make([]byte, size)
		_, err = f.ReadAt(got[i], 0)
		ok(err)
	}
	if !bytes.Equal(got[0], got[1]) {
		t.Error("they differ")
	}
	if got := content(t, d.Crash(d.Ops(), KeepNone, nil), dir+"/b"); strings.Contains(got, "lost") || !strings.Contains(got, "hello") {
		t.Errorf("after a cut: %d bytes", len(got))
	}
	if _, err := r.Open(dir+"/none", 0); !errors.Is(err, fs.ErrNotExist) || d.Ops() != 8 {
		t.Errorf("%v; %d operations recorded", err, d.Ops())
	}
}
