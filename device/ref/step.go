package ref

import (
	"fmt"
	"math"

	"github.com/holdfast-run/holdfast/device"
	"github.com/holdfast-run/holdfast/graph"
)

// step is the evaluation of one StepInput: values[i] holds the rows of node i.
type step struct {
	*program
	in       *device.StepInput
	values   [][][]float64
	tokenRow []int32 // table row of each token
}

func newStep(p *program, in *device.StepInput) *step {
	s := &step{program: p, in: in, values: make([][][]float64, len(p.graph.Nodes)), tokenRow: make([]int32, len(in.Tokens))}
	for _, span := range in.Spans {
		for i := span.Start; i < span.Start+span.Tokens; i++ {
			s.tokenRow[i] = span.Row
		}
	}
	return s
}

func (s *step) eval(n graph.Node) [][]float64 {
	arg := func(i int) [][]float64 { return s.values[n.In[i]] }
	switch op := n.Op.(type) {
	case graph.Embed:
		return s.embed(op, n.Type.Dim)
	case graph.Norm:
		return each(arg(0), func(_ int, x []float64) []float64 { return norms(x, s.weights[op.Weight.Name], float64(op.Eps)) })
	case graph.Linear:
		return each(arg(0), func(_ int, x []float64) []float64 {
			return linear(x, s.weights[op.Weight.Name], s.weights[op.Bias.Name], n.Type.Dim)
		})
	case graph.RoPE:
		return each(arg(0), func(i int, x []float64) []float64 { return rope(x, op, float64(s.in.Positions[i])) })
	case graph.StoreKV:
		kind := device.KindOf(s.graph.KV[op.Layer])
		for i, slot := range s.in.Slots[kind] {
			s.pools[kind].store(op.Layer, int(slot), arg(0)[i], arg(1)[i])
		}
		return nil
	case graph.Attention:
		layer := s.graph.Nodes[n.In[1]].Op.(graph.StoreKV).Layer
		return each(arg(0), func(i int, q []float64) []float64 { return s.attend(i, q, op, layer) })
	case graph.SiLUGate:
		return zip(arg(0), arg(1), func(g, u float64) float64 { return g / (1 + math.Exp(-g)) * u })
	case graph.GELUGate:
		return zip(arg(0), arg(1), func(g, u float64) float64 {
			return g / 2 * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(g+0.044715*g*g*g))) * u
		})
	case graph.Scale:
		return each(arg(0), func(_ int, x []float64) []float64 {
			return apply(x, func(x float64) float64 { return x * float64(op.By) })
		})
	case graph.SoftCap:
		return each(arg(0), func(_ int, x []float64) []float64 {
			return apply(x, func(x float64) float64 { return softCap(x, op.Cap) })
		})
	case graph.Slice:
		return each(arg(0), func(_ int, x []float64) []float64 { return x[op.From : op.From+n.Type.Dim] })
	case graph.Add:
		return zip(arg(0), arg(1), func(a, b float64) float64 { return a + b })
	case graph.Gather:
		rows := make([][]float64, 0, len(s.in.Logits))
		for _, i := range s.in.Logits {
			rows = append(rows, arg(0)[i])
		}
		return rows
	default:
		panic(fmt.Sprintf("ref: BUG: no rule for %T", n.Op))
	}
}

func (s *step) embed(op graph.Embed, dim int) [][]float64 {
	table := s.weights[op.Table.Name]
	rows := make([][]float64, len(s.in.Tokens))
	for i, tok := range s.in.Tokens {
		if tok == device.Sampled {
			tok = s.sampled[s.tokenRow[i]]
		}
		rows[i] = make([]float64, dim)
		for d, x := range table[int(tok)*dim : (int(tok)+1)*dim] {
			rows[i][d] = float64(x)
		}
	}
	return rows
}

// attend returns attention of token i's query over its sequence up to itself,
// as far back as the window.
func (s *step) attend(i int, q []float64, op graph.Attention, layer int) []float64 {
	kv := s.graph.KV[layer]
	kind := device.KindOf(kv)
	blocks, pool := s.table.Row(kind, s.tokenRow[i]), s.pools[kind]
	n, first := int(s.in.Positions[i])+1, 0
	if kv.Window > 0 {
		first = max(0, n-kv.Window)
	}
	kvHeads := kv.Heads
	out := make([]float64, len(q))
	scores := make([]float64, n)
	for h := range op.Heads {
		kvHead := h / (op.Heads / kvHeads)
		qh, oh := q[h*op.HeadDim:(h+1)*op.HeadDim], out[h*op.HeadDim:(h+1)*op.HeadDim]
		most := math.Inf(-1)
		for p := first; p < n; p++ {
			k, _ := pool.head(layer, slotOf(blocks, p), kvHead)
			scores[p] = op.Scale * dot(qh, k)
			if op.Cap > 0 {
				scores[p] = softCap(scores[p], op.Cap)
			}
			most = max(most, scores[p])
		}
		var sum float64
		for p := first; p < n; p++ {
			scores[p] = math.Exp(scores[p] - most)
			sum += scores[p]
		}
		for p := first; p < n; p++ {
			_, v := pool.head(layer, slotOf(blocks, p), kvHead)
			for d := range oh {
				oh[d] += scores[p] / sum * v[d]
			}
		}
	}
	return out
}

func slotOf(blocks []int32, pos int) int {
	return int(blocks[pos/device.BlockTokens])*device.BlockTokens + pos%device.BlockTokens
}

// norms normalises each run of len(w) elements of x.
func norms(x []float64, w []float32, eps float64) []float64 {
	y := make([]float64, 0, len(x))
	for ; len(x) > 0; x = x[len(w):] {
		run := x[:len(w)]
		r := 1 / math.Sqrt(dot(run, run)/float64(len(run))+eps)
		for i := range run {
			y = append(y, run[i]*r*float64(w[i]))
		}
	}
	return y
}

func softCap(x, limit float64) float64 { return limit * math.Tanh(x/limit) }

func linear(x []float64, w, bias []float32, out int) []float64 {
	y := make([]float64, out)
	for r := range y {
		for k, wk := range w[r*len(x) : (r+1)*len(x)] {
			y[r] += x[k] * float64(wk)
		}
		if bias != nil {
			y[r] += float64(bias[r])
		}
	}
	return y
}

func rope(x []float64, op graph.RoPE, pos float64) []float64 {
	y := append([]float64(nil), x...)
	for h := 0; h < len(x); h += op.HeadDim {
		for i, f := range op.Freqs {
			a, b := h+i, h+i+len(op.Freqs)
			if op.Interleaved {
				a, b = h+2*i, h+2*i+1
			}
			sin, cos := math.Sincos(pos * f)
			sin, cos = sin*op.Magnitude, cos*op.Magnitude
			y[a], y[b] = x[a]*cos-x[b]*sin, x[b]*cos+x[a]*sin
		}
	}
	return y
}

func dot(x, y []float64) float64 {
	var s float64
	for i := range x {
		s += x[i] * y[i]
	}
	return s
}

func apply(x []float64, f func(float64) float64) []float64 {
	y := make([]float64, len(x))
	for i := range x {
		y[i] = f(x[i])
	}
	return y
}

func each(x [][]float64, f func(i int, row []float64) []float64) [][]float64 {
	y := make([][]float64, len(x))
	for i, row := range x {
		y[i] = f(i, row)
	}
	return y
}

func zip(x, y [][]float64, f func(a, b float64) float64) [][]float64 {
	return each(x, func(i int, row []float64) []float64 {
		z := make([]float64, len(row))
		for d := range row {
			z[d] = f(row[d], y[i][d])
		}
		return z
	})
}
