package sysinfo

import (
	"math"
	"os"
	"path/filepath"
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

// TestBackground: the thread is nicer, and no other is.
func TestBackground(t *testing.T) {
	before, err := unix.Getpriority(unix.PRIO_PROCESS, unix.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	inside := make(chan int)
	go func() {
		Background(19)
		nice, _ := unix.Getpriority(unix.PRIO_PROCESS, unix.Gettid())
		inside <- 20 - nice // the call answers 20 less the niceness
	}()
	if nice := <-inside; nice != 19 {
		t.Errorf("niceness %d", nice)
	}
	if after, _ := unix.Getpriority(unix.PRIO_PROCESS, unix.Getpid()); after != before {
		t.Errorf("the process went from %d to %d", 20-before, 20-after)
	}
}
