//go:build amd64 && !noasm

package cpu

// probeOperations is the number of additions and multiplications of one turn of
// probe.
const probeOperations = 16 * 64 * 2

func probe(n int) { probeAVX512(uintptr(n)) }
