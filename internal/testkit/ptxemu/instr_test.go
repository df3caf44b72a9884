package ptxemu

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

// instrTest is an instruction, or a few, that make d of a, b and c, and what
// they should make. Registers %d, %a, %b, %c have the widths given, in bits;
// %p, %q, %t, %u are predicates and scratch of 32 bits.
type instrTest struct {
	code   string
	widths [4]int // d, a, b, c; 0: not used
	inputs func(r *rand.Rand) uint64
	want   func(a, b, c uint64) uint64
}

const (
	instrThreads = 256
	instrBlocks  = 6
	instrCases   = instrThreads * instrBlocks
)

// runInstr runs every test's code on random and edge inputs in one module and
// compares all results.
func runInstr(t *testing.T, tests []instrTest) {
	t.Helper()
	var text strings.Builder
	text.WriteString(".version 8.0\n.target sm_90\n.address_size 64\n")
	for i, c := range tests {
		writeKernel(&text, i, c)
	}
	bn := loadText(t, text.String())
	rng := rand.New(rand.NewPCG(11, uint64(len(tests))))
	for i, c := range tests {
		var in [3][]uint64
		for k := range in {
			in[k] = make([]uint64, instrCases)
			for j := range in[k] {
				in[k][j] = c.inputs(rng)
			}
		}
		out := alloc(bn, make([]uint64, instrCases))
		p := [3]uint64{alloc(bn, in[0]), alloc(bn, in[1]), alloc(bn, in[2])}
		bn.run(fmt.Sprint("k", i), Config{Grid: Dim3{X: instrBlocks}, Block: Dim3{X: instrThreads}}, p[0], p[1], p[2], out)
		bad := 0
		for j, got := range read[uint64](bn, out, instrCases) {
			a, b, d := low(in[0][j], c.widths[1]), low(in[1][j], c.widths[2]), low(in[2][j], c.widths[3])
			if want := low(c.want(a, b, d), c.widths[0]); got != want {
				if bad++; bad <= 3 {
					t.Errorf("%s: a=%#x b=%#x c=%#x gives %#x, not %#x", c.code, a, b, d, got, want)
				}
			}
		}
		if bad > 3 {
			t.Errorf("%s: %d of %d wrong", c.code, bad, instrCases)
		}
	}
}

func low(x uint64, bits int) uint64 {
	if bits == 0 {
		return 0
	}
	return x << (64 - bits) >> (64 - bits)
}

func writeKernel(w *strings.Builder, i int, c instrTest) {
	fmt.Fprintf(w, ".visible .entry k%d(.param .u64 pa, .param .u64 pb, .param .u64 pc, .param .u64 pd)\n{\n", i)
	w.WriteString("\t.reg .b64 %addr<8>;\n\t.reg .b32 %i<8>;\n\t.reg .b32 %t, %u;\n\t.reg .b16 %t16, %u16;\n\t.reg .pred %p, %q;\n")
	names := []string{"%d", "%a", "%b", "%c"}
	for k, n := range names {
		if c.widths[k] > 0 {
			fmt.Fprintf(w, "\t.reg .b%d %s;\n", c.widths[k], n)
		}
	}
	fmt.Fprintf(w, "\tmov.u32 %%i1, %%tid.x;\n\tmov.u32 %%i2, %%ctaid.x;\n\tmad.lo.u32 %%i1, %%i2, %d, %%i1;\n\tmul.wide.u32 %%addr0, %%i1, 8;\n", instrThreads)
	for k, p := range []string{"pa", "pb", "pc"} {
		if c.widths[k+1] > 0 {
			fmt.Fprintf(w, "\tld.param.u64 %%addr1, [%s];\n\tadd.u64 %%addr1, %%addr1, %%addr0;\n\tld.global.b%d %s, [%%addr1];\n", p, c.widths[k+1], names[k+1])
		}
	}
	fmt.Fprintf(w, "\t%s\n", c.code)
	fmt.Fprintf(w, "\tld.param.u64 %%addr1, [pd];\n\tadd.u64 %%addr1, %%addr1, %%addr0;\n\tst.global.b%d [%%addr1], %%d;\n\tret;\n}\n", c.widths[0])
}

// Sources of operands: any bits, often the edges.

func anyInt(r *rand.Rand) uint64 {
	edges := []uint64{0, 1, 2, 31, 32, 33, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff, math.MaxInt64, 1 << 63, math.MaxUint64}
	switch r.IntN(4) {
	case 0:
		return edges[r.IntN(len(edges))]
	case 1:
		return uint64(r.IntN(70)) // shifts and lengths
	}
	return r.Uint64()
}

func nonZero(r *rand.Rand) uint64 {
	for {
		if x := anyInt(r); uint16(x) != 0 {
			return x
		}
	}
}

// anyF32 has numbers of like size, so that sums cancel and round; all bits; and
// the special values.
func anyF32(r *rand.Rand) uint64 {
	special := []uint32{0, 1 << 31, 1, 0x80000001, 0x007fffff, 0x00800000, 0x7f7fffff, 0xff7fffff, 0x7f800000, 0xff800000, 0x7fc00000, 0x3f800000, 0x3f7fffff, 0xbf800000, 0x4b000000, 0x4f000000, 0xcf000000, 0x3f000000, 0x40200000}
	switch r.IntN(5) {
	case 0:
		return uint64(special[r.IntN(len(special))])
	case 1:
		return uint64(r.Uint32())
	case 2: // few bits: exact results and ties
		return uint64(math.Float32bits(float32(r.IntN(64)-32) * 0.5))
	}
	return uint64(math.Float32bits(float32(r.NormFloat64() * math.Exp2(float64(r.IntN(30)-15)))))
}

func anyF64(r *rand.Rand) uint64 {
	switch r.IntN(4) {
	case 0:
		return math.Float64bits(float64(math.Float32frombits(uint32(anyF32(r)))))
	case 1:
		return r.Uint64()
	}
	return math.Float64bits(r.NormFloat64() * math.Exp2(float64(r.IntN(80)-40)))
}

// anyHalf is two or four 16-bit floats of either format: any bits, or near one.
func anyHalf(r *rand.Rand) uint64 {
	special := []uint64{0, 0x8000, 1, 0x03ff, 0x0400, 0x7bff, 0x7c00, 0xfc00, 0x7e00, 0x3c00, 0xbc00, 0x3f80, 0x7f7f, 0x7f80, 0xff80, 0x7fc0, 0x0080}
	var x uint64
	for range 4 {
		h := r.Uint64() & 0xffff
		switch r.IntN(4) {
		case 0:
			h = special[r.IntN(len(special))]
		case 1, 2:
			h = h&0x87ff | 0x3800
		}
		x = x<<16 | h
	}
	return x
}

func i32(x uint64) int64 { return int64(int32(x)) }
func i16(x uint64) int64 { return int64(int16(x)) }

func b2u(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}
