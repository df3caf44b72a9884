package vfs

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unsafe"
)

// aligned returns n bytes at a multiple of Align.
func aligned(n int) []byte {
	b := make([]byte, n+Align)
	skip := -int(uintptr(unsafe.Pointer(&b[0]))) & (Align - 1)
	return b[skip : skip+n]
}

func TestOSFile(t *testing.T) {
	var o OS
	dir := filepath.Join(t.TempDir(), "a", "b")
	if err := errors.Join(o.MakeDir(dir), o.MakeDir(dir)); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "x.tmp")
	f, err := o.Open(name, Create|Direct)
	if err != nil {
		t.Fatal(err)
	}
	page := aligned(2 * Align)
	copy(page[Align:], "second page")
	if err := f.Allocate(4 * Align); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(page, Align); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Sync(), f.Truncate(3*Align)); err != nil {
		t.Fatal(err)
	}
	if n, err := f.Size(); n != 3*Align || err != nil {
		t.Fatalf("size %d, %v", n, err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := o.Open(name, Create); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("a second create: %v", err)
	}
	moved := filepath.Join(dir, "y")
	if err := errors.Join(o.Rename(name, moved), o.SyncDir(dir)); err != nil {
		t.Fatal(err)
	}
	if names, err := o.List(dir); err != nil || !slices.Equal(names, []string{"y"}) {
		t.Fatalf("%v, %v", names, err)
	}
	g, err := o.Open(moved, 0)
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 3*Align)
	if _, err := g.ReadAt(got, 0); err != nil || !bytes.Equal(got[Align:], page) {
		t.Fatalf("read back: %v", err)
	}
	if err := errors.Join(g.Close(), o.Remove(moved)); err != nil {
		t.Fatal(err)
	}
	if _, err := o.Open(moved, 0); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("open of a removed file: %v", err)
	}
	if n, err := o.Free(dir); n <= 0 || err != nil {
		t.Fatalf("free: %d, %v", n, err)
	}
}

// TestLock: held by this process, by another, and left behind by a dead one.
func TestLock(t *testing.T) {
	var o OS
	name := filepath.Join(t.TempDir(), "LOCK")
	if os.Getenv("HOLDFAST_LOCK") != "" {
		name = os.Getenv("HOLDFAST_LOCK")
		if _, err := o.Lock(name); err != nil {
			t.Fatal(err)
		}
		os.Stdout.WriteString("locked\n")
		os.Stdin.Read(make([]byte, 1)) // held until the parent kills us
		return
	}
	first, err := o.Lock(name)
	if err != nil {
		t.Fatal(err)
	}
	var locked *LockedError
	if _, err := o.Lock(name); !errors.As(err, &locked) || locked.PID != os.Getpid() {
		t.Fatalf("a second lock: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}

	child := exec.Command(os.Args[0], "-test.run=^TestLock$")
	child.Env = append(os.Environ(), "HOLDFAST_LOCK="+name)
	stdin, _ := child.StdinPipe()
	stdout, _ := child.StdoutPipe()
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	buf := make([]byte, 64)
	if n, err := stdout.Read(buf); err != nil || !strings.HasPrefix(string(buf[:n]), "locked") {
		t.Fatalf("child: %q, %v", buf[:n], err)
	}
	if _, err := o.Lock(name); !errors.As(err, &locked) || locked.PID != child.Process.Pid {
		t.Errorf("a lock that process %d holds: %v", child.Process.Pid, err)
	}
	child.Process.Kill()
	child.Wait()
	again, err := o.Lock(name)
	if err != nil {
		t.Fatalf("a stale lock is taken over: %v", err)
	}
	again.Close()
}
