package weights

// Blocks of 256 elements ("superblocks"): groups of 32 or 16 elements have
// small integer scales of their own, times the block's binary16 scale.

// scaleMin returns the 6-bit scale and minimum of group j (0 to 7) from the 12
// packed bytes of a Q4_K or Q5_K block. Groups 0 to 3 have theirs in the low six
// bits of bytes j and j+4; groups 4 to 7 have four bits each in byte j+4 and the
// other two on top of bytes j-4 and j.
func scaleMin(packed *[12]byte, j int) (scale, minimum byte) {
	if j < 4 {
		return packed[j] & 63, packed[j+4] & 63
	}
	return packed[j+4]&15 | packed[j-4]>>6<<4, packed[j+4]>>4 | packed[j]>>6<<4
}

// Q4_K: d, dmin, 12 bytes of scales, 128 bytes of quants. Each run of 32 quant
// bytes holds group 2g in the low four bits and group 2g+1 in the high ones;
// value (d*scale)*q - (dmin*minimum).
func decodeQ4_K(dst []float32, src []byte) {
	for ; len(dst) >= 256; dst, src = dst[256:], src[144:] {
		d, dmin := scale(src), scale(src[2:])
		packed, quants := (*[12]byte)(src[4:]), src[16:144]
		for g := range 4 {
			q := (*[32]byte)(quants[32*g:])
			y := (*[64]float32)(dst[64*g:])
			d0, m0 := groupScale(d, dmin, packed, 2*g)
			d1, m1 := groupScale(d, dmin, packed, 2*g+1)
			for i, b := range q {
				y[i] = float32(d0*float32(b&15)) - m0
				y[i+32] = float32(d1*float32(b>>4)) - m1
			}
		}
	}
}

// Q5_K: as Q4_K, with 32 bytes between scales and quants that hold the fifth
// bits: bit j of byte i for element i of group j.
func decodeQ5_K(dst []float32, src []byte) {
	for ; len(dst) >= 256; dst, src = dst[256:], src[176:] {
		d, dmin := scale(src), scale(src[2:])
		packed, high, quants := (*[12]byte)(src[4:]), (*[32]byte)(src[16:]), src[48:176]
		for g := range 4 {
			q := (*[32]byte)(quants[32*g:])
			y := (*[64]float32)(dst[64*g:])
			d0, m0 := groupScale(d, dmin, packed, 2*g)
			d1, m1 := groupScale(d, dmin, packed, 2*g+1)
			for i, b := range q {
				y[i] = float32(d0*float32(b&15|high[i]>>(2*g)&1<<4)) - m0
				y[i+32] = float32(d1*float32(b>>4|high[i]>>(2*g+1)&1<<4)) - m1
			}
		}
	}
}

// groupScale returns the scale and the minimum of group j as float32.
func groupScale(d, dmin float32, packed *[12]byte, j int) (scale, minimum float32) {
	s, m := scaleMin(packed, j)
	return float32(d * float32(s)), float32(dmin * float32(m))
}

// Q6_K: 128 bytes of low four bits, 64 bytes of high two bits, 16 signed scales
// of 16 elements each, d. Each half of 128 elements takes 64 low bytes (elements
// i, then 64+i in the high bits) and 32 high bytes (elements i, 32+i, 64+i, 96+i
// from the lowest bits up); value (d*scale)*(q-32).
func decodeQ6_K(dst []float32, src []byte) {
	for ; len(dst) >= 256; dst, src = dst[256:], src[210:] {
		d := scale(src[208:])
		var scales [16]float32
		for j, s := range (*[16]byte)(src[192:]) {
			scales[j] = d * float32(int8(s))
		}
		for half := range 2 {
			low, high := (*[64]byte)(src[64*half:]), (*[32]byte)(src[128+32*half:])
			y, s := (*[128]float32)(dst[128*half:]), (*[8]float32)(scales[8*half:])
			for i, h := range high {
				k := i / 16
				y[i] = s[k] * float32(int(low[i]&15|h&3<<4)-32)
				y[i+32] = s[k+2] * float32(int(low[i+32]&15|h>>2&3<<4)-32)
				y[i+64] = s[k+4] * float32(int(low[i]>>4|h>>4&3<<4)-32)
				y[i+96] = s[k+6] * float32(int(low[i+32]>>4|h>>6<<4)-32)
			}
		}
	}
}
