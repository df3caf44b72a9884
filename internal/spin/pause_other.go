//go:build !amd64

package spin

// Pause is a safepoint: the runtime may preempt here.
//
//go:noinline
func Pause() {
	var frame [160]byte // frames of more than 128 bytes get a stack check
	sink = frame[7]
}

var sink byte
