package ptxemu

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestRMS(t *testing.T) {
	b := load(t, "block")
	const rows, n = 5, 333
	rng := rand.New(rand.NewPCG(1, 2))
	x := make([]float32, rows*n)
	for i := range x {
		x[i] = rng.Float32()*4 - 2
	}
	for seed := range uint64(4) {
		in, out := alloc(b, x), alloc(b, make([]float32, rows*n))
		b.run("rms", Config{Grid: Dim3{X: rows}, Block: Dim3{X: 256}, Seed: seed}, in, out, int32(n), float32(1e-5))
		got := read[float32](b, out, rows*n)
		for r := range rows {
			sum := 0.0
			for _, v := range x[r*n : (r+1)*n] {
				sum += float64(v) * float64(v)
			}
			scale := 1 / math.Sqrt(sum/n+1e-5)
			for i, v := range x[r*n : (r+1)*n] {
				want := float64(v) * scale
				if math.Abs(float64(got[r*n+i])-want) > 1e-6*math.Abs(want) {
					t.Fatalf("row %d column %d: %g, not %g", r, i, got[r*n+i], want)
				}
			}
		}
	}
}

// each runs f under several schedules.
func each(t *testing.T, f func(seed uint64)) {
	t.Helper()
	for seed := range uint64(4) {
		f(seed)
	}
}

func TestDynamicShared(t *testing.T) {
	b := load(t, "block")
	const blocks, threads = 3, 96
	x := make([]uint32, blocks*threads)
	for i := range x {
		x[i] = uint32(i)
	}
	each(t, func(seed uint64) {
		p := alloc(b, x)
		b.run("reverse", Config{Grid: Dim3{X: blocks}, Block: Dim3{X: threads}, SharedBytes: 4 * threads, Seed: seed}, p)
		for i, v := range read[uint32](b, p, len(x)) {
			if want := uint32(i/threads*threads + threads - 1 - i%threads); v != want {
				t.Fatalf("x[%d] = %d, not %d", i, v, want)
			}
		}
	})
}

func collatz(n, limit int32) (steps int32) {
	for n != 1 && steps < limit {
		if n%2 != 0 {
			n = 3*n + 1
		} else {
			n /= 2
		}
		steps++
	}
	return steps
}

// TestDivergence has a block of 1.5 warps, a call and loops of any length.
func TestDivergence(t *testing.T) {
	b := load(t, "block")
	const n = 137
	out := alloc(b, make([]int32, n))
	b.run("diverge", Config{Grid: Dim3{X: 3}, Block: Dim3{X: 48}, Seed: 1}, out, int32(n))
	for i, v := range read[int32](b, out, n) {
		want := collatz(int32(i)+1, 1000)
		if want&1 != 0 {
			want = -want + collatz(int32(i)/2+1, 50)
		}
		if v != want {
			t.Fatalf("out[%d] = %d, not %d", i, v, want)
		}
	}
}

func TestLocalMemory(t *testing.T) {
	b := load(t, "block")
	rng := rand.New(rand.NewPCG(3, 4))
	const threads, n = 33, 50
	x := make([]int32, 16*threads)
	for i := range x {
		x[i] = rng.Int32()
	}
	out := alloc(b, make([]int32, len(x)))
	b.run("spill", Config{Block: Dim3{X: threads}}, alloc(b, x), out, int32(n))
	got := read[int32](b, out, len(x))
	for th := range threads {
		a := x[16*th : 16*th+16]
		for k := range int32(n) {
			i := a[k&15] & 15
			j := a[i] & 15
			s := a[i]
			a[i] = a[j] + k
			a[j] = s
		}
		for i, want := range a {
			if got[16*th+i] != want {
				t.Fatalf("thread %d: a[%d] = %d, not %d", th, i, got[16*th+i], want)
			}
		}
	}
}

func TestSwitch(t *testing.T) {
	b := load(t, "block")
	x := make([]int32, 32)
	for i := range x {
		x[i] = int32(i) % 11
	}
	y := alloc(b, make([]int32, 32))
	b.run("choose", Config{Block: Dim3{X: 32}}, alloc(b, x), y)
	cases := []int32{17, 4, 2 ^ 0x55, 2, 16, -5, 216, 0, 1008, 1009, 1010}
	for i, v := range read[int32](b, y, 32) {
		if v != cases[x[i]] {
			t.Errorf("%d gives %d, not %d", x[i], v, cases[x[i]])
		}
	}
}

// TestAtomics counts over blocks that run in parallel, in globals that have
// initial values, one of them an address.
func TestAtomics(t *testing.T) {
	b := load(t, "block")
	const blocks, threads = 9, 64
	hist, ranks := alloc(b, make([]int32, 9)), alloc(b, make([]int32, blocks*threads))
	b.run("count", Config{Grid: Dim3{X: blocks}, Block: Dim3{X: threads}, Seed: 5}, hist, ranks)
	h, r := read[int32](b, hist, 9), read[int32](b, ranks, blocks*threads)
	var seen [7]map[int32]bool
	for i, rank := range r {
		k := i % 7
		if seen[k] == nil {
			seen[k] = map[int32]bool{}
		}
		if seen[k][rank] || rank < 0 || rank >= h[k] {
			t.Fatalf("rank %d of bin %d of %d came twice", rank, k, h[k])
		}
		seen[k][rank] = true
	}
	for k := range seen {
		if len(seen[k]) != int(h[k]) {
			t.Errorf("bin %d holds %d, not %d", k, h[k], len(seen[k]))
		}
	}
	if h[7] != blocks*threads-1 || h[8] != 0 {
		t.Errorf("max %d, xor %#x", h[7], h[8])
	}
	addr, size, ok := b.mod.Global("total")
	if !ok || size != 8 {
		t.Fatal("no total")
	}
	if got := read[uint64](b, addr, 1)[0]; got != 5+blocks*threads/4*1111 {
		t.Errorf("total %d", got)
	}
}

func TestStructParameter(t *testing.T) {
	b := load(t, "block")
	x, y := alloc(b, []float32{1, 2, 3, 4}), alloc(b, make([]float32, 4))
	type boxed struct {
		X, Y  uint64
		Scale float32
		N     int16
		Shift int8
		_     uint8
	}
	b.run("boxed", Config{Block: Dim3{X: 4}}, boxed{X: x, Y: y, Scale: 0.5, N: 3, Shift: -2}, int32(10))
	want := []float32{8.5, 9, 9.5, 0}
	for i, v := range read[float32](b, y, 4) {
		if v != want[i] {
			t.Errorf("y[%d] = %g, not %g", i, v, want[i])
		}
	}
	if p := b.mod.Params("boxed"); len(p) != 2 || p[0].Size != 24 || p[1].Offset != 24 {
		t.Errorf("parameters %+v", p)
	}
}

// TestWarp compares the warp-wide instructions with loops over lanes.
func TestWarp(t *testing.T) {
	b := load(t, "block")
	const threads = 64
	rng := rand.New(rand.NewPCG(7, 8))
	x := make([]int32, threads)
	for i := range x {
		x[i] = rng.Int32N(120) - 10
		if i >= 32 {
			x[i] &= 63 // so that match.all finds a warp that agrees
		}
	}
	each(t, func(seed uint64) {
		out := alloc(b, make([]int32, 14*threads))
		b.run("warp", Config{Block: Dim3{X: threads}, Seed: seed}, alloc(b, x), out)
		got := read[int32](b, out, 14*threads)
		for i := range threads {
			v, l := x[i/32*32:i/32*32+32], i%32
			for k, want := range warpReference(v, l, x) {
				if got[k*threads+i] != want {
					t.Errorf("result %d of thread %d is %d, not %d", k, i, got[k*threads+i], want)
				}
			}
		}
	})
}

// warpReference is what lane l of a warp with values v gets; x is the block's.
func warpReference(v []int32, l int, x []int32) (o [14]int32) {
	truth := func(b bool) int32 {
		if b {
			return 1
		}
		return 0
	}
	count := func(list []int32, f func(int32) bool) (n int) {
		for _, e := range list {
			if f(e) {
				n++
			}
		}
		return n
	}
	mask := func(f func(int32) bool) (m int32) {
		for i, e := range v {
			m |= truth(f(e)) << i
		}
		return m
	}
	o[0] = v[(l*7+3)%32]
	o[1], o[2] = v[l], v[l]
	if l%8 >= 3 {
		o[1] = v[l-3]
	}
	if l%16+5 < 16 {
		o[2] = v[l+5]
	}
	o[3] = v[l^9]
	o[4] = mask(func(e int32) bool { return e&1 != 0 })
	small := count(v, func(e int32) bool { return e < 100 })
	big := count(v, func(e int32) bool { return e > 1000 })
	o[5] = truth(count(v, func(e int32) bool { return e == 3 }) > 0) | truth(small == 32)<<1 | truth(big == 0 || big == 32)<<2
	o[6] = mask(func(e int32) bool { return e&3 == v[l]&3 })
	if m := mask(func(e int32) bool { return e&64 == v[l]&64 }); m == -1 {
		o[7] = -1 + 1
	}
	o[9], o[10] = v[0], v[0]
	for _, e := range v {
		o[8] += e
		o[9] = min(o[9], e)
		o[10] = int32(max(uint32(o[10]), uint32(e)))
		o[11] ^= e
	}
	o[12] = -0x55555556 // 0xaaaaaaaa
	if l%2 == 0 {
		o[12] = v[(l+2)%32]
	}
	odd := count(x, func(e int32) bool { return e&1 != 0 })
	o[13] = int32(4*odd) + 2*truth(count(x, func(e int32) bool { return e < 100 }) == len(x)) + truth(count(x, func(e int32) bool { return e == -5 }) > 0)
	return o
}
