package cpu

import (
	"math"
	"unsafe"

	"github.com/holdfast-run/holdfast/graph"
	"github.com/holdfast-run/holdfast/internal/num"
)

const (
	// BlockSlots is the number of token positions in a KV block.
	BlockSlots = 32
	// ChunkSlots is the number of positions in an attention chunk.
	ChunkSlots = 256
	// chunkBlocks is the number of KV blocks in a chunk.
	chunkBlocks = ChunkSlots / BlockSlots
)

// Chunk is the KV of one KV head over the 256 positions [256i, 256i+256).
type Chunk struct {
	// K and V are the bases of the chunk's blocks in ascending order, as StoreK and
	// StoreV make them. A block that holds no visible slot of any query is not read
	// and may be nil.
	K, V [chunkBlocks]unsafe.Pointer
	// Next is the K of the chunk that the caller computes next, where it knows: it
	// is brought into the cache meanwhile. Any pointer will do, nil among them.
	Next [chunkBlocks]unsafe.Pointer
	// Type is the element type of K and V: F32, F16 or Q8_0.
	Type graph.DType
	// Dim is the dimension of the head.
	Dim int
	// Cap, if positive, soft-caps the scores, which are to base 2: Cap · tanh(t / Cap).
	Cap float32
}

// AttendScratch returns how many floats of scratch AttendChunk needs for n
// queries.
func AttendScratch(n, dim int) int { return min(n, maxQueries) * ChunkSlots }

// maxQueries is the largest number of queries that share a pass over a chunk.
const maxQueries = 8

// AttendChunk computes one chunk for n queries of one KV head, q being n x Dim
// and already scaled; with KV of Q8_0 also transformed by Hadamard, as acc then is. Query i sees the slots [first[i], last[i]) of the chunk.
// It sets m[i] to the largest score, l[i] to the sum of the weights and the row
// i of acc, n x Dim, to the weighted sum of V. A query that sees nothing gets
// m = -Inf, l = 0 and zeros. Other slots may hold anything, and change nothing.
//
// scratch has AttendScratch(n, Dim) floats.
func (k *Kernels) AttendChunk(c *Chunk, q []float32, n int, first, last []int32, scratch, m, l, acc []float32) {
	checkKV(c.Type, c.Dim)
	need("AttendChunk q", len(q), n*c.Dim)
	need("AttendChunk first", len(first), n)
	need("AttendChunk last", len(last), n)
	need("AttendChunk scratch", len(scratch), AttendScratch(n, c.Dim))
	need("AttendChunk m", len(m), n)
	need("AttendChunk l", len(l), n)
	need("AttendChunk acc", len(acc), n*c.Dim)
	for i := range n {
		if first[i] < last[i] && (first[i] < 0 || last[i] > ChunkSlots) {
			panic("BUG: cpu: visible slots outside of the chunk")
		}
	}
	k.attendChunk(c, q, n, first, last, scratch, m, l, acc)
}

// MergeChunks merges the results (m, l, a) of a chunk for n queries into the
// running (M, L, A); A and a are n rows of dim. A query starts as L = 0 and takes
// its first chunk as it is. A chunk of which it sees nothing (l = 0) changes
// nothing.
func (k *Kernels) MergeChunks(M, L, A, m, l, a []float32, n, dim int) {
	need("MergeChunks M", len(M), n)
	need("MergeChunks L", len(L), n)
	need("MergeChunks A", len(A), n*dim)
	need("MergeChunks m", len(m), n)
	need("MergeChunks l", len(l), n)
	need("MergeChunks a", len(a), n*dim)
	const most = 8
	var factors [2 * most]float32 // of the running result and of the chunk's
	for from := 0; from < n; from += most {
		to := min(from+most, n)
		for i := from; i < to; i++ {
			top := max(M[i], m[i])
			factors[2*(i-from)], factors[2*(i-from)+1] = M[i]-top, m[i]-top
		}
		k.exp2(factors[:])
		for i := from; i < to; i++ {
			u, v := factors[2*(i-from)], factors[2*(i-from)+1]
			to, part := A[i*dim:(i+1)*dim], a[i*dim:(i+1)*dim]
			switch {
			case l[i] == 0:
			case L[i] == 0:
				M[i], L[i] = m[i], l[i]
				copy(to, part)
			default:
				M[i], L[i] = max(M[i], m[i]), num.FMA32(l[i], v, float32(L[i]*u))
				k.merge(to, part, u, v)
			}
		}
	}
}

// Finish sets out to the attention's result, A · round(1 / L). out may be A.
func (k *Kernels) Finish(out, A []float32, L float32) { k.ScaleTo(out, A, 1/L) }

func genericExp2(x []float32) {
	for i, v := range x {
		x[i] = num.Exp2f32(v)
	}
}

func genericMerge(A, a []float32, u, v float32) {
	for i := range A {
		A[i] = num.FMA32(a[i], v, float32(A[i]*u))
	}
}

func genericAttendChunk(c *Chunk, q []float32, n int, first, last []int32, scratch, m, l, acc []float32) {
	p, dim := scratch[:ChunkSlots], c.Dim
	for i := range n {
		from, to := int(first[i]), int(last[i])
		out := acc[i*dim:][:dim]
		clear(out)
		m[i], l[i] = negativeInfinity, 0
		if from >= to {
			continue
		}
		for j := from; j < to; j++ {
			t := float32(0)
			for d, x := range q[i*dim:][:dim] {
				t = num.FMA32(x, keyAt(c.K[j/BlockSlots], c.Type, d, j%BlockSlots), t)
			}
			p[j] = t
		}
		c.softCap(p[from:to])
		for j := from; j < to; j++ {
			m[i] = max(m[i], p[j])
		}
		m[i] += 0 // -0 is +0, whatever the order in which they were compared
		var lanes [16]float32
		for j := from; j < to; j++ {
			p[j] = num.Exp2f32(float32(p[j] - m[i]))
			lanes[j%16] += p[j]
		}
		l[i] = foldLanes(&lanes)
		for j := from; j < to; j++ {
			for d := range out {
				out[d] = num.FMA32(p[j], valueAt(c.V[j/BlockSlots], c.Type, dim, j%BlockSlots, d), out[d])
			}
		}
	}
}

// softCap caps scores, in place.
func (c *Chunk) softCap(scores []float32) {
	if !(c.Cap > 0) {
		return
	}
	limit := float64(c.Cap)
	for j, t := range scores {
		scores[j] = float32(limit * num.Tanh(float64(t)/limit))
	}
}

var negativeInfinity = float32(math.Inf(-1))
