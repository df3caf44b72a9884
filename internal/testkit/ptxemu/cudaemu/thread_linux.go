package cudaemu

import "golang.org/x/sys/unix"

// thread identifies the operating system's thread that called.
func thread() int { return unix.Gettid() }
