//go:build amd64 && !noasm

package cpu

// probe returns a loop of independent dot products of int8, or FMAs of f32, and
// how many operations one call does. Without AVX-512 it is the loop of nothing.
func probe(int8 bool) (run func(), operations float64) {
	const turns = 1 << 10
	if !available(AVX512) {
		return func() {}, 1
	}
	if int8 {
		return func() { probeDotAVX512(turns) }, turns * 16 * 64 * 2
	}
	return func() { probeFMAAVX512(turns) }, turns * 16 * 16 * 2
}

func read(b []byte) {
	if available(AVX2) {
		probeReadAVX2(&b[0], uintptr(len(b)))
	}
}
