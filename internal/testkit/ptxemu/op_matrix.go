package ptxemu

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/holdfast-run/holdfast/internal/f16"
)

// opLdmatrix loads 1, 2 or 4 matrices of 8 rows of 16 bytes. Lane 8i+r gives
// the address of row r of matrix i; lane l gets elements 2(l%4) and the next of
// row l/4 or, transposed, of column l/4.
func opLdmatrix(c *comp) op {
	n, trans := c.matrices()
	c.want(2)
	rows := c.rowsOf(0, n, types["b32"], true)
	from, _ := c.mem(1)
	return func(w *warp, m uint32) {
		for i, d := range rows {
			var tile [8][]byte
			for r := range tile {
				l := 8*i + r
				tile[r] = w.load(spaceShared, l, from.of(w, l), 16)
			}
			for l := range 32 {
				w.r[d][l] = fragment(&tile, l, trans)
			}
		}
	}
}

func fragment(tile *[8][]byte, l int, trans bool) uint64 {
	g, k := l/4, l%4*2
	if !trans {
		return uint64(binary.LittleEndian.Uint32(tile[g][2*k:]))
	}
	return uint64(binary.LittleEndian.Uint16(tile[k][2*g:])) | uint64(binary.LittleEndian.Uint16(tile[k+1][2*g:]))<<16
}

// matrices takes the modifiers of ldmatrix and stmatrix.
func (c *comp) matrices() (n int, trans bool) {
	c.together()
	if !c.flag("m8n8") || c.oneOf("shared", "shared::cta") == "" || !c.flag("b16") {
		c.fail("only .m8n8.shared.b16 is supported")
	}
	n = map[string]int{"x1": 1, "x2": 2, "x4": 4}[c.oneOf("x1", "x2", "x4")]
	if n == 0 {
		c.fail("no .x1, .x2 or .x4")
	}
	return n, c.flag("trans")
}

// opStmatrix is the inverse of ldmatrix.
func opStmatrix(c *comp) op {
	n, trans := c.matrices()
	c.want(2)
	to, _ := c.mem(0)
	rows := c.rowsOf(1, n, types["b32"], false)
	return func(w *warp, m uint32) {
		for i, s := range rows {
			tile := transpose(&w.r[s], !trans)
			for r := range 8 {
				l := 8*i + r
				copy(w.at(spaceShared, l, to.of(w, l), 16, accessWrite, tile[r][:]), tile[r][:])
			}
		}
	}
}

// transpose gathers a fragment: as the 8 rows that it holds or, if not rows, as
// columns.
func transpose(r *lanes, rows bool) (tile [8][16]byte) {
	for l := range 32 {
		g, k := l/4, l%4*2
		lo, hi := uint16(r[l]), uint16(r[l]>>16)
		if rows {
			binary.LittleEndian.PutUint16(tile[g][2*k:], lo)
			binary.LittleEndian.PutUint16(tile[g][2*k+2:], hi)
		} else {
			binary.LittleEndian.PutUint16(tile[k][2*g:], lo)
			binary.LittleEndian.PutUint16(tile[k+1][2*g:], hi)
		}
	}
	return tile
}

// opMovmatrix transposes a fragment in registers.
func opMovmatrix(c *comp) op {
	c.together()
	if !c.flag("m8n8") || !c.flag("trans") || !c.flag("b16") {
		c.fail("only .m8n8.trans.b16 is defined")
	}
	c.want(2)
	t := types["b32"]
	d, s := c.dst(0, t), c.src(1, t)
	return func(w *warp, m uint32) {
		tile := transpose(&w.r[s], false)
		for l := range 32 {
			w.r[d][l] = uint64(binary.LittleEndian.Uint32(tile[l/4][l%4*4:]))
		}
	}
}

// element is a type of mma's A and B.
type element struct {
	bits    int
	integer bool
	brain   bool // bf16, unpacked without a call
	decode  func(b uint64) float64
}

var elements = map[string]element{
	"f16":  {16, false, false, func(b uint64) float64 { return float64(f16.ToFloat32(uint16(b))) }},
	"bf16": {16, false, true, func(b uint64) float64 { return float64(math.Float32frombits(uint32(b) << 16)) }},
	"tf32": {32, false, false, func(b uint64) float64 { return float64(math.Float32frombits(uint32(b) &^ 0x1fff)) }},
	"e4m3": {8, false, false, func(b uint64) float64 { return decodeE4M3(uint8(b)) }},
	"e5m2": {8, false, false, func(b uint64) float64 { return float64(f16.ToFloat32(uint16(b) << 8)) }},
	"s8":   {8, true, false, func(b uint64) float64 { return float64(int8(b)) }},
	"u8":   {8, true, false, func(b uint64) float64 { return float64(uint8(b)) }},
	"s4":   {4, true, false, func(b uint64) float64 { return float64(signed(b, 4)) }},
	"u4":   {4, true, false, func(b uint64) float64 { return float64(b & 15) }},
}

// opMma is mma.sync of m16n8: D = A B + C. With g = lane/4, t = lane%4 and e
// elements in a register, register r of A holds row g + 8(r%2), columns
// 4e(r/2) + te and on; register r of B column g, rows 4er + te and on; C and D
// rows g (registers 0, 1) and g+8, columns 2t and 2t+1. That is every table of
// the PTX ISA for m16n8. Products are summed in float64, exactly for integers,
// and rounded once.
func opMma(c *comp) op {
	c.together()
	shape := c.oneOf("m16n8k4", "m16n8k8", "m16n8k16", "m16n8k32", "m16n8k64")
	if shape == "" || !c.flag("row") || !c.flag("col") {
		c.fail("only m16n8 .row.col is supported")
	}
	var k int
	fmt.Sscanf(shape, "m16n8k%d", &k)
	finite := c.flag("satfinite")
	if len(c.mods) != 4 {
		c.fail("no four types")
	}
	ta, okA := elements[c.mods[1]]
	tb, okB := elements[c.mods[2]]
	td, okD := types[c.mods[0]]
	tc, okC := types[c.mods[3]]
	c.mods = nil
	if !okA || !okB || !okC || !okD || ta.bits != tb.bits || ta.integer != tb.integer || ta.integer != (td.kind == kindS) || ta.integer != (tc.kind == kindS) {
		c.fail("types do not go together")
	}
	regsA := 16 * k * ta.bits / 1024
	if regsA != 2 && regsA != 4 {
		c.fail("shape %s is not defined for these types", shape)
	}
	c.want(4)
	b32 := types["b32"]
	x := matmul{k: k, a: ta, b: tb, c: tc, d: td, finite: finite,
		rowsD: c.rowsOf(0, 4*td.bits/32, b32, true), rowsA: c.rowsOf(1, regsA, b32, false),
		rowsB: c.rowsOf(2, regsA/2, b32, false), rowsC: c.rowsOf(3, 4*tc.bits/32, b32, false)}
	if k == 16 && !ta.integer && ta.bits == 16 && ta.brain == tb.brain && td == types["f32"] && tc == td {
		return x.run16
	}
	return x.run
}

// run16 is run for what kernels multiply most: 16-bit floats of one type, k = 16, into
// f32. It adds in the same order.
func (x *matmul) run16(w *warp, _ uint32) {
	unpack := unpackF16
	if x.a.brain {
		unpack = unpackBF16
	}
	var a [16][16]float64 // by rows
	var b [8][16]float64  // by columns
	for r, row := range x.rowsA {
		at := &w.r[row]
		for l := range at {
			to := &a[l/4+r%2*8]
			k := r/2*8 + l%4*2
			to[k], to[k+1] = unpack(uint32(at[l]))
		}
	}
	for r, row := range x.rowsB {
		at := &w.r[row]
		for l := range at {
			to := &b[l/4]
			k := r*8 + l%4*2
			to[k], to[k+1] = unpack(uint32(at[l]))
		}
	}
	var sum [16][8]float64
	for i := range sum {
		for j := range b {
			sum[i][j] = dot16(&a[i], &b[j])
		}
	}
	var d [4]lanes // before any is written: C and D may share registers
	for i := range d {
		c := &w.r[x.rowsC[i]]
		for l := range c {
			d[i][l] = bits32(float32(float64(f32(c[l])) + sum[l/4+i/2*8][l%4*2+i%2]))
		}
	}
	for i, row := range x.rowsD {
		w.r[row] = d[i]
	}
}

type matmul struct {
	k                          int
	a, b                       element
	c, d                       typ
	finite                     bool
	rowsD, rowsA, rowsB, rowsC []int
}

func (x *matmul) run(w *warp, _ uint32) {
	a, b := &w.tile.a, &w.tile.b
	e := 32 / x.a.bits
	for r, row := range x.rowsA {
		for l := range 32 {
			at := (l/4+8*(r%2))*x.k + 4*e*(r/2) + l%4*e
			x.a.unpack(a[at:at+e], w.r[row][l])
		}
	}
	for r, row := range x.rowsB {
		for l := range 32 {
			at := l/4*x.k + 4*e*r + l%4*e
			x.b.unpack(b[at:at+e], w.r[row][l])
		}
	}
	var sum [16][8]float64
	for i := range 16 {
		for j := range 8 {
			sum[i][j] = dot(a[i*x.k:(i+1)*x.k], b[j*x.k:(j+1)*x.k])
		}
	}
	for l := range 32 {
		var acc [4]float64 // before any is written: C and D may share registers
		for i := range acc {
			acc[i] = x.accumulator(w, l, i)
		}
		for i := range acc {
			x.finish(w, l, i, acc[i]+sum[l/4+8*(i/2)][l%4*2+i%2])
		}
	}
}

// tile is a warp's scratch for mma: A by rows, B by columns.
type tile struct {
	a [16 * 64]float64
	b [8 * 64]float64
}

func (t element) unpack(to []float64, v uint64) {
	if t.brain {
		to[0] = float64(math.Float32frombits(uint32(v) << 16))
		to[1] = float64(math.Float32frombits(uint32(v) &^ 0xffff))
		return
	}
	for i := range to {
		to[i] = t.decode(v >> (i * t.bits))
	}
}

// dot sums a product of rows in float64; len(a) is a multiple of 4.
func dot(a, b []float64) float64 {
	b = b[:len(a)]
	var s, t, u, v float64
	for i := 0; i+3 < len(a); i += 4 {
		s += float64(a[i] * b[i])
		t += float64(a[i+1] * b[i+1])
		u += float64(a[i+2] * b[i+2])
		v += float64(a[i+3] * b[i+3])
	}
	return s + t + (u + v)
}

// dot16 is dot of 16.
func dot16(a, b *[16]float64) float64 {
	var s, t, u, v float64
	for i := 0; i < 16; i += 4 {
		s += float64(a[i] * b[i])
		t += float64(a[i+1] * b[i+1])
		u += float64(a[i+2] * b[i+2])
		v += float64(a[i+3] * b[i+3])
	}
	return s + t + (u + v)
}

func unpackBF16(v uint32) (lo, hi float64) {
	return float64(math.Float32frombits(v << 16)), float64(math.Float32frombits(v &^ 0xffff))
}

func unpackF16(v uint32) (lo, hi float64) {
	return float64(f16.ToFloat32(uint16(v))), float64(f16.ToFloat32(uint16(v >> 16)))
}

// finish rounds element i of a lane's part of D.
func (x *matmul) finish(w *warp, l, i int, s float64) {
	var v uint64
	switch {
	case x.d.kind == kindS && x.finite:
		v = uint64(int64(min(max(s, math.MinInt32), math.MaxInt32))) & 0xffffffff
	case x.d.kind == kindS:
		v = uint64(int64(s)) & 0xffffffff
	default:
		v = encode(x.d, s, roundNearest)
	}
	if x.d.bits == 32 {
		w.r[x.rowsD[i]][l] = v
		return
	}
	r, shift := &w.r[x.rowsD[i/2]][l], 16*(i%2)
	*r = *r&^(0xffff<<shift) | v<<shift
}

// accumulator is element i of a lane's part of C.
func (x *matmul) accumulator(w *warp, l, i int) float64 {
	switch {
	case x.c.kind == kindS:
		return float64(signed(w.r[x.rowsC[i]][l], 32))
	case x.c.bits == 32:
		return decode(x.c, w.r[x.rowsC[i]][l])
	}
	return decode(x.c, w.r[x.rowsC[i/2]][l]>>(16*(i%2))&0xffff)
}
