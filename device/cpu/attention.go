package cpu

import (
	"math"

	"github.com/holdfast-run/holdfast/device"
	"github.com/holdfast-run/holdfast/graph"
	"github.com/holdfast-run/holdfast/internal/slab"
	kernels "github.com/holdfast-run/holdfast/kernels/cpu"
)

// groupTokens is the most tokens of one sequence whose queries pass over KV
// together.
const groupTokens = 8

// The kernels and the pool mean the same by a block.
var _ = [1]struct{}{}[device.BlockTokens-kernels.BlockSlots]

// chunkBlocks is the number of blocks in an attention chunk.
const chunkBlocks = kernels.ChunkSlots / device.BlockTokens

// queryGroup is some consecutive tokens of one sequence. Together with a KV
// head it is the unit of attention's work.
type queryGroup struct {
	row    int32 // of the block table
	token  int32 // first token, index into the step's
	count  int32
	chunks int32 // chunks up to the last token's position
}

// attentionLayout is the size of attention's scratch memory.
type attentionLayout struct {
	workers int
	queries int // most queries of a group and a KV head, over all layers
	dim     int // largest head dimension
	heads   int // most query heads
	chunks  int // chunks of a whole context
	split   int // most (group, KV head) pairs that are split into chunks
}

func newAttentionLayout(g *graph.Graph, o device.Options) attentionLayout {
	l := attentionLayout{
		workers: o.Threads,
		chunks:  (o.ContextLength + kernels.ChunkSlots - 1) / kernels.ChunkSlots,
		split:   4 * o.Threads,
	}
	for _, n := range g.Nodes {
		if op, ok := n.Op.(graph.Attention); ok {
			layer := g.KV[g.Nodes[n.In[1]].Op.(graph.StoreKV).Layer]
			l.queries = max(l.queries, groupTokens*op.Heads/layer.Heads)
			l.dim = max(l.dim, op.HeadDim)
			l.heads = max(l.heads, op.Heads)
		}
	}
	return l
}

// Scratch of one worker: scaled queries, one chunk's result, the running
// result, and the kernel's own.
func (l attentionLayout) workerFloats() int {
	return 3*l.queries*l.dim + 4*l.queries + kernels.AttendScratch(l.queries, l.dim)
}

// partFloats is the room of one chunk's result for one token of a KV head.
func (l attentionLayout) partFloats() int { return l.queries / groupTokens * (l.dim + 2) }

func (l attentionLayout) bytes() int {
	return l.workers*slab.Round(4*l.workerFloats()) + slab.Round(4*l.split*l.chunks*l.partFloats())
}

// attention is the state that attention's phases share in a step.
type attention struct {
	layout  attentionLayout
	groups  []queryGroup
	workers []attentionWorker
	// parts holds the chunks' results where the step is split by chunk: few
	// single tokens with long contexts, which would leave threads idle.
	parts     []float32
	maxChunks int32 // of the groups of the step
	run       int32 // chunks of one task of a split step
}

// attentionWorker is one thread's scratch.
type attentionWorker struct {
	q, acc, total []float32 // queries × dim: scaled queries, one chunk's, all chunks'
	m, l, tm, tl  []float32 // per query: one chunk's maximum and sum, all chunks'
	first, last   []int32   // per query: visible slots of the chunk
	scratch       []float32
	chunk         kernels.Chunk
}

func (a *attention) bind(p *program) {
	a.layout = p.layout.attention
	n, d := a.layout.queries, a.layout.dim
	for range a.layout.workers {
		f := p.scratch.Floats(a.layout.workerFloats())
		take := func(n int) []float32 { x := f[:n:n]; f = f[n:]; return x }
		a.workers = append(a.workers, attentionWorker{
			q: take(n * d), acc: take(n * d), total: take(n * d),
			m: take(n), l: take(n), tm: take(n), tl: take(n), scratch: f,
			first: make([]int32, n), last: make([]int32, n),
		})
	}
	a.parts = p.scratch.Floats(a.layout.split * a.layout.chunks * a.layout.partFloats())
	a.groups = make([]queryGroup, 0, p.opts.MaxTokens)
}

// prepare cuts the step's sequences into groups.
func (a *attention) prepare(p *program) {
	a.groups, a.maxChunks = a.groups[:0], 0
	for _, s := range p.in.Spans {
		for t := int32(0); t < s.Tokens; t += groupTokens {
			g := queryGroup{row: s.Row, token: s.Start + t, count: min(groupTokens, s.Tokens-t)}
			g.chunks = p.in.Positions[g.token+g.count-1]/kernels.ChunkSlots + 1
			a.maxChunks = max(a.maxChunks, g.chunks)
			a.groups = append(a.groups, g)
		}
	}
	// Some tasks for every thread, of more than one chunk where there are enough:
	// a chunk is fetched while the one before it is computed.
	a.run = max(1, min(8, a.maxChunks*int32(len(a.groups))/int32(4*a.layout.workers)))
}

// split reports whether the step's attention over this many KV heads is spread
// by chunk.
func (a *attention) split(kvHeads int) bool {
	n := len(a.groups) * kvHeads
	if a.maxChunks == 1 || n > a.layout.split {
		return false
	}
	for _, g := range a.groups {
		if g.count > 1 {
			return false
		}
	}
	return true
}

// head is attention of one group over one KV head of a layer.
type head struct {
	*program
	op     graph.Attention
	layer  int
	kind   device.PoolKind
	window int32 // positions that a token sees
	q, y   *buffer
	group  int // query heads that share the KV head
	scale  float32
	limit  float32 // soft cap of the scores, to base 2 as they are; 0: none
	square float32 // of the transform that KV is kept in; 1 if in none
}

// compile adds the phases of one attention node. How tasks are cut does not
// change the result: the chunks are always the same, and merged in order.
func (a *attention) compile(p *program, op graph.Attention, layer int, q, y *buffer) {
	kv := p.graph.KV[layer]
	kvHeads := kv.Heads
	h := &head{
		program: p, op: op, layer: layer, kind: device.KindOf(kv), window: math.MaxInt32, q: q, y: y, group: op.Heads / kvHeads,
		scale: float32(op.Scale * math.Log2E), limit: float32(op.Cap * math.Log2E), square: 1,
	}
	if p.opts.KV == graph.Q8_0 {
		h.square = kernels.HadamardSquare
		h.scale /= h.square
	}
	if kv.Window > 0 {
		h.window = int32(min(kv.Window, math.MaxInt32))
	}
	p.add(
		func() int {
			if a.split(kvHeads) {
				return len(a.groups) * kvHeads * a.runs()
			}
			return len(a.groups) * kvHeads
		},
		func(i, worker int) {
			w := &a.workers[worker]
			if !a.split(kvHeads) {
				// Threads work on the same head, whose KV the caches then share.
				h.whole(w, &a.groups[i%len(a.groups)], i/len(a.groups))
				return
			}
			h.parts(w, i/a.runs(), kvHeads, int32(i%a.runs()))
		})
	p.add(
		func() int {
			if a.split(kvHeads) {
				return len(a.groups) * kvHeads
			}
			return 0
		},
		func(i, worker int) { h.merge(&a.workers[worker], &a.groups[i/kvHeads], i, i%kvHeads) })
}

// runs is the number of tasks that the longest context is split into.
func (a *attention) runs() int { return int((a.maxChunks + a.run - 1) / a.run) }

// part returns where the result of chunk c of a (group, KV head) pair is kept.
func (a *attention) part(pair int, c int32) []float32 {
	n := a.layout.partFloats()
	at := (pair*int(a.maxChunks) + int(c)) * n
	return a.parts[at : at+n]
}

// load scales the group's queries and returns their number.
func (h *head) load(w *attentionWorker, g *queryGroup, kvHead int) int {
	width := h.group * h.op.HeadDim
	for t := range int(g.count) {
		q := h.q.row(int(g.token)+t, (kvHead+1)*width)[kvHead*width:]
		h.kernels.ScaleTo(w.q[t*width:(t+1)*width], q, h.scale)
	}
	if h.square != 1 {
		h.kernels.Hadamard(w.q[:int(g.count)*width])
	}
	return int(g.count) * h.group
}

// attend computes chunk c of a group's n queries into m, l and acc. The worker
// goes on to the next one if that is before end.
func (h *head) attend(w *attentionWorker, g *queryGroup, kvHead int, c, end int32, n int, m, l, acc []float32) {
	start := c * kernels.ChunkSlots
	for i := range n {
		pos := h.in.Positions[g.token+int32(i/h.group)]
		w.first[i], w.last[i] = max(0, pos+1-h.window-start), max(0, min(kernels.ChunkSlots, pos+1-start))
	}
	furthest := h.in.Positions[g.token+g.count-1]
	from := int(c) * chunkBlocks
	to := min(from+chunkBlocks, int(furthest)/device.BlockTokens+1)
	blocks, pool := h.table.Row(h.kind, g.row), h.pools[h.kind]
	pool.chunk(&w.chunk, blocks[from:to], h.layer, kvHead)
	if c+1 < end {
		pool.next(&w.chunk, blocks[to:min(to+chunkBlocks, int(furthest)/device.BlockTokens+1)], h.layer, kvHead)
	}
	w.chunk.Cap = h.limit
	h.kernels.AttendChunk(&w.chunk, w.q, n, w.first, w.last, w.scratch, m, l, acc)
}

// first returns the first chunk of which a group sees anything.
func (h *head) first(g *queryGroup) int32 {
	return max(0, h.in.Positions[g.token]+1-h.window) / kernels.ChunkSlots
}

// whole runs all chunks of a group over one KV head.
func (h *head) whole(w *attentionWorker, g *queryGroup, kvHead int) {
	n, d := h.load(w, g, kvHead), h.op.HeadDim
	first := h.first(g)
	h.attend(w, g, kvHead, first, g.chunks, n, w.tm, w.tl, w.total)
	for c := first + 1; c < g.chunks; c++ {
		h.attend(w, g, kvHead, c, g.chunks, n, w.m, w.l, w.acc)
		h.kernels.MergeChunks(w.tm, w.tl, w.total, w.m, w.l, w.acc, n, d)
	}
	h.finish(w, g, kvHead, n)
}

// parts runs one run of chunks of a single token over one KV head. The result of
// each is m and l per query, then the accumulators.
func (h *head) parts(w *attentionWorker, pair, kvHeads int, run int32) {
	a := &h.attention
	g, kvHead := &a.groups[pair/kvHeads], pair%kvHeads
	end := min((run+1)*a.run, g.chunks)
	n := h.load(w, g, kvHead)
	for c := max(run*a.run, h.first(g)); c < end; c++ {
		out := a.part(pair, c)
		h.attend(w, g, kvHead, c, end, n, out[:n], out[n:2*n], out[2*n:])
	}
}

// merge brings the parts of a single token together, in order.
func (h *head) merge(w *attentionWorker, g *queryGroup, pair, kvHead int) {
	n, d := h.group, h.op.HeadDim
	clear(w.tl[:n])
	for c := h.first(g); c < g.chunks; c++ {
		part := h.attention.part(pair, c)
		h.kernels.MergeChunks(w.tm, w.tl, w.total, part[:n], part[n:2*n], part[2*n:], n, d)
	}
	h.finish(w, g, kvHead, n)
}

// finish writes the group's result.
func (h *head) finish(w *attentionWorker, g *queryGroup, kvHead, n int) {
	d := h.op.HeadDim
	for i := range n {
		at := (kvHead*h.group + i%h.group) * d
		out := h.y.row(int(g.token)+i/h.group, at+d)[at:]
		h.kernels.Finish(out, w.total[i*d:(i+1)*d], w.tl[i]*h.square)
		if h.square != 1 {
			h.kernels.Hadamard(out)
		}
	}
}
