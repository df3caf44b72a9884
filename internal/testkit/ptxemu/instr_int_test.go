package ptxemu

import (
	"math/big"
	"math/bits"
	"testing"
)

var (
	w32 = [4]int{32, 32, 32, 32}
	w64 = [4]int{64, 64, 64, 64}
	w16 = [4]int{16, 16, 16, 16}
)

// wide returns the integers a and b as t says, exactly.
func wide(a uint64, n int, signed bool) *big.Int {
	x := new(big.Int).SetUint64(low(a, n))
	if signed && n > 0 && a>>(n-1)&1 != 0 {
		x.Sub(x, new(big.Int).Lsh(big.NewInt(1), uint(n)))
	}
	return x
}

// part is bits [from, from+64) of x in two's complement.
func part(x *big.Int, from int) uint64 {
	y := new(big.Int).Rsh(x, uint(from))
	return y.And(y, new(big.Int).SetUint64(1<<64-1)).Uint64()
}

func product(a, b uint64, n int, signed bool) *big.Int {
	return new(big.Int).Mul(wide(a, n, signed), wide(b, n, signed))
}

func TestIntegerArithmetic(t *testing.T) {
	tests := []instrTest{
		{"add.s32 %d, %a, %b;", w32, anyInt, func(a, b, _ uint64) uint64 { return a + b }},
		{"add.u64 %d, %a, %b;", w64, anyInt, func(a, b, _ uint64) uint64 { return a + b }},
		{"add.s16 %d, %a, -7;", w16, anyInt, func(a, _, _ uint64) uint64 { return a - 7 }},
		{"add.u16x2 %d, %a, %b;", w32, anyInt, func(a, b, _ uint64) uint64 { return (a+b)&0xffff | (a>>16+b>>16)<<16 }},
		{"add.sat.s32 %d, %a, %b;", w32, anyInt, func(a, b, _ uint64) uint64 { return uint64(min(max(i32(a)+i32(b), -1<<31), 1<<31-1)) }},
		{"sub.u32 %d, %a, %b;", w32, anyInt, func(a, b, _ uint64) uint64 { return a - b }},
		{"sub.s64 %d, %a, %b;", w64, anyInt, func(a, b, _ uint64) uint64 { return a - b }},
		{"sub.sat.s32 %d, %a, %b;", w32, anyInt, func(a, b, _ uint64) uint64 { return uint64(min(max(i32(a)-i32(b), -1<<31), 1<<31-1)) }},
		{"add.cc.u32 %t, %a, %b; addc.u32 %d, %c, 3;", w32, anyInt, func(a, b, c uint64) uint64 { return c + 3 + (a+b)>>32 }},
		{"sub.cc.u32 %t, %a, %b; subc.u32 %d, %c, 3;", w32, anyInt, func(a, b, c uint64) uint64 { return c - 3 - b2u(a < b) }},
		{"add.cc.u64 %d, %a, %b; addc.u64 %d, %c, 0;", w64, anyInt, func(a, b, c uint64) uint64 { _, x := bits.Add64(a, b, 0); return c + x }},
		{"mad.lo.cc.u32 %t, %a, %b, %c; madc.hi.u32 %d, %a, %b, 0;", w32, anyInt, func(a, b, c uint64) uint64 { return (a*b + c) >> 32 }},
		{"div.s32 %d, %a, %b;", w32, nonZero, func(a, b, _ uint64) uint64 { return uint64(i32(a) / i32(b)) }},
		{"div.u32 %d, %a, %b;", w32, nonZero, func(a, b, _ uint64) uint64 { return a / b }},
		{"div.s16 %d, %a, %b;", w16, nonZero, func(a, b, _ uint64) uint64 { return uint64(i16(a) / i16(b)) }},
		{"div.u64 %d, %a, %b;", w64, nonZero, func(a, b, _ uint64) uint64 { return a / b }},
		{"rem.s32 %d, %a, %b;", w32, nonZero, func(a, b, _ uint64) uint64 { return uint64(i32(a) % i32(b)) }},
		{"rem.u32 %d, %a, %b;", w32, nonZero, func(a, b, _ uint64) uint64 { return a % b }},
		{"rem.s64 %d, %a, %b;", w64, nonZero, func(a, b, _ uint64) uint64 { return uint64(int64(a) % int64(b)) }},
		{"abs.s32 %d, %a;", w32, anyInt, func(a, _, _ uint64) uint64 { return uint64(max(i32(a), -i32(a))) }},
		{"neg.s64 %d, %a;", w64, anyInt, func(a, _, _ uint64) uint64 { return -a }},
		{"min.s32 %d, %a, %b;", w32, anyInt, func(a, b, _ uint64) uint64 { return uint64(min(i32(a), i32(b))) }},
		{"max.s16 %d, %a, %b;", w16, anyInt, func(a, b, _ uint64) uint64 { return uint64(max(i16(a), i16(b))) }},
		{"min.u32 %d, %a, %b;", w32, anyInt, func(a, b, _ uint64) uint64 { return min(a, b) }},
		{"max.u64 %d, %a, %b;", w64, anyInt, func(a, b, _ uint64) uint64 { return max(a, b) }},
		{"max.s64 %d, %a, %b;", w64, anyInt, func(a, b, _ uint64) uint64 { return uint64(max(int64(a), int64(b))) }},
		{"max.s16x2 %d, %a, %b;", w32, anyInt, func(a, b, _ uint64) uint64 {
			return uint64(max(i16(a), i16(b)))&0xffff | uint64(max(i16(a>>16), i16(b>>16)))<<16
		}},
		{"sad.s32 %d, %a, %b, %c;", w32, anyInt, func(a, b, c uint64) uint64 { x := i32(a) - i32(b); return c + uint64(max(x, -x)) }},
		{"sad.u32 %d, %a, %b, %c;", w32, anyInt, func(a, b, c uint64) uint64 { return c + max(a, b) - min(a, b) }},
		{"mul24.lo.u32 %d, %a, %b;", w32, anyInt, func(a, b, _ uint64) uint64 { return low(a, 24) * low(b, 24) }},
		{"mul24.hi.s32 %d, %a, %b;", w32, anyInt, func(a, b, _ uint64) uint64 { return part(product(low(a, 24), low(b, 24), 24, true), 16) }},
		{"dp4a.s32.s32 %d, %a, %b, %c;", w32, anyInt, func(a, b, c uint64) uint64 {
			for i := range 4 {
				c += uint64(int64(int8(a>>(8*i))) * int64(int8(b>>(8*i))))
			}
			return c
		}},
		{"dp4a.u32.s32 %d, %a, %b, %c;", w32, anyInt, func(a, b, c uint64) uint64 {
			for i := range 4 {
				c += uint64(int64(uint8(a>>(8*i))) * int64(int8(b>>(8*i))))
			}
			return c
		}},
		{"dp2a.hi.s32.u32 %d, %a, %b, %c;", w32, anyInt, func(a, b, c uint64) uint64 {
			return c + uint64(i16(a)*int64(uint8(b>>16))+i16(a>>16)*int64(uint8(b>>24)))
		}},
	}
	for _, n := range []int{16, 32, 64} {
		for _, signed := range []bool{false, true} {
			name := map[bool]string{false: "u", true: "s"}[signed] + map[int]string{16: "16", 32: "32", 64: "64"}[n]
			w := [4]int{n, n, n, n}
			tests = append(tests,
				instrTest{"mul.lo." + name + " %d, %a, %b;", w, anyInt, func(a, b, _ uint64) uint64 { return part(product(a, b, n, signed), 0) }},
				instrTest{"mul.hi." + name + " %d, %a, %b;", w, anyInt, func(a, b, _ uint64) uint64 { return part(product(a, b, n, signed), n) }},
				instrTest{"mad.lo." + name + " %d, %a, %b, %c;", w, anyInt, func(a, b, c uint64) uint64 { return part(product(a, b, n, signed), 0) + c }},
				instrTest{"mad.hi." + name + " %d, %a, %b, %c;", w, anyInt, func(a, b, c uint64) uint64 { return part(product(a, b, n, signed), n) + c }})
			if n < 64 {
				tests = append(tests,
					instrTest{"mul.wide." + name + " %d, %a, %b;", [4]int{2 * n, n, n}, anyInt, func(a, b, _ uint64) uint64 { return part(product(a, b, n, signed), 0) }},
					instrTest{"mad.wide." + name + " %d, %a, %b, %c;", [4]int{2 * n, n, n, 2 * n}, anyInt, func(a, b, c uint64) uint64 { return part(product(a, b, n, signed), 0) + c }})
			}
		}
	}
	runInstr(t, tests)
}

// clampShift is a shift amount as PTX takes it.
func clampShift(n uint64, width int) uint64 { return min(low(n, 32), uint64(width)) }

func TestBits(t *testing.T) {
	n32 := [4]int{64, 64, 32, 32}
	field := func(a, pos, length uint64, width int) (x uint64) { // bfe.u, bit by bit
		for i := range min(length&0xff, 64) {
			if k := pos&0xff + i; k < uint64(width) {
				x |= a >> k & 1 << i
			}
		}
		return x
	}
	signedField := func(a, pos, length uint64, width int) (x uint64) {
		pos, length = pos&0xff, length&0xff
		if length == 0 {
			return 0
		}
		sign := a >> min(pos+length-1, uint64(width-1)) & 1
		for i := range uint64(width) {
			bit := sign
			if i < length && pos+i < uint64(width) {
				bit = a >> (pos + i) & 1
			}
			x |= bit << i
		}
		return x
	}
	insert := func(a, b, pos, length uint64, width int) uint64 {
		for i := range min(length&0xff, 64) {
			if k := pos&0xff + i; k < uint64(width) {
				b = b&^(1<<k) | a>>i&1<<k
			}
		}
		return b
	}
	permute := func(a, b, c uint64) (x uint64) {
		bytes := []byte{byte(a), byte(a >> 8), byte(a >> 16), byte(a >> 24), byte(b), byte(b >> 8), byte(b >> 16), byte(b >> 24)}
		for i := range 4 {
			s := c >> (4 * i)
			v := bytes[s&7]
			if s&8 != 0 {
				v = byte(int8(v) >> 7)
			}
			x |= uint64(v) << (8 * i)
		}
		return x
	}
	runInstr(t, []instrTest{
		{"and.b32 %d, %a, %b;", w32, anyInt, func(a, b, _ uint64) uint64 { return a & b }},
		{"or.b64 %d, %a, %b;", w64, anyInt, func(a, b, _ uint64) uint64 { return a | b }},
		{"xor.b16 %d, %a, %b;", w16, anyInt, func(a, b, _ uint64) uint64 { return a ^ b }},
		{"not.b32 %d, %a;", w32, anyInt, func(a, _, _ uint64) uint64 { return ^a }},
		{"cnot.b32 %d, %a;", w32, anyInt, func(a, _, _ uint64) uint64 { return b2u(a == 0) }},
		{"shl.b32 %d, %a, %b;", w32, anyInt, func(a, b, _ uint64) uint64 { return a << clampShift(b, 32) }},
		{"shl.b64 %d, %a, %b;", n32, anyInt, func(a, b, _ uint64) uint64 { return a << clampShift(b, 64) }},
		{"shl.b16 %d, %a, 5;", w16, anyInt, func(a, _, _ uint64) uint64 { return a << 5 }},
		{"shr.u32 %d, %a, %b;", w32, anyInt, func(a, b, _ uint64) uint64 { return a >> clampShift(b, 32) }},
		{"shr.s32 %d, %a, %b;", w32, anyInt, func(a, b, _ uint64) uint64 { return uint64(i32(a) >> clampShift(b, 32)) }},
		{"shr.s64 %d, %a, %b;", n32, anyInt, func(a, b, _ uint64) uint64 { return uint64(int64(a) >> clampShift(b, 64)) }},
		{"shr.s16 %d, %a, 3;", w16, anyInt, func(a, _, _ uint64) uint64 { return uint64(i16(a) >> 3) }},
		{"shf.l.wrap.b32 %d, %a, %b, %c;", w32, anyInt, func(a, b, c uint64) uint64 { return b<<(c&31) | a>>(32-c&31) }},
		{"shf.r.wrap.b32 %d, %a, %b, %c;", w32, anyInt, func(a, b, c uint64) uint64 { return low(a>>(c&31)|b<<(32-c&31), 32) }},
		{"shf.l.clamp.b32 %d, %a, %b, %c;", w32, anyInt, func(a, b, c uint64) uint64 { n := min(c, 32); return low(b<<n, 32) | a>>(32-n) }},
		{"shf.r.clamp.b32 %d, %a, %b, %c;", w32, anyInt, func(a, b, c uint64) uint64 { n := min(c, 32); return a>>n | b<<(32-n) }},
		{"lop3.b32 %d, %a, %b, %c, 0xe8;", w32, anyInt, func(a, b, c uint64) uint64 { return a&b | b&c | a&c }},
		{"lop3.b32 %d, %a, %b, %c, 0xca;", w32, anyInt, func(a, b, c uint64) uint64 { return a&b | ^a&c }},
		{"lop3.b32 %d, %a, %b, %c, 0x72;", w32, anyInt, func(a, b, c uint64) uint64 { return lut72(a, b, c) }},
		{"prmt.b32 %d, %a, %b, %c;", w32, anyInt, permute},
		{"prmt.b32 %d, %a, %b, 0x5140;", w32, anyInt, func(a, b, _ uint64) uint64 { return permute(a, b, 0x5140) }},
		{"prmt.b32.f4e %d, %a, %b, %c;", w32, anyInt, func(a, b, c uint64) uint64 { return (b<<32 | a) >> (8 * (c & 3)) }},
		{"prmt.b32.rc8 %d, %a, %b, %c;", w32, anyInt, func(a, b, c uint64) uint64 { return a >> (8 * (c & 3)) & 0xff * 0x01010101 }},
		{"bfe.u32 %d, %a, %b, %c;", w32, anyInt, func(a, b, c uint64) uint64 { return field(a, b, c, 32) }},
		{"bfe.s32 %d, %a, %b, %c;", w32, anyInt, func(a, b, c uint64) uint64 { return signedField(a, b, c, 32) }},
		{"bfe.u64 %d, %a, %b, %c;", n32, anyInt, func(a, b, c uint64) uint64 { return field(a, b, c, 64) }},
		{"bfe.s64 %d, %a, %b, %c;", n32, anyInt, func(a, b, c uint64) uint64 { return signedField(a, b, c, 64) }},
		{"bfi.b32 %d, %a, %b, %c, 5;", w32, anyInt, func(a, b, c uint64) uint64 { return insert(a, b, c, 5, 32) }},
		{"bfi.b32 %d, %a, %b, 3, %c;", w32, anyInt, func(a, b, c uint64) uint64 { return insert(a, b, 3, c, 32) }},
		{"bfi.b64 %d, %a, %a, %b, %c;", n32, anyInt, func(a, b, c uint64) uint64 { return insert(a, a, b, c, 64) }},
		{"brev.b32 %d, %a;", w32, anyInt, func(a, _, _ uint64) uint64 { return uint64(bits.Reverse32(uint32(a))) }},
		{"brev.b64 %d, %a;", w64, anyInt, func(a, _, _ uint64) uint64 { return bits.Reverse64(a) }},
		{"popc.b32 %d, %a;", w32, anyInt, func(a, _, _ uint64) uint64 { return uint64(bits.OnesCount32(uint32(a))) }},
		{"popc.b64 %d, %a;", [4]int{32, 64}, anyInt, func(a, _, _ uint64) uint64 { return uint64(bits.OnesCount64(a)) }},
		{"clz.b32 %d, %a;", w32, anyInt, func(a, _, _ uint64) uint64 { return uint64(bits.LeadingZeros32(uint32(a))) }},
		{"clz.b64 %d, %a;", [4]int{32, 64}, anyInt, func(a, _, _ uint64) uint64 { return uint64(bits.LeadingZeros64(a)) }},
		{"bfind.u32 %d, %a;", w32, anyInt, func(a, _, _ uint64) uint64 { return uint64(bits.Len32(uint32(a)) - 1) }},
		{"bfind.s32 %d, %a;", w32, anyInt, func(a, _, _ uint64) uint64 { return uint64(bits.Len32(uint32(a)^uint32(int32(a)>>31)) - 1) }},
		{"bfind.shiftamt.u32 %d, %a;", w32, anyInt, func(a, _, _ uint64) uint64 {
			if a == 0 {
				return 0xffffffff
			}
			return uint64(bits.LeadingZeros32(uint32(a)))
		}},
		{"bmsk.clamp.b32 %d, %a, %b;", w32, anyInt, func(a, b, _ uint64) (x uint64) {
			for i := a; i < min(a+b, 32); i++ {
				x |= 1 << i
			}
			return x
		}},
		{"szext.clamp.s32 %d, %a, 5;", w32, anyInt, func(a, _, _ uint64) uint64 { return uint64(int64(a<<59) >> 59) }},
		{"fns.b32 %d, %a, 0, 2;", w32, anyInt, func(a, _, _ uint64) uint64 { // the second set bit from 0
			a &= a - 1
			if a == 0 {
				return 0xffffffff
			}
			return uint64(bits.TrailingZeros64(a))
		}},
		{"mov.b32 {%t16, %u16}, %a; mov.b32 %d, {%u16, %t16};", w32, anyInt, func(a, _, _ uint64) uint64 { return a>>16 | a<<16 }},
		{"mov.b64 {%t, %u}, %a; mov.b64 %d, {%u, %t};", w64, anyInt, func(a, _, _ uint64) uint64 { return a>>32 | a<<32 }},
		{"mov.b64 {_, %t}, %a; cvt.u64.u32 %d, %t;", w64, anyInt, func(a, _, _ uint64) uint64 { return a >> 32 }},
	})
}

// lut72 is a lop3 table read as the manual defines it: bit 4a+2b+c.
func lut72(a, b, c uint64) (x uint64) {
	for i := range 32 {
		x |= 0x72 >> (a>>i&1*4 + b>>i&1*2 + c>>i&1) & 1 << i
	}
	return x
}

func TestCompare(t *testing.T) {
	const sel = " selp.b32 %d, 11, 22, %p;"
	pick := func(b bool) uint64 { return 22 - 11*b2u(b) }
	tests := []instrTest{
		{"setp.eq.u32 %p|%q, %a, %b; selp.b32 %t, 1, 0, %p; selp.b32 %d, 10, 20, %q; add.u32 %d, %d, %t;", w32, anyInt, func(a, b, _ uint64) uint64 {
			if a == b {
				return 21
			}
			return 10
		}},
		{"setp.lt.s32 %q, %a, %b; setp.gt.and.u32 %p, %b, %c, %q;" + sel, w32, anyInt, func(a, b, c uint64) uint64 { return pick(i32(a) < i32(b) && b > c) }},
		{"setp.lt.s32 %q, %a, %b; setp.gt.or.u32 %p, %b, %c, !%q;" + sel, w32, anyInt, func(a, b, c uint64) uint64 { return pick(!(i32(a) < i32(b)) || b > c) }},
		{"setp.lt.s32 %q, %a, %b; setp.ne.xor.u32 %p, %b, %c, %q;" + sel, w32, anyInt, func(a, b, c uint64) uint64 { return pick((i32(a) < i32(b)) != (b != c)) }},
		{"setp.lt.s32 %q, %a, %b; setp.lt.s32 %p, %b, %c; and.pred %p, %p, %q; not.pred %p, %p;" + sel, w32, anyInt, func(a, b, c uint64) uint64 { return pick(!(i32(a) < i32(b) && i32(b) < i32(c))) }},
		{"set.lt.u32.s32 %d, %a, %b;", w32, anyInt, func(a, b, _ uint64) uint64 { return -b2u(i32(a) < i32(b)) }},
		{"set.eq.f32.u32 %d, %a, %b;", w32, anyInt, func(a, b, _ uint64) uint64 { return b2u(a == b) * 0x3f800000 }},
		{"slct.b32.s32 %d, %a, %b, %c;", w32, anyInt, func(a, b, c uint64) uint64 {
			if i32(c) >= 0 {
				return a
			}
			return b
		}},
		{"setp.eq.u32 %p, %a, %b; mov.u32 %d, 22; @%p mov.u32 %d, 11;", w32, anyInt, func(a, b, _ uint64) uint64 { return pick(a == b) }},
		{"setp.eq.u32 %p, %a, %b; mov.u32 %d, 11; @!%p mov.u32 %d, 22;", w32, anyInt, func(a, b, _ uint64) uint64 { return pick(a == b) }},
	}
	for _, n := range []struct {
		name string
		w    [4]int
		less func(a, b uint64) bool
	}{
		{"u32", [4]int{32, 32, 32}, func(a, b uint64) bool { return a < b }},
		{"s32", [4]int{32, 32, 32}, func(a, b uint64) bool { return i32(a) < i32(b) }},
		{"u64", [4]int{32, 64, 64}, func(a, b uint64) bool { return a < b }},
		{"s64", [4]int{32, 64, 64}, func(a, b uint64) bool { return int64(a) < int64(b) }},
		{"s16", [4]int{32, 16, 16}, func(a, b uint64) bool { return i16(a) < i16(b) }},
		{"u16", [4]int{32, 16, 16}, func(a, b uint64) bool { return a < b }},
	} {
		for op, f := range map[string]func(less, more bool) bool{
			"eq": func(l, m bool) bool { return !l && !m }, "ne": func(l, m bool) bool { return l || m },
			"lt": func(l, m bool) bool { return l }, "le": func(l, m bool) bool { return !m },
			"gt": func(l, m bool) bool { return m }, "ge": func(l, m bool) bool { return !l },
		} {
			tests = append(tests, instrTest{"setp." + op + "." + n.name + " %p, %a, %b;" + sel, n.w, anyInt,
				func(a, b, _ uint64) uint64 { return pick(f(n.less(a, b), n.less(b, a))) }})
		}
	}
	runInstr(t, tests)
}
