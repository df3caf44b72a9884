// Package f16 converts between float32 and the two 16-bit floating point
// formats that weights, scales and KV are stored in: IEEE 754 binary16 (F16)
// and bfloat16 (BF16). Both are passed as their bits in a uint16.
//
// Every conversion is exact or rounds to nearest, ties to even, in integer
// arithmetic, so that the bits are the same on every CPU. NaNs follow what
// VCVTPH2PS, VCVTPS2PH and FCVT do: sign and leading payload bits are kept and
// the result is quiet. An asm tier that uses these instructions therefore
// equals this package on all inputs.
package f16

import "math"

// ToFloat32 returns the value of the binary16 number with bits h. It is exact:
// every binary16 value, subnormals included, is a float32 value. A signalling
// NaN becomes the quiet NaN with the same payload.
func ToFloat32(h uint16) float32 {
	const (
		exp     = 0x7c00 << 13 // the exponent field, moved to its float32 place
		rebias  = (127 - 15) << 23
		minimum = 113 << 23 // bits of 2^-14, the smallest normal binary16
	)
	sign := uint32(h&0x8000) << 16
	x := uint32(h&0x7fff) << 13
	switch x & exp {
	case exp: // infinity or NaN
		x |= 0x7f800000
		if x != 0x7f800000 {
			x |= 1 << 22
		}
	case 0: // zero or subnormal: 2^-14 * (1 + m/1024) - 2^-14, which is exact
		x = math.Float32bits(math.Float32frombits(x|minimum) - math.Float32frombits(minimum))
	default:
		x += rebias
	}
	return math.Float32frombits(x | sign)
}

// FromFloat32 returns the bits of the binary16 number nearest to f, ties to
// even. Magnitudes of 65520 and more become infinity; those of at most 2^-25
// become zero, with f's sign.
func FromFloat32(f float32) uint16 {
	b := math.Float32bits(f)
	sign := uint16(b >> 16 & 0x8000)
	x := b & 0x7fffffff
	switch {
	case x > 0x7f800000: // NaN
		return sign | 0x7e00 | uint16(x>>13&0x3ff)
	case x >= 0x477ff000: // rounds to 2^16 or more
		return sign | 0x7c00
	case x >= 113<<23: // a normal binary16; the carry may reach the exponent
		x -= (127 - 15) << 23
		return sign | uint16((x+0xfff+(x>>13&1))>>13)
	case x <= 102<<23: // 2^-25 or less: half of the smallest subnormal ties to 0
		return sign
	}
	// A subnormal binary16 counts units of 2^-24. With e = x>>23 the significand
	// m is worth m * 2^(e-150), so the count is m >> (126-e), rounded.
	m := x&0x7fffff | 0x800000
	shift := 126 - x>>23 // 14 … 24
	half := uint32(1)<<(shift-1) - 1
	return sign | uint16((m+half+(m>>shift&1))>>shift)
}

// BF16ToFloat32 returns the value of the bfloat16 number with bits h. It is
// exact and keeps NaN bits as they are: bfloat16 is the upper half of float32.
func BF16ToFloat32(h uint16) float32 {
	return math.Float32frombits(uint32(h) << 16)
}

// FromFloat32BF16 returns the bits of the bfloat16 number nearest to f, ties
// to even. Magnitudes that round past the largest finite bfloat16 become
// infinity.
func FromFloat32BF16(f float32) uint16 {
	x := math.Float32bits(f)
	if x&0x7fffffff > 0x7f800000 { // NaN
		return uint16(x>>16) | 0x40
	}
	return uint16((x + 0x7fff + (x >> 16 & 1)) >> 16)
}
