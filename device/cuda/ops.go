package cuda

import (
	"math"

	"github.com/holdfast-run/holdfast/device"
	"github.com/holdfast-run/holdfast/graph"
	kernels "github.com/holdfast-run/holdfast/kernels/cuda"
)

// operation is a step's work that one or two kernels do. bind fills in what no step
// changes; run launches.
type operation interface {
	bind(p *program) error
	run(p *program, s *step) error
}

// step is the sizes of a launch. In a captured graph they are those of its bucket.
type step struct {
	tokens  int // rows of values by token
	logits  int // rows of values by logits
	decode  int // leading spans that have one token
	spans   int
	longest int  // tokens of the longest of the other spans
	all     bool // the rows of logits are the tokens, in order
}

// rows is the number of rows of a value.
func (s *step) rows(r graph.Rows) uint32 {
	if r == graph.PerLogit {
		return uint32(s.logits)
	}
	return uint32(s.tokens)
}

type embedOp struct {
	table  *matrix
	scale  float32
	kernel *kernel
	params kernels.EmbedParams
}

func (op *embedOp) bind(p *program) (err error) {
	in := p.layout
	op.params = kernels.EmbedParams{
		ID: p.at.input + in.ids, Rows: p.at.input + in.rows, Sampled: p.at.sampled, Table: op.table.at, Out: p.at.role[stream],
		Vocab: uint32(p.graph.Vocab), Dim: uint32(op.table.k()), Scale: op.scale,
	}
	op.kernel, err = p.kernel("embed_" + op.table.kind())
	return err
}

func (op *embedOp) run(p *program, s *step) error {
	op.params.Tokens = uint32(s.tokens)
	return p.start(op.kernel, &op.params, view(&op.params))
}

// normOp norms rows for a linear layer, or adds them, normed, to the residual stream.
type normOp struct {
	from   role
	to     role // normed or stream
	weight *vector
	rows   graph.Rows
	eps    float32
	kernel *kernel
	params kernels.NormParams
}

func (op *normOp) bind(p *program) (err error) {
	op.params = kernels.NormParams{X: p.at.role[op.from], Weight: op.weight.at, Dim: uint32(op.weight.n()), Eps: op.eps}
	if op.to == stream {
		op.params.Sum = p.at.role[stream]
	} else {
		op.params.Out = p.at.role[normed]
	}
	op.kernel, err = p.kernel("norm_f32")
	return err
}

func (op *normOp) run(p *program, s *step) error {
	// Where every token has logits, in order, nothing was gathered.
	if op.params.X = p.at.role[op.from]; op.from == gathered && s.all {
		op.params.X = p.at.role[stream]
	}
	if op.params.Rows = s.rows(op.rows); op.params.Rows == 0 { // nobody wants logits
		return nil
	}
	return p.start(op.kernel, &op.params, view(&op.params))
}

// gatherOp copies the rows of the residual stream that need logits, from addresses
// that the host has put down.
type gatherOp struct {
	kernel *kernel
	params kernels.CopyParams
}

func (op *gatherOp) bind(p *program) (err error) {
	op.params = kernels.CopyParams{Src: p.at.input + p.layout.from, Dst: p.at.input + p.layout.to, Bytes: uint64(4 * p.width[stream])}
	op.kernel, err = p.kernel("copy_blocks")
	return err
}

func (op *gatherOp) run(p *program, s *step) error {
	if s.all || s.logits == 0 {
		return nil
	}
	op.params.Count = uint32(s.logits)
	return p.start(op.kernel, &op.params, view(&op.params))
}

type ropeOp struct {
	table                   *ropeTable
	heads, kvHeads, headDim int
	interleaved             bool
	qNorm, kNorm            *vector // nil for none
	eps                     float32
	layer                   int
	kernel                  *kernel
	params                  kernels.RoPEParams
}

func (op *ropeOp) bind(p *program) (err error) {
	kind := device.KindOf(p.graph.KV[op.layer])
	in := p.layout
	op.params = kernels.RoPEParams{
		QKV: p.at.role[qkv], Q: p.at.role[query], Pool: p.at.pools[kind], Positions: p.at.input + in.positions, Slots: p.at.input + in.slots[kind],
		Fine: op.table.fine, Coarse: op.table.coarse, BlockStride: uint64(p.block[kind]), Layer: uint64(p.layer[op.layer]), Stride: uint32(p.width[qkv]),
		Heads: uint32(op.heads), KVHeads: uint32(op.kvHeads), HeadDim: uint32(op.headDim), Pairs: uint32(len(op.table.freqs)),
	}
	if op.interleaved {
		op.params.Interleaved = 1
	}
	if op.qNorm != nil {
		op.params.QNorm, op.params.KNorm, op.params.Eps = op.qNorm.at, op.kNorm.at, op.eps
	}
	op.kernel, err = p.kernel("rope_f32_" + p.kvKind())
	return err
}

func (op *ropeOp) run(p *program, s *step) error {
	op.params.Tokens = uint32(s.tokens)
	return p.start(op.kernel, &op.params, view(&op.params))
}

// attendOp is attention: of the leading tokens that stand alone by chunks in
// parallel, of the other spans by tiles of queries. The bits are the same.
type attendOp struct {
	heads, kvHeads, headDim int
	layer                   int
	scale, softCap          float64
	window                  int

	decode, merge, attend *kernel
	decodeParams          kernels.DecodeParams
	mergeParams           kernels.MergeParams
	attendParams          kernels.AttendParams
}

func (op *attendOp) bind(p *program) (err error) {
	kind := device.KindOf(p.graph.KV[op.layer])
	in := p.layout
	a := kernels.Attention{
		Q: p.at.role[query], Pool: p.at.pools[kind], Out: p.at.role[attended], Table: p.at.tables[kind],
		Positions: p.at.input + in.positions, Rows: p.at.input + in.rows, BlockStride: uint64(p.block[kind]), Layer: uint64(p.layer[op.layer]),
		Heads: uint32(op.heads), KVHeads: uint32(op.kvHeads), TableStride: uint32(p.opts.MaxBlocks()), Window: uint32(op.window),
		Scale: float32(op.scale * math.Log2E), SoftCap: float32(op.softCap * math.Log2E),
	}
	op.attendParams.Attention = a
	op.decodeParams = kernels.DecodeParams{Attention: a, Partial: p.at.partial, Chunks: uint32(chunks(p.opts.ContextLength))}
	size := sizeName(op.headDim)
	if op.attend, err = p.kernel("attend_" + p.kvKind() + size); err != nil {
		return err
	}
	// On GPUs with little shared memory large heads have the one kernel only.
	if !p.fits("decode_" + p.kvKind() + size) {
		return nil
	}
	if op.decode, err = p.kernel("decode_" + p.kvKind() + size); err != nil {
		return err
	}
	op.merge, err = p.kernel("decode_merge" + size)
	return err
}

func (op *attendOp) run(p *program, s *step) error {
	decode := s.decode
	if op.decode == nil {
		decode = 0
	}
	if decode > 0 {
		d := &op.decodeParams
		d.Tokens, d.Splits = uint32(decode), 1
		d.Splits = p.splits(d.Extent(), d.Chunks)
		if err := p.start(op.decode, d, view(d)); err != nil {
			return err
		}
		op.mergeParams.DecodeParams = *d
		if err := p.start(op.merge, &op.mergeParams, view(&op.mergeParams)); err != nil {
			return err
		}
	}
	if decode == s.spans {
		return nil
	}
	a := &op.attendParams
	a.Spans = p.at.input + p.layout.spans + kernels.Ptr(8*decode)
	a.SpanCount, a.SpanTokens = uint32(s.spans-decode), uint32(max(s.longest, 1))
	return p.start(op.attend, a, view(a))
}

// splits is how many blocks share a context, so that there are two for each
// multiprocessor where the context has as many chunks. It changes no result.
func (p *program) splits(grid [3]uint32, chunks uint32) uint32 {
	blocks := grid[1] * grid[2]
	return min(chunks, max(1, (2*uint32(p.info.Multiprocessors)+blocks-1)/blocks))
}

type gateOp struct {
	name   string
	dim    int
	kernel *kernel
	params kernels.GateParams
}

func (op *gateOp) bind(p *program) (err error) {
	op.params = kernels.GateParams{
		Gate: p.at.role[gates], Up: p.at.role[gates] + kernels.Ptr(4*op.dim), Out: p.at.role[gated], Dim: uint32(op.dim), Stride: uint32(p.width[gates]),
	}
	op.kernel, err = p.kernel(op.name)
	return err
}

func (op *gateOp) run(p *program, s *step) error {
	op.params.Rows = uint32(s.tokens)
	return p.start(op.kernel, &op.params, view(&op.params))
}

// softCapOp caps logits in place.
type softCapOp struct {
	limit  float32
	kernel *kernel
	params kernels.SoftCapParams
}

func (op *softCapOp) bind(p *program) (err error) {
	vocab := p.graph.Vocab
	op.params = kernels.SoftCapParams{X: p.at.role[logits], Dim: uint32(vocab), Stride: uint32(logitStride(vocab)), Cap: op.limit}
	op.kernel, err = p.kernel("soft_cap_f32")
	return err
}

func (op *softCapOp) run(p *program, s *step) error {
	if s.logits == 0 {
		return nil
	}
	op.params.Rows = uint32(s.logits)
	return p.start(op.kernel, &op.params, view(&op.params))
}

func sizeName(headDim int) string {
	switch headDim {
	case 64:
		return "_64"
	case 128:
		return "_128"
	}
	return "_256"
}
