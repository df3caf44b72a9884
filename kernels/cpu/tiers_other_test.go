//go:build !linux || !amd64 || noasm

package cpu

// emulated is the tiers that this process can run by translation.
var emulated []Tier
