package ptxemu

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// matrixModule is a kernel of one warp: it loads registers from lanes' words,
// runs one instruction and stores registers.
func matrixModule(t *testing.T, code string, in, out int) func(words []uint32) []uint32 {
	t.Helper()
	text := ".version 8.0\n.target sm_90\n.address_size 64\n.visible .entry k(.param .u64 px, .param .u64 py)\n{\n" +
		".shared .align 16 .b8 s[1024];\n.reg .b32 %a<40>, %d<8>, %t, %l;\n.reg .b64 %x, %y, %o;\n" +
		"ld.param.u64 %x, [px];\nld.param.u64 %y, [py];\nmov.u32 %l, %laneid;\nmul.wide.u32 %o, %l, 4;\nadd.u64 %x, %x, %o;\nadd.u64 %y, %y, %o;\n"
	for i := range in {
		text += fmt.Sprintf("ld.global.b32 %%a%d, [%%x+%d];\n", i, 128*i)
	}
	text += code + "\n"
	for i := range out {
		text += fmt.Sprintf("st.global.b32 [%%y+%d], %%d%d;\n", 128*i, i)
	}
	b := loadText(t, text+"ret;\n}\n")
	return func(words []uint32) []uint32 {
		t.Helper()
		y := alloc(b, make([]uint32, 32*max(out, 1)))
		b.run("k", Config{Block: Dim3{X: 32}}, alloc(b, words), y)
		return read[uint32](b, y, 32*out)
	}
}

// TestLdmatrix loads tiles whose rows lie anywhere in 1 KB of shared memory.
// Word i of lane l lies at word 32i+l there.
func TestLdmatrix(t *testing.T) {
	store := ""
	for i := range 8 {
		store += fmt.Sprintf("shl.b32 %%t, %%l, 2; st.shared.b32 [%%t+%d], %%a%d;\n", 128*i, i)
	}
	rng := rand.New(rand.NewPCG(21, 22))
	for _, n := range []int{1, 2, 4} {
		for _, trans := range []string{"", ".trans"} {
			regs := map[int]string{1: "{%d0}", 2: "{%d0, %d1}", 4: "{%d0, %d1, %d2, %d3}"}[n]
			run := matrixModule(t, store+fmt.Sprintf("bar.warp.sync -1;\nldmatrix.sync.aligned.m8n8.x%d%s.shared.b16 %s, [%%a8];", n, trans, regs), 9, n)
			words := make([]uint32, 32*9)
			for i := range words {
				words[i] = rng.Uint32()
			}
			for l := range 32 {
				words[256+l] = 16 * rng.Uint32N(64) // a row of 16 bytes
			}
			half := func(matrix, row, col int) uint32 {
				at := words[256+8*matrix+row] + 2*uint32(col)
				return words[at/4] >> (8 * (at & 3)) & 0xffff
			}
			for i, got := range run(words) {
				m, g, k := i/32, i%32/4, i%4*2
				want := half(m, g, k) | half(m, g, k+1)<<16
				if trans != "" {
					want = half(m, k, g) | half(m, k+1, g)<<16
				}
				if got != want {
					t.Fatalf("x%d%s: register %d of lane %d is %#x, not %#x", n, trans, m, i%32, got, want)
				}
			}
		}
	}
}

// TestStmatrix stores fragments and loads them back with ldmatrix.
func TestStmatrix(t *testing.T) {
	rng := rand.New(rand.NewPCG(23, 24))
	words := make([]uint32, 32*4)
	for i := range words {
		words[i] = rng.Uint32()
	}
	for _, trans := range []string{"", ".trans"} {
		run := matrixModule(t, "shl.b32 %t, %l, 4;\nstmatrix.sync.aligned.m8n8.x4"+trans+".shared.b16 [%t], {%a0, %a1, %a2, %a3};\nbar.warp.sync -1;\n"+
			"ldmatrix.sync.aligned.m8n8.x4"+trans+".shared.b16 {%d0, %d1, %d2, %d3}, [%t];", 4, 4)
		for i, got := range run(words) {
			if got != words[i] {
				t.Fatalf("stmatrix%s: word %d is %#x, not %#x", trans, i, got, words[i])
			}
		}
	}
	run := matrixModule(t, "movmatrix.sync.aligned.m8n8.trans.b16 %d0, %a0;", 1, 1)
	for l, got := range run(words) {
		half := func(row, col int) uint32 { return words[row*4+col/2] >> (16 * (col & 1)) & 0xffff }
		if want := half(l%4*2, l/4) | half(l%4*2+1, l/4)<<16; got != want {
			t.Fatalf("movmatrix: lane %d is %#x, not %#x", l, got, want)
		}
	}
}

// mmaShape is a row of the PTX ISA's tables for mma.m16n8: where element i of a
// lane's fragments lies, with groupID = lane >> 2 and threadID = lane % 4.
type mmaShape struct {
	name   string
	k      int
	a, b   string // types
	bits   int
	d      string
	nA, nB int // elements a lane
	rowA   func(g, i int) int
	colA   func(t, i int) int
	rowB   func(t, i int) int
}

var mmaShapes = []mmaShape{
	{name: "m16n8k16", k: 16, a: "bf16", b: "bf16", bits: 16, d: "f32", nA: 8, nB: 4,
		rowA: func(g, i int) int { return g + 8*pick(i == 2 || i == 3 || i == 6 || i == 7) },
		colA: func(t, i int) int { return t*2 + i&1 + 8*pick(i >= 4) },
		rowB: func(t, i int) int { return t*2 + i&1 + 8*pick(i >= 2) }},
	{name: "m16n8k16", k: 16, a: "f16", b: "f16", bits: 16, d: "f32", nA: 8, nB: 4,
		rowA: func(g, i int) int { return g + 8*pick(i == 2 || i == 3 || i == 6 || i == 7) },
		colA: func(t, i int) int { return t*2 + i&1 + 8*pick(i >= 4) },
		rowB: func(t, i int) int { return t*2 + i&1 + 8*pick(i >= 2) }},
	{name: "m16n8k16", k: 16, a: "f16", b: "f16", bits: 16, d: "f16", nA: 8, nB: 4,
		rowA: func(g, i int) int { return g + 8*pick(i == 2 || i == 3 || i == 6 || i == 7) },
		colA: func(t, i int) int { return t*2 + i&1 + 8*pick(i >= 4) },
		rowB: func(t, i int) int { return t*2 + i&1 + 8*pick(i >= 2) }},
	{name: "m16n8k8", k: 8, a: "bf16", b: "bf16", bits: 16, d: "f32", nA: 4, nB: 2,
		rowA: func(g, i int) int { return g + 8*pick(i >= 2) },
		colA: func(t, i int) int { return t*2 + i&1 },
		rowB: func(t, i int) int { return t*2 + i }},
	{name: "m16n8k8", k: 8, a: "tf32", b: "tf32", bits: 32, d: "f32", nA: 4, nB: 2,
		rowA: func(g, i int) int { return g + 8*pick(i == 1 || i == 3) },
		colA: func(t, i int) int { return t + 4*pick(i >= 2) },
		rowB: func(t, i int) int { return t + 4*i }},
	{name: "m16n8k4", k: 4, a: "tf32", b: "tf32", bits: 32, d: "f32", nA: 2, nB: 1,
		rowA: func(g, i int) int { return g + 8*i },
		colA: func(t, i int) int { return t },
		rowB: func(t, i int) int { return t }},
	{name: "m16n8k16", k: 16, a: "s8", b: "u8", bits: 8, d: "s32", nA: 8, nB: 4,
		rowA: func(g, i int) int { return g + 8*pick(i >= 4) },
		colA: func(t, i int) int { return t*4 + i&3 },
		rowB: func(t, i int) int { return t*4 + i&3 }},
	{name: "m16n8k32", k: 32, a: "s8", b: "s8", bits: 8, d: "s32", nA: 16, nB: 8,
		rowA: func(g, i int) int { return g + 8*pick(i >= 4 && i < 8 || i >= 12) },
		colA: func(t, i int) int { return t*4 + i&3 + 16*pick(i >= 8) },
		rowB: func(t, i int) int { return t*4 + i&3 + 16*pick(i >= 4) }},
	{name: "m16n8k64", k: 64, a: "s4", b: "u4", bits: 4, d: "s32", nA: 32, nB: 16,
		rowA: func(g, i int) int { return g + 8*pick(i >= 8 && i < 16 || i >= 24) },
		colA: func(t, i int) int { return t*8 + i&7 + 32*pick(i >= 16) },
		rowB: func(t, i int) int { return t*8 + i&7 + 32*pick(i >= 8) }},
}

func pick(b bool) int { return int(b2u(b)) }

// TestMma fills the fragments by the ISA's tables from whole matrices, and
// compares with a product of these.
func TestMma(t *testing.T) {
	rng := rand.New(rand.NewPCG(31, 32))
	for _, s := range mmaShapes {
		s.test(t, rng)
	}
}

func (s mmaShape) test(t *testing.T, rng *rand.Rand) {
	t.Helper()
	regA, regB, regC := s.nA*s.bits/32, s.nB*s.bits/32, 4
	if s.d == "f16" {
		regC = 2
	}
	next := 0
	list := func(n int) string {
		text := "{"
		for i := range n {
			if i > 0 {
				text += ", "
			}
			text += fmt.Sprint("%a", next)
			next++
		}
		return text + "}"
	}
	d := map[int]string{2: "{%d0, %d1}", 4: "{%d0, %d1, %d2, %d3}"}[regC]
	name := fmt.Sprintf("mma.sync.aligned.%s.row.col.%s.%s.%s.%s", s.name, s.d, s.a, s.b, s.d)
	run := matrixModule(t, fmt.Sprintf("%s %s, %s, %s, %s;", name, d, list(regA), list(regB), list(regC)), regA+regB+regC, regC)

	// Small whole numbers: every format holds them and every sum is exact.
	most := map[string]int{"s4": 8, "u4": 16}[s.a]
	if most == 0 {
		most = 12
	}
	a, b, c := make([]int, 16*s.k), make([]int, s.k*8), make([]int, 16*8)
	for i := range a {
		a[i] = rng.IntN(most) - most/2*pick(s.a[0] != 'u')
	}
	for i := range b {
		b[i] = rng.IntN(most) - most/2*pick(s.b[0] != 'u')
	}
	for i := range c {
		c[i] = rng.IntN(100) - 50
	}
	words := make([]uint32, 32*(regA+regB+regC))
	set := func(reg, lane, i, bits int, v uint32) {
		per := 32 / bits
		words[32*(reg+i/per)+lane] |= v & uint32(uint64(1)<<bits-1) << (i % per * bits)
	}
	for l := range 32 {
		g, th := l>>2, l%4
		for i := range s.nA {
			set(0, l, i, s.bits, numberBits(s.a, a[s.rowA(g, i)*s.k+s.colA(th, i)]))
		}
		for i := range s.nB {
			set(regA, l, i, s.bits, numberBits(s.b, b[s.rowB(th, i)*8+g]))
		}
		for i := range 4 {
			set(regA+regB, l, i, 8*regC, numberBits(s.d, c[(g+8*pick(i >= 2))*8+th*2+i&1]))
		}
	}
	out := run(words)
	for l := range 32 {
		for i := range 4 {
			row, col := l>>2+8*pick(i >= 2), l%4*2+i&1
			want := c[row*8+col]
			for k := range s.k {
				want += a[row*s.k+k] * b[k*8+col]
			}
			per := 4 / regC // elements in a register
			got := out[32*(i/per)+l] >> (i % per * 16)
			if per == 2 {
				got &= 0xffff
			}
			if got != numberBits(s.d, want) {
				t.Fatalf("%s: D[%d][%d] is %#x, not %d (%#x)", name, row, col, got, want, numberBits(s.d, want))
			}
		}
	}
}

// numberBits is a whole number in a type of mma.
func numberBits(name string, v int) uint32 {
	switch name {
	case "bf16":
		return math.Float32bits(float32(v)) >> 16
	case "f16":
		return uint32(encode(types["f16"], float64(v), roundNearest))
	case "f32", "tf32":
		return math.Float32bits(float32(v))
	}
	return uint32(int32(v))
}

// TestMmaRounding: sums that float32 cannot hold on the way are still right.
func TestMmaRounding(t *testing.T) {
	run := matrixModule(t, "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%d0, %d1, %d2, %d3}, {%a0, %a0, %a0, %a0}, {%a1, %a1}, {%a2, %a2, %a2, %a2};", 3, 4)
	words := make([]uint32, 96)
	for l := range 32 {
		words[l] = 0x3f803f80    // 1
		words[32+l] = 0x33803380 // 2^-24
		words[64+l] = math.Float32bits(1)
	}
	want := math.Float32bits(1 + 16*0x1p-24)
	for i, got := range run(words) {
		if got != want {
			t.Fatalf("word %d is %#x, not %#x", i, got, want)
		}
	}
}

// TestMmaInPlace: C may be the registers of D in another order.
func TestMmaInPlace(t *testing.T) {
	run := matrixModule(t, "mov.b32 %d0, %a0;\nmov.b32 %d1, %a1;\nmov.b32 %d2, %a2;\nmov.b32 %d3, %a3;\n"+
		"mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%d0, %d1, %d2, %d3}, {0, 0, 0, 0}, {0, 0}, {%d3, %d2, %d1, %d0};", 4, 4)
	words := make([]uint32, 32*4)
	for i := range words {
		words[i] = math.Float32bits(float32(i))
	}
	for i, got := range run(words) {
		if want := words[(3-i/32)*32+i%32]; got != want {
			t.Fatalf("word %d is %#x, not %#x", i, got, want)
		}
	}
}

// TestShuffleFromOutside: a lane that takes no part gives nothing of use, even
// if its register holds what would be right.
func TestShuffleFromOutside(t *testing.T) {
	run := matrixModule(t, ".reg .pred %p; setp.lt.u32 %p, %l, 16; mov.u32 %d0, 7; @%p shfl.sync.idx.b32 %d0, %a0, 20, 31, 0xffff;", 1, 1)
	words := make([]uint32, 32)
	for l := range words {
		words[l] = 100
	}
	for l, got := range run(words) {
		if want := map[bool]uint32{true: strange, false: 7}[l < 16]; got != want {
			t.Errorf("lane %d got %#x, not %#x", l, got, want)
		}
	}
}
