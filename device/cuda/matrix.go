package cuda

import (
	"fmt"
	"strings"

	"github.com/holdfast-run/holdfast/graph"
	kernels "github.com/holdfast-run/holdfast/kernels/cuda"
	"github.com/holdfast-run/holdfast/weights"
)

// matrix is weights on the device: the rows of one tensor, or of several that share
// their input, stacked.
type matrix struct {
	dtype graph.DType // on the device
	parts []part
	in    shape // of a row
	at    kernels.Ptr
	bytes int
}

// part is one tensor of a matrix.
type part struct {
	name   string
	tensor weights.Tensor
	from   int // the tensor's first row that is the part's
	out    shape
}

// same reports whether parts are the same rows of one tensor, laid out alike.
func (t part) same(o part) bool { return t.name == o.name && t.from == o.from && t.out == o.out }

// n is the matrix's outputs, k its inputs.
func (m *matrix) n() (n int) {
	for _, p := range m.parts {
		n += p.out.width()
	}
	return n
}

func (m *matrix) k() int { return m.in.width() }

// kind is the weights' type in kernels' names.
func (m *matrix) kind() string { return strings.ToLower(m.dtype.String()) }

// native reports whether all parts are kept in the file's type.
func (m *matrix) native() bool {
	for _, p := range m.parts {
		if p.tensor.Type != m.dtype {
			return false
		}
	}
	return true
}

// deviceType is the type that a tensor has on the device: its own where kernels take
// it and its rows need no filling inside a block of weights, else BF16.
func deviceType(t graph.DType, in shape) graph.DType {
	if t.Quantised() && in.pad != in.dim && in.dim%t.BlockElems() != 0 {
		return graph.BF16
	}
	if _, err := kernels.PackedBytes(t, kernels.TileRows, in.width()); err != nil {
		return graph.BF16
	}
	return t
}

// newMatrix plans the weights of a list of tensors.
func newMatrix(w *weights.File, in shape, sources []source, outs []shape) (*matrix, error) {
	m := &matrix{in: in}
	for i, s := range sources {
		t, ok := w.Tensor(s.weight)
		if !ok {
			return nil, fmt.Errorf("cuda: tensor %s is missing", s.weight)
		}
		m.dtype = deviceType(t.Type, in)
		m.parts = append(m.parts, part{s.weight, t, s.from, outs[i]})
	}
	var err error
	if m.bytes, err = kernels.PackedBytes(m.dtype, m.n(), m.k()); err != nil {
		return nil, unsupported("tensor %s: %v", sources[0].weight, err)
	}
	return m, nil
}

// stackable reports whether tensors can be one matrix: of one type on the device,
// each but the last filling its tiles.
func stackable(w *weights.File, in shape, sources []source, outs []shape) bool {
	first, _ := w.Tensor(sources[0].weight)
	for i, s := range sources {
		t, _ := w.Tensor(s.weight)
		if deviceType(t.Type, in) != deviceType(first.Type, in) {
			return false
		}
		if i < len(sources)-1 && outs[i].width()%kernels.TileRows != 0 && deviceType(t.Type, in) != graph.BF16 {
			return false
		}
	}
	return true
}

// vector is float32 numbers on the device: a norm's weights, or the biases of a
// stacked matrix.
type vector struct {
	parts []part
	scale float32 // of all
	at    kernels.Ptr
}

func (v *vector) n() (n int) {
	for _, p := range v.parts {
		n += p.out.width()
	}
	return n
}

// values returns the vector with its filling.
func (v *vector) values() ([]float32, error) {
	var all []float32
	for _, p := range v.parts {
		out := make([]float32, p.out.width())
		if p.name != "" {
			x := make([]float32, p.tensor.Elems())
			if err := weights.Dequantize(p.tensor.Type, x, p.tensor.Data); err != nil {
				return nil, fmt.Errorf("cuda: tensor %s: %w", p.name, err)
			}
			for i := range out {
				if r := p.out.rowOf(i); r >= 0 {
					out[i] = x[p.from+r] * v.scale
				}
			}
		}
		all = append(all, out...)
	}
	return all, nil
}
