package spin

// Pause tells the core that it spins, and is a safepoint.
func Pause()
