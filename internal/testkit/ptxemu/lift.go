package ptxemu

import "math/bits"

// The lift functions make an op of a function of one lane's values: row d gets
// f of the other rows, masked to the register's width.

func lift1(d, a int, mask uint64, f func(a uint64) uint64) op {
	return func(w *warp, m uint32) {
		x, y := &w.r[d], &w.r[a]
		if m == allLanes {
			for l := range x {
				x[l] = f(y[l]) & mask
			}
			return
		}
		for ; m != 0; m &= m - 1 {
			l := bits.TrailingZeros32(m) & 31
			x[l] = f(y[l]) & mask
		}
	}
}

func lift2(d, a, b int, mask uint64, f func(a, b uint64) uint64) op {
	return func(w *warp, m uint32) {
		x, y, z := &w.r[d], &w.r[a], &w.r[b]
		if m == allLanes {
			for l := range x {
				x[l] = f(y[l], z[l]) & mask
			}
			return
		}
		for ; m != 0; m &= m - 1 {
			l := bits.TrailingZeros32(m) & 31
			x[l] = f(y[l], z[l]) & mask
		}
	}
}

func lift3(d, a, b, c int, mask uint64, f func(a, b, c uint64) uint64) op {
	return func(w *warp, m uint32) {
		x, y, z, v := &w.r[d], &w.r[a], &w.r[b], &w.r[c]
		if m == allLanes {
			for l := range x {
				x[l] = f(y[l], z[l], v[l]) & mask
			}
			return
		}
		for ; m != 0; m &= m - 1 {
			l := bits.TrailingZeros32(m) & 31
			x[l] = f(y[l], z[l], v[l]) & mask
		}
	}
}

// liftPred makes an op that sets predicate p where f holds.
func liftPred(p, a, b int, f func(a, b uint64) bool) op {
	return func(w *warp, m uint32) {
		var t uint32
		y, z := &w.r[a], &w.r[b]
		for rest := m; rest != 0; rest &= rest - 1 {
			l := bits.TrailingZeros32(rest) & 31
			if f(y[l], z[l]) {
				t |= 1 << l
			}
		}
		w.p[p] = w.p[p]&^m | t
	}
}

// halves applies f to the two halves of packed values.
func halves1(f func(a uint64) uint64) func(a uint64) uint64 {
	return func(a uint64) uint64 { return f(a&0xffff)&0xffff | f(a>>16&0xffff)<<16 }
}

func halves2(f func(a, b uint64) uint64) func(a, b uint64) uint64 {
	return func(a, b uint64) uint64 {
		return f(a&0xffff, b&0xffff)&0xffff | f(a>>16&0xffff, b>>16&0xffff)<<16
	}
}

func halves3(f func(a, b, c uint64) uint64) func(a, b, c uint64) uint64 {
	return func(a, b, c uint64) uint64 {
		return f(a&0xffff, b&0xffff, c&0xffff)&0xffff | f(a>>16&0xffff, b>>16&0xffff, c>>16&0xffff)<<16
	}
}

// signed is the value of the low bits of x as a signed integer.
func signed(x uint64, bits int) int64 { return int64(x<<(64-bits)) >> (64 - bits) }

// value is the low bits of x extended to 64 as t says.
func (t typ) value(x uint64) uint64 {
	if t.kind == kindS {
		return uint64(signed(x, t.bits))
	}
	return x & t.mask()
}
