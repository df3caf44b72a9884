package ptxemu

import (
	"math"
	"math/bits"

	"github.com/holdfast-run/holdfast/internal/num"
)

// Loops for the commonest instructions with a full warp: a call a lane would
// cost more than the work. Partial warps go to the slow op.

func fastAdd32(d, a, b int, slow op) op {
	return func(w *warp, m uint32) {
		if m != allLanes {
			slow(w, m)
			return
		}
		x, y, z := &w.r[d], &w.r[a], &w.r[b]
		for l := range x {
			x[l] = uint64(uint32(y[l] + z[l]))
		}
	}
}

func fastAdd64(d, a, b int, slow op) op {
	return func(w *warp, m uint32) {
		if m != allLanes {
			slow(w, m)
			return
		}
		x, y, z := &w.r[d], &w.r[a], &w.r[b]
		for l := range x {
			x[l] = y[l] + z[l]
		}
	}
}

func fastMad32(d, a, b, c int, slow op) op {
	return func(w *warp, m uint32) {
		if m != allLanes {
			slow(w, m)
			return
		}
		x, y, z, v := &w.r[d], &w.r[a], &w.r[b], &w.r[c]
		for l := range x {
			x[l] = uint64(uint32(y[l]*z[l] + v[l]))
		}
	}
}

func fastMove(d, a int) op {
	return func(w *warp, m uint32) {
		x, y := &w.r[d], &w.r[a]
		if m == allLanes {
			*x = *y
			return
		}
		for l := range x {
			if m>>l&1 != 0 {
				x[l] = y[l]
			}
		}
	}
}

func fastAddF32(d, a, b int, slow op) op {
	return func(w *warp, m uint32) {
		if m != allLanes {
			slow(w, m)
			return
		}
		x, y, z := &w.r[d], &w.r[a], &w.r[b]
		for l := range x {
			x[l] = bits32(f32(y[l]) + f32(z[l]))
		}
	}
}

func fastMulF32(d, a, b int, slow op) op {
	return func(w *warp, m uint32) {
		if m != allLanes {
			slow(w, m)
			return
		}
		x, y, z := &w.r[d], &w.r[a], &w.r[b]
		for l := range x {
			x[l] = bits32(f32(y[l]) * f32(z[l]))
		}
	}
}

// fastFMA rounds in float64 and once more, which is wrong only where that is a
// tie of float32 or the result is subnormal: num.FMA32 does those.
func fastFMA(d, a, b, c int) op {
	return func(w *warp, m uint32) {
		x, y, z, v := &w.r[d], &w.r[a], &w.r[b], &w.r[c]
		for l := range x {
			if m>>l&1 == 0 {
				continue
			}
			s := float64(float64(f32(y[l]))*float64(f32(z[l]))) + float64(f32(v[l]))
			u := math.Float64bits(s)
			if u&(1<<29-1) != 1<<28 && u>>52&0x7ff > 1023-126 {
				x[l] = bits32(float32(s))
			} else {
				x[l] = bits32(num.FMA32(f32(y[l]), f32(z[l]), f32(v[l])))
			}
		}
	}
}

// fastCompare sets predicate p by a comparison of integers of up to 64 bits;
// flip is the sign bit of signed ones, whose inversion orders them as unsigned.
func fastCompare(name string, p, a, b int, flip uint64) op {
	invert := uint32(0)
	switch name { // all six from three
	case "ne":
		name, invert = "eq", allLanes
	case "ge", "hs":
		name, invert = "lt", allLanes
	case "gt", "hi":
		a, b, name = b, a, "lt"
	case "le", "ls":
		a, b, name, invert = b, a, "lt", allLanes
	case "lo":
		name = "lt"
	}
	return func(w *warp, m uint32) {
		var t uint32
		x, y := &w.r[a], &w.r[b]
		if name == "eq" {
			for l := range x {
				if x[l] == y[l] {
					t |= 1 << l
				}
			}
		} else {
			for l := range x {
				_, less := bits.Sub64(x[l]^flip, y[l]^flip, 0)
				t |= uint32(less) << l
			}
		}
		w.p[p] = w.p[p]&^m | (t^invert)&m
	}
}

func fastLogic(which string, d, a, b int, slow op) op {
	loop := map[string]func(x, y, z *lanes){
		"and": func(x, y, z *lanes) {
			for l := range x {
				x[l] = y[l] & z[l]
			}
		},
		"or": func(x, y, z *lanes) {
			for l := range x {
				x[l] = y[l] | z[l]
			}
		},
		"xor": func(x, y, z *lanes) {
			for l := range x {
				x[l] = y[l] ^ z[l]
			}
		},
	}[which]
	return func(w *warp, m uint32) {
		if m != allLanes {
			slow(w, m)
			return
		}
		loop(&w.r[d], &w.r[a], &w.r[b])
	}
}
