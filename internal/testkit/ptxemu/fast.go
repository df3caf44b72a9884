package ptxemu

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
