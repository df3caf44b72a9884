package sysinfo

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// Background gives the calling goroutine a thread of its own for good, whose niceness
// is nice: 19 for what may wait for ever, 10, a tenth of a busy thread's share, for what
// must go on. The thread ends with the goroutine, and its priority with it.
func Background(nice int) {
	runtime.LockOSThread()
	_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), nice) // a wish
}
