package cpu

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"

	"github.com/holdfast-run/holdfast/graph"
	"github.com/holdfast-run/holdfast/internal/num"
)

func unsafePointer(b []byte) unsafe.Pointer { return unsafe.Pointer(&b[0]) }

// chunkOf returns a chunk with random KV in the slots [from, to) and garbage in
// the others; blocks without a visible slot are nil.
func chunkOf(rng *rand.Rand, t graph.DType, dim, from, to int) *Chunk {
	generic, _ := For(Generic)
	c := &Chunk{Type: t, Dim: dim}
	garbage := []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1)), 6e4}
	for b := from / BlockSlots; b*BlockSlots < to; b++ {
		keys, values := aligned(KVBytes(t, dim)), aligned(KVBytes(t, dim))
		for slot := range BlockSlots {
			kv := [2][]float32{normals(rng, make([]float32, dim), 1), normals(rng, make([]float32, dim), 1)}
			if j := b*BlockSlots + slot; j < from || j >= to {
				for d := range dim {
					kv[0][d], kv[1][d] = garbage[rng.IntN(4)], garbage[rng.IntN(4)]
				}
			}
			generic.StoreK(keys, t, dim, slot, kv[0])
			generic.StoreV(values, t, dim, slot, kv[1])
		}
		c.K[b], c.V[b] = unsafePointer(keys), unsafePointer(values)
	}
	return c
}

// attend runs AttendChunk into canaried buffers.
func attend(t *testing.T, k *Kernels, c *Chunk, q []float32, n int, first, last []int32) (m, l, acc []float32) {
	t.Helper()
	m, checkM := canaries(n)
	l, checkL := canaries(n)
	acc, checkA := canaries(n * c.Dim)
	scratch, checkS := canaries(AttendScratch(n, c.Dim))
	k.AttendChunk(c, q, n, first, last, scratch, m, l, acc)
	for _, check := range []func(*testing.T, string){checkM, checkL, checkA, checkS} {
		check(t, "AttendChunk")
	}
	return m, l, acc
}

// TestAttendChunk compares all tiers in bits, and generic with float64.
func TestAttendChunk(t *testing.T) {
	generic, _ := For(Generic)
	for _, typ := range kvTypes {
		for _, dim := range kvDims(typ, 2, 10, 16, 32, 48, 64, 80, 96, 128, 256) {
			for n := 1; n <= 14; n++ {
				rng := newRand(uint64(dim*100 + n))
				from := rng.IntN(ChunkSlots)
				to := from + 1 + rng.IntN(ChunkSlots-from)
				switch n % 4 {
				case 0:
					from, to = 0, ChunkSlots
				case 1:
					from, to = 0, 1+rng.IntN(ChunkSlots)
				}
				c := chunkOf(rng, typ, dim, from, to)
				if n%5 == 2 {
					c.Cap = 1.5 // about the size of a score
				}
				q := normals(rng, make([]float32, n*dim), 1.5/math.Sqrt(float64(dim)))
				first, last := make([]int32, n), make([]int32, n)
				for i := range n {
					first[i], last[i] = int32(from), int32(to)
					switch n % 3 {
					case 1: // causal: each query sees a slot or two more
						last[i] = max(int32(to-n+i), first[i]+1)
					case 2: // windows, and queries that see nothing
						first[i] = int32(from + rng.IntN(to-from))
						last[i] = first[i] + int32(rng.IntN(to-int(first[i])+1))
					}
				}
				m, l, acc := attend(t, generic, c, q, n, first, last)
				for i := range n {
					checkAttention(t, c, q[i*dim:][:dim], int(first[i]), int(last[i]), m[i], l[i], acc[i*dim:][:dim])
				}
				forTiers(t, func(t *testing.T, k *Kernels) {
					gm, gl, gacc := attend(t, k, c, q, n, first, last)
					what := label(typ, " dim ", dim, " n ", n, " slots ", from, "-", to)
					equal(t, what+" m", gm, m)
					equal(t, what+" l", gl, l)
					equal(t, what+" acc", gacc, acc)
				})
			}
		}
	}
}

// checkAttention compares a query's result with float64.
func checkAttention(t *testing.T, c *Chunk, q []float32, from, to int, m, l float32, acc []float32) {
	t.Helper()
	if from >= to {
		if !math.IsInf(float64(m), -1) || l != 0 {
			t.Fatalf("a query that sees nothing has m = %v, l = %v", m, l)
		}
		for _, v := range acc {
			if math.Float32bits(v) != 0 {
				t.Fatalf("a query that sees nothing has %v", v)
			}
		}
		return
	}
	sum, out, size := 0.0, make([]float64, len(q)), make([]float64, len(q))
	for j := from; j < to; j++ {
		s := 0.0
		for d, x := range q {
			s += float64(x) * float64(keyAt(c.K[j/BlockSlots], c.Type, d, j%BlockSlots))
		}
		if c.Cap > 0 {
			s = float64(c.Cap) * math.Tanh(s/float64(c.Cap))
		}
		if s > float64(m)+1e-4 {
			t.Fatalf("a score of %v, but m = %v", s, m)
		}
		p := math.Exp2(s - float64(m))
		sum += p
		for d := range out {
			v := p * float64(valueAt(c.V[j/BlockSlots], c.Type, c.Dim, j%BlockSlots, d))
			out[d] += v
			size[d] += math.Abs(v) // values of Q8_0 are transformed, and several times as large
		}
	}
	if math.Abs(sum-float64(l)) > 2e-5*sum {
		t.Fatalf("l = %v, in float64 %v", l, sum)
	}
	for d, v := range out {
		if math.Abs(v-float64(acc[d])) > 5e-5*size[d] {
			t.Fatalf("acc[%d] = %v, in float64 %v", d, acc[d], v)
		}
	}
}

// TestAttendBatch checks that a query's bits do not depend on the queries that it
// is computed with.
func TestAttendBatch(t *testing.T) {
	for _, typ := range []graph.DType{graph.F16, graph.Q8_0} {
		attendBatch(t, typ)
	}
}

func attendBatch(t *testing.T, typ graph.DType) {
	const n, dim = 64, 64
	rng := newRand(8)
	c := chunkOf(rng, typ, dim, 0, ChunkSlots)
	q := normals(rng, make([]float32, n*dim), 0.3)
	first, last := make([]int32, n), make([]int32, n)
	for i := range last {
		last[i] = int32(ChunkSlots - n/3 + i/3)
	}
	forTiers(t, func(t *testing.T, k *Kernels) {
		m, l, acc := attend(t, k, c, q, n, first, last)
		for i := range n {
			m1, l1, acc1 := attend(t, k, c, q[i*dim:][:dim], 1, first[i:i+1], last[i:i+1])
			equal(t, "m", m1, m[i:i+1])
			equal(t, "l", l1, l[i:i+1])
			equal(t, "acc", acc1, acc[i*dim:][:dim])
		}
	})
}

// TestAttendSpecial: values that are not finite stay with the query that sees
// them, and scores of ±0, large and subnormal sizes are equal in all tiers.
func TestAttendSpecial(t *testing.T) {
	const n, dim = 6, 32
	generic, _ := For(Generic)
	for seed := range uint64(20) {
		rng := newRand(seed)
		c := chunkOf(rng, graph.F32, dim, 0, ChunkSlots)
		q := normals(rng, make([]float32, n*dim), 1)
		first, last := make([]int32, n), make([]int32, n)
		for i := range n {
			first[i], last[i] = int32(rng.IntN(100)), int32(101+rng.IntN(156))
		}
		for range 40 {
			k, v := unsafe.Slice((*float32)(c.K[rng.IntN(8)]), 32*dim), unsafe.Slice((*float32)(c.V[rng.IntN(8)]), 32*dim)
			hard(rng, k[rng.IntN(32*dim):][:1], seed%2 == 0)
			hard(rng, v[rng.IntN(32*dim):][:1], seed%2 == 0)
		}
		switch seed % 5 {
		case 1:
			clear(q[:dim])
		case 2:
			normals(rng, q, 1e-38)
		case 3:
			normals(rng, q, 30)
		}
		m, l, acc := attend(t, generic, c, q, n, first, last)
		forTiers(t, func(t *testing.T, k *Kernels) {
			gm, gl, gacc := attend(t, k, c, q, n, first, last)
			for i := range n {
				if l[i] != l[i] { // m is not defined among NaNs, the rest is NaN
					if gl[i] == gl[i] {
						t.Fatalf("seed %d: query %d: l = %v, want NaN", seed, i, gl[i])
					}
					continue
				}
				equal(t, "m", gm[i:i+1], m[i:i+1])
				equal(t, "l", gl[i:i+1], l[i:i+1])
				equal(t, "acc", gacc[i*dim:][:dim], acc[i*dim:][:dim])
			}
		})
	}
}

// TestAttendQuants: all quants, -128 too, with scales of all kinds, subnormal and
// not finite ones among them, are equal in all tiers.
func TestAttendQuants(t *testing.T) {
	const dim = 96
	generic, _ := For(Generic)
	for seed := range uint64(8) {
		rng, n := newRand(seed), 1+int(seed)%7
		c := &Chunk{Type: graph.Q8_0, Dim: dim}
		scale := func() uint16 {
			switch rng.IntN(8) {
			case 0:
				return uint16(rng.IntN(0x400)) // subnormal
			case 1:
				return 0x8000 | uint16(0x2000+rng.IntN(0x800)) // negative, as nothing makes them
			case 2:
				if seed%4 == 3 && rng.IntN(40) == 0 {
					return 0x7c00 | uint16(rng.IntN(2))
				}
			}
			return uint16(0x1c00 + rng.IntN(0xc00))
		}
		for b := range c.K {
			keys, values := aligned(KVBytes(c.Type, dim)), aligned(KVBytes(c.Type, dim))
			for i := range keys {
				keys[i], values[i] = byte(rng.Uint32()), byte(rng.Uint32())
			}
			for i := range dim { // dim / 32 · 32 slots
				binary.LittleEndian.PutUint16(keys[i/32*(64+32*32)+i%32*2:], scale())
				binary.LittleEndian.PutUint16(values[i*34:], scale())
			}
			c.K[b], c.V[b] = unsafePointer(keys), unsafePointer(values)
		}
		q := normals(rng, make([]float32, n*dim), 0.3)
		first, last := make([]int32, n), make([]int32, n)
		for i := range n {
			first[i], last[i] = int32(rng.IntN(100)), int32(101+rng.IntN(156))
		}
		m, l, acc := attend(t, generic, c, q, n, first, last)
		forTiers(t, func(t *testing.T, k *Kernels) {
			gm, gl, gacc := attend(t, k, c, q, n, first, last)
			for i := range n {
				if l[i] != l[i] && gl[i] != gl[i] { // m is not defined among NaNs
					continue
				}
				equal(t, "m", gm[i:i+1], m[i:i+1])
				equal(t, "l", gl[i:i+1], l[i:i+1])
				equal(t, "acc", gacc[i*dim:][:dim], acc[i*dim:][:dim])
			}
		})
	}
}

// TestAttendWeights reads the weights one by one, with V the identity, from
// scores at the edges of exp2's domain.
func TestAttendWeights(t *testing.T) {
	const dim = ChunkSlots
	scores := []float32{0, float32(math.Copysign(0, -1)), -126, -125.99999, -126.00001, -127, -1e30, -0.5, -0.49999997, -1.5, -125.5, -1e-30, -88.3, -64}
	c := chunkOf(newRand(1), graph.F32, dim, 0, ChunkSlots)
	q := make([]float32, dim)
	q[0] = 1
	for j := range ChunkSlots {
		k, v := unsafe.Slice((*float32)(c.K[j/BlockSlots]), dim*BlockSlots), unsafe.Slice((*float32)(c.V[j/BlockSlots]), dim*BlockSlots)
		k[j%BlockSlots] = scores[j%len(scores)]
		clear(v[j%BlockSlots*dim:][:dim])
		v[j%BlockSlots*dim+j] = 1
	}
	forTiers(t, func(t *testing.T, k *Kernels) {
		m, _, acc := attend(t, k, c, q, 1, []int32{0}, []int32{ChunkSlots})
		equal(t, "m", m, []float32{0})
		for j, p := range acc {
			if want := num.Exp2f32(scores[j%len(scores)]); !same(p, want) {
				t.Fatalf("the weight of score %v is %v, want %v", scores[j%len(scores)], p, want)
			}
		}
	})
	// All scores vanish to -0: their maximum is given as +0.
	q[0], q[dim-1] = 0, 1e-30
	for j := range ChunkSlots {
		k := unsafe.Slice((*float32)(c.K[j/BlockSlots]), dim*BlockSlots)
		k[(dim-1)*BlockSlots+j%BlockSlots] = -1e-30
	}
	forTiers(t, func(t *testing.T, k *Kernels) {
		m, l, _ := attend(t, k, c, q, 1, []int32{0}, []int32{ChunkSlots})
		equal(t, "m and l", []float32{m[0], l[0]}, []float32{0, ChunkSlots})
	})
}

// TestMergeChunk merges chunks and compares with one softmax in float64.
func TestMergeChunk(t *testing.T) {
	const dim, chunks = 80, 5
	rng := newRand(2)
	q := normals(rng, make([]float32, dim), 0.4)
	cs := make([]*Chunk, chunks)
	for i := range cs {
		cs[i] = chunkOf(rng, graph.F16, dim, 0, ChunkSlots)
	}
	last := []int32{ChunkSlots, 0, ChunkSlots, 100, 0}
	var want []float32
	forTiers(t, func(t *testing.T, k *Kernels) {
		M, L, A := make([]float32, 1), make([]float32, 1), make([]float32, dim)
		sum, exact := 0.0, make([]float64, dim)
		for i, c := range cs {
			m, l, a := attend(t, k, c, q, 1, []int32{0}, last[i:])
			k.MergeChunks(M, L, A, m, l, a, 1, dim)
			for j := range last[i] {
				s := 0.0
				for d, x := range q {
					s += float64(x) * float64(keyAt(c.K[j/32], c.Type, d, int(j)%BlockSlots))
				}
				sum += math.Exp2(s)
				for d := range exact {
					exact[d] += math.Exp2(s) * float64(valueAt(c.V[j/32], c.Type, dim, int(j)%BlockSlots, d))
				}
			}
		}
		k.Finish(A, A, L[0])
		for d, v := range exact {
			if math.Abs(v/sum-float64(A[d])) > 1e-5 {
				t.Fatalf("out[%d] = %v, in float64 %v", d, A[d], v/sum)
			}
		}
		if want == nil {
			want = A
		}
		equal(t, "out", A, want)
	})
}

// TestMergeRule compares merges of many queries at once with the rule of
// docs/NUMERICS.md, in bits.
func TestMergeRule(t *testing.T) {
	const dim = 20
	for n := 1; n <= 19; n++ {
		rng := newRand(uint64(n))
		M, m := normals(rng, make([]float32, n), 20), normals(rng, make([]float32, n), 20)
		L, l := make([]float32, n), make([]float32, n)
		A, a := normals(rng, make([]float32, n*dim), 3), normals(rng, make([]float32, n*dim), 3)
		for i := range n {
			L[i], l[i] = 1+100*rng.Float32(), 1+100*rng.Float32()
			switch rng.IntN(6) {
			case 4: // has seen nothing, and sees nothing
				m[i], l[i], L[i] = negativeInfinity, 0, 0
			case 0: // the first chunk
				L[i] = 0
			case 1: // sees nothing of this chunk
				m[i], l[i] = negativeInfinity, 0
			case 2: // far apart
				m[i] = M[i] + 120 + 300*rng.Float32()
			case 3:
				m[i] = M[i]
			}
		}
		wantM, wantL, wantA := slices.Clone(M), slices.Clone(L), slices.Clone(A)
		for i := range n {
			to, part := wantA[i*dim:(i+1)*dim], a[i*dim:(i+1)*dim]
			switch {
			case l[i] == 0:
			case L[i] == 0:
				wantM[i], wantL[i] = m[i], l[i]
				copy(to, part)
			default:
				wantM[i] = max(M[i], m[i])
				u, v := num.Exp2f32(M[i]-wantM[i]), num.Exp2f32(m[i]-wantM[i])
				wantL[i] = num.FMA32(l[i], v, float32(L[i]*u))
				for d := range to {
					to[d] = num.FMA32(part[d], v, float32(to[d]*u))
				}
			}
		}
		forTiers(t, func(t *testing.T, k *Kernels) {
			gotM, gotL, gotA := slices.Clone(M), slices.Clone(L), slices.Clone(A)
			k.MergeChunks(gotM, gotL, gotA, m, l, a, n, dim)
			equal(t, label("M of ", n), gotM, wantM)
			equal(t, label("L of ", n), gotL, wantL)
			equal(t, label("A of ", n), gotA, wantA)
		})
	}
}
