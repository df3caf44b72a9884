package e2e

import (
	"os"
	"runtime"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// serveApart starts a server that has the machine's first half of cores, and the test,
// with its clients, the other: they are on other machines in life, and a client that runs
// where a step does holds it up for as long as the kernel lets it. Where there is one core
// they share it.
func serveApart(t *testing.T, args ...string) *server {
	t.Helper()
	var all, first, second unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		t.Fatal(err)
	}
	cores := 0
	for cpu := range 1024 {
		if all.IsSet(cpu) {
			if cores++; cores <= all.Count()/2 {
				first.Set(cpu)
			} else {
				second.Set(cpu)
			}
		}
	}
	if first.Count() == 0 {
		return serve(t, args...)
	}
	runtime.LockOSThread() // a child has the cores of the thread that starts it
	defer runtime.UnlockOSThread()
	if err := unix.SchedSetaffinity(0, &first); err != nil {
		t.Fatal(err)
	}
	s := serve(t, args...)
	confine(t, &second)
	t.Cleanup(func() { confine(t, &all) })
	return s
}

// confine gives all of this process's threads, and those that they start, some cores.
func confine(t *testing.T, cores *unix.CPUSet) {
	t.Helper()
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		id, _ := strconv.Atoi(task.Name())
		if err := unix.SchedSetaffinity(id, cores); err != nil && err != unix.ESRCH { // it may have ended
			t.Fatal(err)
		}
	}
}
