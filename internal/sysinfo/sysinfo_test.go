package sysinfo

import (
	"math"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

func TestCgroupLeft(t *testing.T) {
	root := t.TempDir()
	write := func(path, text string) {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := cgroupLeft(root, "/a/b"); got != math.MaxInt64 {
		t.Errorf("no cgroup leaves %d", got)
	}
	write("a/b/memory.max", "max\n")
	write("a/b/memory.current", "500\n")
	if got := cgroupLeft(root, "/a/b"); got != math.MaxInt64 {
		t.Errorf("no limit leaves %d", got)
	}
	write("a/memory.max", "1000\n")
	write("a/memory.current", "600\n")
	write("a/memory.stat", "anon 400\nfile 200\nkernel 0\n")
	if got := cgroupLeft(root, "/a/b"); got != 600 {
		t.Errorf("the parent's limit leaves %d, want 600", got)
	}
	write("a/memory.current", "2000\n")
	if got := cgroupLeft(root, "/a/b"); got != 0 {
		t.Errorf("a full cgroup leaves %d", got)
	}
}

func TestAvailable(t *testing.T) {
	if n := AvailableMemory(); n <= 0 || n == math.MaxInt64 {
		t.Errorf("%d bytes available", n)
	}
	if n := CPUs(); n < 1 {
		t.Errorf("%d CPUs", n)
	}
}

func TestClock(t *testing.T) {
	if ghz := Clock(2) / 1e9; ghz <= 0 || ghz > 20 {
		t.Errorf("a clock of %.2f GHz", ghz)
	}
}

func init() { runtime.LockOSThread() } // keeps TestMain on the main thread

func TestMain(m *testing.M) {
	onMain = background()
	runtime.UnlockOSThread()
	os.Exit(m.Run())
}

// onMain is what Background did when it was called on the main thread.
var onMain ran

// ran is the niceness of f's thread in Background, and of the main thread before and
// after it.
type ran struct{ inside, before, after int }

func background() (r ran) {
	niceness := func(thread int) int {
		n, _ := unix.Getpriority(unix.PRIO_PROCESS, thread)
		return 20 - n // what the call answers is 20 less it
	}
	r.before = niceness(unix.Getpid())
	Background(19, func() { r.inside = niceness(unix.Gettid()) })
	r.after = niceness(unix.Getpid())
	return r
}

// TestBackground: f's thread is nicer, and the main thread, where the scheduler of
// goroutines may have put the caller, stays as it was.
func TestBackground(t *testing.T) {
	if onMain.inside != 19 || onMain.after != onMain.before {
		t.Errorf("called on the main thread: %+v", onMain)
	}
	other := make(chan ran)
	go func() { other <- background() }()
	if r := <-other; r.inside != 19 || r.after != r.before {
		t.Errorf("called on some thread: %+v", r)
	}
}
