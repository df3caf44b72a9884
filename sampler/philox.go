package sampler

import "math/bits"

// Philox is the counter-based generator Philox4x32-10 of J. K. Salmon,
// M. A. Moraes, R. O. Dror and D. E. Shaw, "Parallel random numbers: as easy as
// 1, 2, 3", SC'11: 128 random bits for each counter, by ten rounds under a key.
func Philox(counter [4]uint32, key [2]uint32) [4]uint32 {
	const (
		multiplier0, multiplier1 = 0xd2511f53, 0xcd9e8d57
		weyl0, weyl1             = 0x9e3779b9, 0xbb67ae85
	)
	for range 10 {
		hi0, lo0 := bits.Mul32(multiplier0, counter[0])
		hi1, lo1 := bits.Mul32(multiplier1, counter[2])
		counter = [4]uint32{hi1 ^ counter[1] ^ key[0], lo1, hi0 ^ counter[3] ^ key[1], lo0}
		key[0] += weyl0
		key[1] += weyl1
	}
	return counter
}

// What a random number is for is the last word of its counter, so that no two
// uses share one. A use never changes its number.
const useDraw = 0 // the draw of a token

// Uniform returns a number of [0, 1), a multiple of 2^-53: the one that draws
// the token at an absolute position of a sequence, for one choice (of the n of a
// request) and the seed of the request.
func Uniform(seed, position uint64, choice uint32) float64 {
	return float64(uniform53(seed, position, choice, useDraw)) * 0x1p-53
}

// uniform53 returns 53 random bits: the upper ones of the first two words, the
// second word being the more significant.
func uniform53(seed, position uint64, choice, use uint32) uint64 {
	x := Philox(
		[4]uint32{uint32(position), uint32(position >> 32), choice, use},
		[2]uint32{uint32(seed), uint32(seed >> 32)})
	return (uint64(x[1])<<32 | uint64(x[0])) >> 11
}
