package sysinfo

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// Background runs f on a thread of its own, whose niceness is nice: 19 for what may wait
// for ever, 10, a tenth of a busy thread's share, for what must go on. The calling
// goroutine must end with f: the thread, and its niceness, end with that.
func Background(nice int, f func()) {
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() { // never ends, and its niceness is the process's
		defer runtime.UnlockOSThread()
		done := make(chan struct{})
		go func() { // on another thread, this one being held
			defer close(done)
			Background(nice, f)
		}()
		<-done
		return
	}
	_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), nice) // a wish
	f()
}
