package server

import "golang.org/x/sys/unix"

// peerGone reports whether the other end of a socket closed it, or its sending
// half. Bytes that wait to be read do not hide that.
func peerGone(fd uintptr) bool {
	fds := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	n, err := unix.Poll(fds[:], 0)
	return err == nil && n > 0
}
