package cuda

import (
	"math"
	"math/rand/v2"
	"testing"
)

// sequence is one span of a step: tokens new ones, the last at position length-1.
type sequence struct{ length, tokens int }

// step is a batch with its cache. What no token may see is NaN in the cache and
// out of range in the block table.
type step struct {
	cache
	group  int // query heads of a KV head
	window int
	seqs   []sequence

	tables    [][]int32
	positions []int32
	rows      []int32
	spans     []int32
	q         []float32
	pool      []float32
	sinks     []float32
	softCap   float64
}

const tableStride = 16

func newStep(rng *rand.Rand, c cache, group, window int, seqs []sequence) *step {
	s := &step{cache: c, group: group, window: window, seqs: seqs, pool: make([]float32, c.size())}
	for i := range s.pool {
		s.pool[i] = float32(math.NaN())
	}
	free := rng.Perm(c.blocks)
	for row, q := range seqs {
		table := make([]int32, tableStride)
		for i := range table {
			table[i] = math.MinInt32
		}
		oldest := 0
		if window > 0 {
			oldest = max(0, q.length-q.tokens-window+1)
		}
		for pos := oldest; pos < q.length; pos++ {
			if table[pos/32] < 0 {
				table[pos/32], free = int32(free[0]), free[1:]
			}
			slot := int(table[pos/32])*32 + pos%32
			for h := range c.kvHeads {
				copy(s.pool[c.at(slot, h, 0):], normals(rng, c.headDim, 1))
				copy(s.pool[c.at(slot, h, 1):], normals(rng, c.headDim, 1))
			}
		}
		s.tables = append(s.tables, table)
		s.spans = append(s.spans, int32(len(s.positions)), int32(q.tokens))
		for pos := q.length - q.tokens; pos < q.length; pos++ {
			s.positions, s.rows = append(s.positions, int32(pos)), append(s.rows, int32(row))
		}
	}
	s.q = normals(rng, len(s.positions)*s.heads()*c.headDim, 2.5)
	return s
}

func (s *step) heads() int { return s.kvHeads * s.group }

func (s *step) scale() float64 { return 1 / math.Sqrt(float64(s.headDim)) }

// params puts the step on the device, with one row more that has no token.
func (s *step) params(g *gpu) Attention {
	q, pool := append([]float32(nil), s.q...), s.pool
	q = append(q, make([]float32, s.heads()*s.headDim)...)
	var table []int32
	for _, t := range s.tables {
		table = append(table, t...)
	}
	a := Attention{
		Q: put(g, s.half.round(q)), Pool: put(g, s.half.round(pool)), Out: room[uint16](g, len(q)), Table: put(g, table),
		Positions: put(g, append(s.positions[:len(s.positions):len(s.positions)], -1)), Rows: put(g, append(s.rows[:len(s.rows):len(s.rows)], -1)),
		BlockStride: uint64(s.stride()), Layer: s.layerOffset(), Heads: uint32(s.heads()), KVHeads: uint32(s.kvHeads), TableStride: tableStride,
		Window: uint32(s.window), Scale: float32(s.scale() * math.Log2E), SoftCap: float32(s.softCap * math.Log2E),
	}
	if s.sinks != nil {
		a.Sinks = put(g, s.sinks)
	}
	copy(s.q, q)
	return a
}

// out returns what the kernels wrote; the row without a token must be untouched.
func (s *step) out(g *gpu, a Attention) []float32 {
	g.t.Helper()
	n := len(s.q)
	all := get[uint16](g, a.Out, n+s.heads()*s.headDim)
	for _, v := range all[n:] {
		if v != 0xcdcd {
			g.t.Fatal("wrote the output of a row that has no token")
		}
	}
	return asBF16.values(all[:n])
}

func (s *step) attend(g *gpu) []float32 {
	longest := 0
	for _, q := range s.seqs {
		longest = max(longest, q.tokens)
	}
	spans := append(s.spans[:len(s.spans):len(s.spans)], 0, 0) // the last is none
	p := &AttendParams{Attention: s.params(g), Spans: put(g, spans), SpanCount: uint32(len(spans) / 2), SpanTokens: uint32(longest + 1)}
	g.run(name("attend_", s.name, "_", s.headDim), p)
	return s.out(g, p.Attention)
}

func (s *step) decode(g *gpu, splits int) []float32 {
	tokens := len(s.positions) + 1
	p := &DecodeParams{Attention: s.params(g), Tokens: uint32(tokens), Chunks: tableStride * 32 / Chunk, Splits: uint32(splits)}
	p.Partial = room[float32](g, PartialFloats(tokens, s.heads(), int(p.Chunks), s.headDim))
	g.run(name("decode_", s.name, "_", s.headDim), p)
	g.run(name("decode_merge_", s.headDim), &MergeParams{*p})
	return s.out(g, p.Attention)
}

// some returns the step with a few of its tokens, for decoding costs the emulator as much
// for each as attend_* for all of a span: those at the ends of spans, and one in six of
// the others. index is their places in s.
func (s *step) some(rng *rand.Rand) (few *step, index []int) {
	ends := map[int]bool{}
	for i := 0; i < len(s.spans); i += 2 {
		ends[int(s.spans[i])], ends[int(s.spans[i]+s.spans[i+1])-1] = true, true
	}
	one := *s
	one.positions, one.rows, one.q = nil, nil, nil
	width := s.heads() * s.headDim
	for i := range s.positions {
		if ends[i] || rng.IntN(6) == 0 {
			index = append(index, i)
			one.positions, one.rows = append(one.positions, s.positions[i]), append(one.rows, s.rows[i])
			one.q = append(one.q, s.q[i*width:(i+1)*width]...)
		}
	}
	return &one, index
}

// reference is attention in float64, and the weighted sum of the values' sizes.
func (s *step) reference() (out, size []float64) {
	for i, pos := range s.positions {
		for h := range s.heads() {
			o, a := s.token(s.q[(i*s.heads()+h)*s.headDim:][:s.headDim], int(s.rows[i]), int(pos), h)
			out, size = append(out, o...), append(size, a...)
		}
	}
	return out, size
}

func (s *step) token(q []float32, row, pos, head int) (out, size []float64) {
	first := 0
	if s.window > 0 {
		first = max(0, pos-s.window+1)
	}
	var weights []float64
	most, sum := math.Inf(-1), 0.0
	if s.sinks != nil {
		most = float64(s.sinks[head])
	}
	slot := func(i int) int { return int(s.tables[row][i/32])*32 + i%32 }
	for i := first; i <= pos; i++ {
		score := 0.0
		for d, k := range s.pool[s.at(slot(i), head/s.group, 0):][:s.headDim] {
			score += float64(q[d]) * float64(k)
		}
		score *= s.scale()
		if s.softCap > 0 {
			score = s.softCap * math.Tanh(score/s.softCap)
		}
		weights, most = append(weights, score), max(most, score)
	}
	for i := range weights {
		weights[i] = math.Exp(weights[i] - most)
		sum += weights[i]
	}
	if s.sinks != nil {
		sum += math.Exp(float64(s.sinks[head]) - most)
	}
	out, size = make([]float64, s.headDim), make([]float64, s.headDim)
	for i, w := range weights {
		for d, v := range s.pool[s.at(slot(first+i), head/s.group, 1):][:s.headDim] {
			out[d] += w / sum * float64(v)
			size[d] += w / sum * math.Abs(float64(v))
		}
	}
	return out, size
}

// TestAttention compares both kernels with float64 and, bit by bit, with each
// other.
func TestAttention(t *testing.T) {
	for _, c := range []struct {
		kv               half
		headDim, kvHeads int
		group, window    int
		softCap          float64
		sinks            bool
		seqs             []sequence
	}{
		{asF16, 64, 2, 1, 0, 0, false, []sequence{{1, 1}, {129, 2}, {70, 70}}},
		{asBF16, 64, 1, 3, 0, 0, false, []sequence{{300, 23}, {31, 4}}},
		{asBF16, 128, 2, 4, 0, 0, false, []sequence{{257, 17}, {128, 1}}},
		{asF16, 128, 1, 8, 0, 0, true, []sequence{{200, 9}, {33, 1}}},
		{asBF16, 64, 1, 8, 40, 0, true, []sequence{{290, 20}, {40, 1}, {41, 3}}},
		{asF16, 64, 1, 20, 128, 3, false, []sequence{{260, 5}}},
		{asBF16, 128, 1, 1, 1, 0, false, []sequence{{130, 66}}},
		{asF16, 256, 1, 2, 0, 4, false, []sequence{{140, 33}}},
		{asBF16, 256, 2, 4, 100, 0, true, []sequence{{385, 3}, {2, 2}}},
	} {
		t.Run(name(c.kv.name, "/", c.headDim, "/", c.group, "/", c.window), func(t *testing.T) {
			g, rng := newGPU(t), newRand(uint64(c.headDim+c.group+c.window))
			s := newStep(rng, cache{c.kv, 24, 2, 1, c.kvHeads, c.headDim}, c.group, c.window, c.seqs)
			s.softCap = c.softCap
			if c.sinks {
				s.sinks = normals(rng, s.heads(), 2)
			}
			got := s.attend(g)
			want, size := s.reference()
			// Weights are rounded to the cache's type, results to bf16.
			within(t, "attend", got, want, size, c.kv.ulp+asBF16.ulp)
			some, index := s.some(rng)
			width := s.heads() * s.headDim
			for splits := 1; splits <= 3; splits += 2 {
				decoded := some.decode(g, splits)
				for i, at := range index {
					same(t, name("token ", at, " decoded by ", splits, " blocks"), decoded[i*width:][:width], got[at*width:][:width])
				}
			}
		})
	}
}

// TestAttentionAlone shows that a token's bits depend neither on the other tokens of
// its span nor on other sequences.
func TestAttentionAlone(t *testing.T) {
	g := newGPU(t)
	s := newStep(newRand(5), cache{asBF16, 24, 1, 0, 2, 64}, 4, 0, []sequence{{150, 37}, {300, 1}, {20, 20}})
	all := s.attend(g)
	width := s.heads() * s.headDim
	for i, from := range []int{0, 37, 38} {
		for _, tokens := range []int{1, s.seqs[i].tokens/2 + 1} {
			alone := *s
			n := from + s.seqs[i].tokens - tokens // the span's last tokens
			alone.seqs = []sequence{{s.seqs[i].length, tokens}}
			alone.tables, alone.rows = s.tables[i:i+1], make([]int32, tokens)
			alone.positions, alone.spans = s.positions[n:n+tokens], []int32{0, int32(tokens)}
			alone.q = append([]float32(nil), s.q[n*width:(n+tokens)*width]...)
			same(t, name("sequence ", i, ", ", tokens, " tokens"), alone.attend(g), all[n*width:(n+tokens)*width])
		}
	}
}
