//go:build !linux

package spin

// Yield does nothing here; the runtime's own yield must do.
func Yield() {}
