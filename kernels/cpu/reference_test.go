package cpu

import (
	"encoding/binary"
	"math"
	"math/rand/v2"

	"github.com/holdfast-run/holdfast/graph"
	"github.com/holdfast-run/holdfast/internal/f16"
	"github.com/holdfast-run/holdfast/internal/num"
)

// group is a scale group of a row as docs/NUMERICS.md has it.
type group struct {
	w      []int32
	dw, mw float32
	hasMin bool
}

// groupsOf reads a row of GGUF blocks into scale groups. It is written from the
// formats' dequantisation, and shares nothing with Pack.
func groupsOf(t graph.DType, row []byte, k int) []group {
	half := func(p []byte) float32 { return f16.ToFloat32(binary.LittleEndian.Uint16(p)) }
	var gs []group
	for len(row) > 0 {
		p := row[:t.BlockBytes()]
		row = row[t.BlockBytes():]
		switch t {
		case graph.Q8_0:
			g := group{dw: half(p), w: make([]int32, 32)}
			for i := range 32 {
				g.w[i] = int32(int8(p[2+i]))
			}
			gs = append(gs, g)
		case graph.Q4_0, graph.Q4_1:
			g := group{dw: half(p), w: make([]int32, 32)}
			qs := p[2:]
			if t == graph.Q4_1 {
				g.mw, g.hasMin, qs = half(p[2:]), true, p[4:]
			}
			for i := range 16 {
				g.w[i], g.w[i+16] = int32(qs[i]%16), int32(qs[i]/16)
			}
			if t == graph.Q4_0 {
				shift(g.w, 8)
			}
			gs = append(gs, g)
		case graph.Q5_0, graph.Q5_1:
			g := group{dw: half(p), w: make([]int32, 32)}
			rest := p[2:]
			if t == graph.Q5_1 {
				g.mw, g.hasMin, rest = half(p[2:]), true, p[4:]
			}
			qh, qs := binary.LittleEndian.Uint32(rest), rest[4:]
			for i := range 16 {
				g.w[i], g.w[i+16] = int32(qs[i]%16), int32(qs[i]/16)
			}
			for i := range 32 {
				g.w[i] += int32(qh >> i % 2 * 16)
			}
			if t == graph.Q5_0 {
				shift(g.w, 16)
			}
			gs = append(gs, g)
		case graph.Q4_K, graph.Q5_K:
			d, dmin := half(p), half(p[2:])
			var sc, mn [8]uint8
			for i := range 4 {
				a, b, c := p[4+i], p[8+i], p[12+i]
				sc[i], mn[i] = a%64, b%64
				sc[i+4], mn[i+4] = c%16+a/64*16, c/16+b/64*16
			}
			qs := p[16:]
			if t == graph.Q5_K {
				qs = p[48:]
			}
			for j := range 8 {
				g := group{dw: d * float32(sc[j]), mw: -(dmin * float32(mn[j])), hasMin: true, w: make([]int32, 32)}
				for i := range 32 {
					b := qs[j/2*32+i]
					if j%2 == 1 {
						b /= 16
					}
					g.w[i] = int32(b % 16)
					if t == graph.Q5_K && p[16+i]&(1<<j) != 0 {
						g.w[i] += 16
					}
				}
				gs = append(gs, g)
			}
		case graph.Q6_K:
			var w [256]int32
			ql, qh, sc := p[:128], p[128:192], p[192:208]
			for n := 0; n < 256; n += 128 {
				for l := range 32 {
					h := qh[l]
					w[n+l] = int32(ql[l]&15|h&3<<4) - 32
					w[n+l+32] = int32(ql[l+32]&15|h>>2&3<<4) - 32
					w[n+l+64] = int32(ql[l]>>4|h>>4&3<<4) - 32
					w[n+l+96] = int32(ql[l+32]>>4|h>>6<<4) - 32
				}
				ql, qh = ql[64:], qh[32:]
			}
			d := half(p[208:])
			for i := range 16 {
				gs = append(gs, group{dw: d * float32(int8(sc[i])), w: w[16*i : 16*i+16]})
			}
		}
	}
	return gs
}

func shift(w []int32, by int32) {
	for i := range w {
		w[i] -= by
	}
}

// modelRow is one output of quantised weights, by the rules of docs/NUMERICS.md.
func modelRow(gs []group, x []float32) float32 {
	y, k := float32(0), 0
	var q [32]int32
	var d, s float32
	for _, g := range gs {
		if k%32 == 0 {
			amax := 0.0
			for _, v := range x[k : k+32] {
				amax = math.Max(amax, math.Abs(float64(v)))
			}
			d, q = 0, [32]int32{}
			if amax >= math.Ldexp(1, -100) {
				d = float32(amax) / 127
				r := 127 / float32(amax)
				for i := range q {
					q[i] = int32(math.RoundToEven(float64(float32(x[k+i] * r))))
				}
			}
			sum := int32(0)
			for _, v := range q {
				sum += v
			}
			s = float32(d * float32(sum))
		}
		idot := int32(0)
		for i, w := range g.w {
			idot += w * q[k%32+i]
		}
		y = num.FMA32(float32(float32(idot)*d), g.dw, y)
		if g.hasMin {
			y = num.FMA32(s, g.mw, y)
		}
		k += len(g.w)
	}
	return y
}

// exactRow is Σ w·x in float64 with the activations as given, and how far a row
// of int8 activations and float32 sums may be from it.
func exactRow(gs []group, x []float32) (y, tolerance float64) {
	tolerance = 1e-44 // a product may be subnormal
	k := 0
	for _, g := range gs {
		block := x[k/32*32:][:32]
		amax := 0.0
		for _, v := range block {
			amax = math.Max(amax, math.Abs(float64(v)))
		}
		for i, w := range g.w {
			v := float64(w)*float64(g.dw) + float64(g.mw)
			y += v * float64(x[k+i])
			tolerance += math.Abs(v)*(amax/254*1.01+0x1p-100) + (math.Abs(float64(w)*float64(g.dw))+math.Abs(float64(g.mw)))*amax*1e-5
		}
		k += len(g.w)
	}
	return y, tolerance
}

// randomRows returns rows of GGUF blocks with random quants and finite scales.
func randomRows(rng *rand.Rand, t graph.DType, rows, k int) []byte {
	raw := make([]byte, t.RowBytes(k)*rows)
	for i := range raw {
		raw[i] = byte(rng.Uint32())
	}
	scale := func(p []byte) {
		v := float32(rng.NormFloat64() * 0.01)
		switch rng.IntN(20) {
		case 0:
			v = 0
		case 1:
			v *= 1e-4 // subnormal as f16
		case 2:
			v *= 1e5
		}
		binary.LittleEndian.PutUint16(p, f16.FromFloat32(v))
	}
	for p := raw; len(p) > 0 && t.Quantised(); p = p[t.BlockBytes():] {
		switch t {
		case graph.Q6_K:
			scale(p[208:])
		case graph.Q4_1, graph.Q5_1, graph.Q4_K, graph.Q5_K:
			scale(p)
			scale(p[2:])
		default:
			scale(p)
		}
		if rng.IntN(8) == 0 { // extreme quants
			fill := byte(0x80 * rng.IntN(2) * (1 - rng.IntN(2)))
			if rng.IntN(2) == 0 {
				fill = 0xff
			}
			from, to := 8, t.BlockBytes()
			switch t {
			case graph.Q8_0:
				from = 2
			case graph.Q6_K:
				from, to = 0, 192
			}
			for i := from; i < to; i++ {
				p[i] = fill
			}
		}
	}
	switch t {
	case graph.F32:
		for i := 0; i < len(raw); i += 4 {
			binary.LittleEndian.PutUint32(raw[i:], math.Float32bits(float32(rng.NormFloat64())))
		}
	case graph.F16:
		for i := 0; i < len(raw); i += 2 {
			binary.LittleEndian.PutUint16(raw[i:], f16.FromFloat32(float32(rng.NormFloat64()*math.Pow(10, -float64(rng.IntN(8))))))
		}
	case graph.BF16:
		for i := 0; i < len(raw); i += 2 {
			binary.LittleEndian.PutUint16(raw[i:], f16.FromFloat32BF16(float32(rng.NormFloat64())))
		}
	}
	return raw
}
