package ptxemu

import (
	"fmt"
	"math"
	"math/big"
	"testing"
)

// TestConvertInt compares every pair of integer types, with and without .sat.
func TestConvertInt(t *testing.T) {
	var tests []instrTest
	sizes := []int{8, 16, 32, 64}
	for _, from := range sizes {
		for _, to := range sizes {
			for i := range 4 {
				fs, ts := i&1 != 0, i&2 != 0
				src := map[bool]string{false: "u", true: "s"}[fs] + fmt.Sprint(from)
				dst := map[bool]string{false: "u", true: "s"}[ts] + fmt.Sprint(to)
				// Values of 8 bits live in registers of 16, extended as the type says.
				wd, wa := max(to, 16), max(from, 16)
				limit := new(big.Int).Lsh(big.NewInt(1), uint(to))
				least := new(big.Int)
				if ts {
					limit.Rsh(limit, 1)
					least.Neg(limit)
				}
				most := new(big.Int).Sub(limit, big.NewInt(1))
				extend := func(x *big.Int) uint64 { return part(wide(part(x, 0), to, ts), 0) }
				tests = append(tests,
					instrTest{"cvt." + dst + "." + src + " %d, %a;", [4]int{wd, wa}, anyInt, func(a, _, _ uint64) uint64 {
						return extend(wide(a, from, fs))
					}},
					instrTest{"cvt.sat." + dst + "." + src + " %d, %a;", [4]int{wd, wa}, anyInt, func(a, _, _ uint64) uint64 {
						x := wide(a, from, fs)
						if x.Cmp(least) < 0 {
							x = least
						}
						if x.Cmp(most) > 0 {
							x = most
						}
						return extend(x)
					}})
			}
		}
	}
	runInstr(t, tests)
}

// named formats with a source of operands for each.
type namedFormat struct {
	name string
	f    floatFormat
	bits int
}

var convertFormats = []namedFormat{{"f16", refF16, 16}, {"bf16", refBF16, 16}, {"f32", refF32, 32}, {"f64", refF64, 64}}

// convertBits is the conversion of a number between formats.
func convertBits(from, to floatFormat, b uint64, mode string) uint64 {
	switch {
	case from.isNaN(b):
		return to.canonical()
	case b&from.inf() == from.inf():
		return to.inf() | b>>(from.mantissa+from.exponent)<<(to.mantissa+to.exponent)
	}
	return to.bits(from.value(b), mode)
}

func (n namedFormat) inputs() instrTest {
	switch n.bits {
	case 16:
		return instrTest{inputs: anyHalf}
	case 32:
		return instrTest{inputs: anyF32}
	}
	return instrTest{inputs: finiteF64}
}

// TestConvertFloat compares conversions between float formats, in every mode
// where they can round.
func TestConvertFloat(t *testing.T) {
	var tests []instrTest
	for _, from := range convertFormats {
		for _, to := range convertFormats {
			if from.name == to.name || from.bits == 16 && to.bits == 16 {
				continue
			}
			modes := []string{"rn", "rz", "rm", "rp"}
			if to.bits > from.bits {
				modes = []string{""}
			}
			for _, mode := range modes {
				code := "cvt." + mode + "." + to.name + "." + from.name + " %d, %a;"
				if mode == "" {
					code = "cvt." + to.name + "." + from.name + " %d, %a;"
				}
				if mode == "rm" || mode == "rp" {
					if to.bits == 16 {
						continue // PTX has them for f32 and f64 only
					}
				}
				tests = append(tests, instrTest{code, [4]int{to.bits, from.bits}, from.inputs().inputs, func(a, _, _ uint64) uint64 {
					got := convertBits(from.f, to.f, a, mode)
					if to.bits == 64 && to.f.isNaN(got) {
						return math.Float64bits(decode(types[from.name], a)) // f64 keeps what the NaN held
					}
					return got
				}})
			}
		}
	}
	tests = append(tests,
		instrTest{"cvt.rn.f16x2.f32 %d, %a, %b;", w32, anyF32, func(a, b, _ uint64) uint64 {
			return convertBits(refF32, refF16, a, "rn")<<16 | convertBits(refF32, refF16, b, "rn")
		}},
		instrTest{"cvt.rn.bf16x2.f32 %d, %a, %b;", w32, anyF32, func(a, b, _ uint64) uint64 {
			return convertBits(refF32, refBF16, a, "rn")<<16 | convertBits(refF32, refBF16, b, "rn")
		}},
		instrTest{"cvt.rz.bf16x2.f32 %d, %a, %b;", w32, anyF32, func(a, b, _ uint64) uint64 {
			return convertBits(refF32, refBF16, a, "rz")<<16 | convertBits(refF32, refBF16, b, "rz")
		}},
		instrTest{"cvt.rn.relu.bf16x2.f32 %d, %a, %b;", w32, anyF32, func(a, b, _ uint64) uint64 {
			f := func(x uint64) uint64 {
				if y := convertBits(refF32, refBF16, x, "rn"); y>>15 == 0 {
					return y
				}
				return 0
			}
			return f(a)<<16 | f(b)
		}},
		instrTest{"cvt.rna.tf32.f32 %d, %a;", w32, anyF32, func(a, _, _ uint64) uint64 {
			if refF32.isNaN(a) {
				return refF32.canonical()
			}
			return convertBits(refF32, refTF32, a, "rna") << 13
		}},
		instrTest{"cvt.ftz.f32.f32 %d, %a;", w32, anyF32, func(a, _, _ uint64) uint64 { return convertBits(refF32, refF32, ftz(a), "rn") }},
		instrTest{"cvt.sat.f32.f32 %d, %a;", w32, anyF32, func(a, _, _ uint64) uint64 { return saturateF32(a) }},
	)
	runInstr(t, tests)
}

// TestRoundToWhole is cvt between equal types with an integer mode.
func TestRoundToWhole(t *testing.T) {
	whole := map[string]func(float64) float64{"rni": math.RoundToEven, "rzi": math.Trunc, "rmi": math.Floor, "rpi": math.Ceil}
	var tests []instrTest
	for mode, f := range whole {
		tests = append(tests,
			instrTest{"cvt." + mode + ".f32.f32 %d, %a;", w32, anyF32, func(a, _, _ uint64) uint64 {
				if refF32.isNaN(a) {
					return refF32.canonical()
				}
				return uint64(math.Float32bits(float32(f(float64(math.Float32frombits(uint32(a)))))))
			}},
			instrTest{"cvt." + mode + ".f64.f64 %d, %a;", w64, finiteF64, func(a, _, _ uint64) uint64 {
				return math.Float64bits(f(math.Float64frombits(a)))
			}})
		for _, from := range convertFormats {
			for _, bits := range []int{16, 32, 64} {
				for _, signed := range []bool{false, true} {
					dst := map[bool]string{false: "u", true: "s"}[signed] + fmt.Sprint(bits)
					tests = append(tests, instrTest{"cvt." + mode + "." + dst + "." + from.name + " %d, %a;", [4]int{bits, from.bits}, from.inputs().inputs,
						func(a, _, _ uint64) uint64 { return floatToInt(from.f, a, mode, bits, signed) }})
				}
			}
		}
	}
	for _, to := range convertFormats {
		for _, bits := range []int{16, 32, 64} {
			for _, signed := range []bool{false, true} {
				src := map[bool]string{false: "u", true: "s"}[signed] + fmt.Sprint(bits)
				for _, mode := range []string{"rn", "rz", "rm", "rp"} {
					if mode != "rn" && to.bits == 16 {
						continue
					}
					tests = append(tests, instrTest{"cvt." + mode + "." + to.name + "." + src + " %d, %a;", [4]int{to.bits, bits}, anyInt, func(a, _, _ uint64) uint64 {
						return to.f.bits(new(big.Float).SetPrec(4000).SetInt(wide(a, bits, signed)), mode)
					}})
				}
			}
		}
	}
	runInstr(t, tests)
}

// floatToInt rounds exactly and clamps, by the manual's rules for NaN.
func floatToInt(f floatFormat, b uint64, mode string, bits int, signed bool) uint64 {
	if f.isNaN(b) {
		if f == refF64 || bits == 64 {
			return 1 << (bits - 1)
		}
		return 0
	}
	limit := new(big.Int).Lsh(big.NewInt(1), uint(bits))
	least := new(big.Int)
	if signed {
		limit.Rsh(limit, 1)
		least.Neg(limit)
	}
	most := new(big.Int).Sub(limit, big.NewInt(1))
	negative := b>>(f.mantissa+f.exponent) != 0
	if b&f.inf() == f.inf() {
		if negative {
			return part(least, 0)
		}
		return part(most, 0)
	}
	x := f.value(b)
	n, _ := x.Int(nil) // towards zero
	rest := new(big.Float).Sub(x, new(big.Float).SetPrec(4000).SetInt(n))
	away := false
	switch half := new(big.Float).Abs(rest).Cmp(big.NewFloat(0.5)); mode {
	case "rni":
		away = half > 0 || half == 0 && n.Bit(0) != 0
	case "rmi":
		away = negative && rest.Sign() != 0
	case "rpi":
		away = !negative && rest.Sign() != 0
	}
	if away && negative {
		n.Sub(n, big.NewInt(1))
	} else if away {
		n.Add(n, big.NewInt(1))
	}
	if n.Cmp(least) < 0 {
		n = least
	}
	if n.Cmp(most) > 0 {
		n = most
	}
	return part(n, 0)
}

// TestConvertSmall covers the 8-bit floats, by their tables of values.
func TestConvertSmall(t *testing.T) {
	value := func(b uint64, mantissa, bias int, e4m3 bool) float64 { // NaN and infinity by the formats' definitions
		exp, m := int(b&0x7f>>mantissa), float64(b&(1<<mantissa-1))
		if e4m3 && b&0x7f == 0x7f || !e4m3 && exp == 31 && m != 0 {
			return math.NaN()
		}
		v := math.Ldexp(m, 1-bias-mantissa)
		if exp > 0 {
			v = math.Ldexp(1+m/float64(int(1)<<mantissa), exp-bias)
		}
		if !e4m3 && exp == 31 {
			v = math.Inf(1)
		}
		if b&0x80 != 0 {
			v = -v
		}
		return v
	}
	var tests []instrTest
	for _, k := range []struct {
		name           string
		mantissa, bias int
		largest        float64
	}{{"e4m3x2", 3, 7, 448}, {"e5m2x2", 2, 15, 57344}} {
		e4m3 := k.mantissa == 3
		nearest := func(a uint64) uint64 { // by search of all finite values
			x := float64(math.Float32frombits(uint32(a)))
			if x != x {
				return 0x7f
			}
			best, sign := uint64(0), uint64(math.Float64bits(x)>>63<<7)
			x = min(math.Abs(x), k.largest) // .satfinite
			for c := range uint64(0x80) {
				v := value(c, k.mantissa, k.bias, e4m3)
				d, e := math.Abs(v-x), math.Abs(value(best, k.mantissa, k.bias, e4m3)-x)
				if v <= k.largest && (d < e || d == e && c&1 == 0) {
					best = c
				}
			}
			return sign | best
		}
		tests = append(tests,
			instrTest{"cvt.rn.satfinite." + k.name + ".f32 %d, %a, %b;", [4]int{16, 32, 32}, anyF32, func(a, b, _ uint64) uint64 { return nearest(a)<<8 | nearest(b) }},
			instrTest{"cvt.rn.f16x2." + k.name + " %d, %a;", [4]int{32, 16}, anyInt, func(a, _, _ uint64) uint64 {
				half := func(b uint64) uint64 {
					v := value(b, k.mantissa, k.bias, e4m3)
					if v != v && e4m3 {
						return refF16.canonical()
					}
					if v != v || math.IsInf(v, 0) {
						return b << 8 // E5M2 is the upper byte of F16
					}
					return refF16.bits(new(big.Float).SetPrec(100).SetFloat64(v), "rn") | b>>7<<15
				}
				return half(a&0xff) | half(a>>8)<<16
			}})
	}
	runInstr(t, append(tests,
		instrTest{"cvt.pack.sat.s8.s32.b32 %d, %a, %b, %c;", w32, anyInt, func(a, b, c uint64) uint64 {
			clamp := func(x uint64) uint64 { return uint64(min(max(i32(x), -128), 127)) & 0xff }
			return c<<16 | clamp(a)<<8 | clamp(b)
		}},
		instrTest{"cvt.pack.sat.u16.s32 %d, %a, %b;", w32, anyInt, func(a, b, _ uint64) uint64 {
			clamp := func(x uint64) uint64 { return uint64(min(max(i32(x), 0), 65535)) }
			return clamp(a)<<16 | clamp(b)
		}}))
}
