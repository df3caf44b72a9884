//go:build unix && !linux

package server

import "golang.org/x/sys/unix"

// peerGone reports whether the other end of a socket closed it, or its sending
// half. Bytes that wait to be read hide that: such a client is noticed by a
// failing write only.
func peerGone(fd uintptr) bool {
	var b [1]byte
	n, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	return err == nil && n == 0 || err == unix.ECONNRESET
}
