package spin

import "golang.org/x/sys/unix"

// Yield gives the core to another thread, if one waits for it. A spin that has
// gone on for long may be what keeps the thread that it waits for from running.
func Yield() { _, _, _ = unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0) }
