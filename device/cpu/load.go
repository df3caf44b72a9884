package cpu

import (
	"context"
	"fmt"

	"github.com/holdfast-run/holdfast/graph"
	"github.com/holdfast-run/holdfast/internal/slab"
	kernels "github.com/holdfast-run/holdfast/kernels/cpu"
	"github.com/holdfast-run/holdfast/weights"
)

// modelWeights are a graph's weights as the phases read them.
type modelWeights struct {
	slab     *slab.Slab
	matrices map[string]*kernels.Matrix // of Linear
	vectors  map[string][]float32       // norms and biases
	tables   map[string]weights.Tensor  // of Embed: left in the file's mapping
}

// roles says how the graph uses its tensors.
func roles(g *graph.Graph) (matrices, vectors, tables map[string]bool) {
	matrices, vectors, tables = map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, n := range g.Nodes {
		switch op := n.Op.(type) {
		case graph.Embed:
			tables[op.Table.Name] = true
		case graph.Norm:
			vectors[op.Weight.Name] = true
		case graph.Linear:
			matrices[op.Weight.Name] = true
			if op.Bias.Name != "" {
				vectors[op.Bias.Name] = true
			}
		}
	}
	return matrices, vectors, tables
}

// packedBytes returns the size of the slab that loadWeights fills.
func packedBytes(g *graph.Graph, w *weights.File) (int, error) {
	matrices, vectors, _ := roles(g)
	total := 0
	for _, t := range g.Tensors() {
		have, ok := w.Tensor(t.Name)
		if !ok {
			return 0, fmt.Errorf("cpu: tensor %s is missing", t.Name)
		}
		if matrices[t.Name] {
			n, err := kernels.PackedBytes(have.Type, t.Shape[0], t.Shape[1])
			if err != nil {
				return 0, fmt.Errorf("cpu: tensor %s: %w", t.Name, err)
			}
			total += slab.Round(n)
		}
		if vectors[t.Name] {
			total += slab.Round(4 * have.Elems())
		}
	}
	return total, nil
}

// packGroups is how many row groups are packed by one task: small enough to
// spread a small model over the threads.
const packGroups = 16

// loadWeights packs the weights of g into one slab, in parallel. What is packed
// is dropped from the file's mapping, so that the model is in memory once.
func loadWeights(ctx context.Context, g *graph.Graph, w *weights.File, t *team, progress func(done, total int64)) (*modelWeights, error) {
	size, err := packedBytes(g, w)
	if err != nil {
		return nil, err
	}
	m := &modelWeights{
		matrices: map[string]*kernels.Matrix{},
		vectors:  map[string][]float32{},
		tables:   map[string]weights.Tensor{},
	}
	if m.slab, err = slab.New(size); err != nil {
		return nil, err
	}
	matrices, vectors, tables := roles(g)
	done := int64(0)
	for _, spec := range g.Tensors() {
		if err := ctx.Err(); err != nil {
			return m, err
		}
		have, _ := w.Tensor(spec.Name)
		if tables[spec.Name] {
			m.tables[spec.Name] = have
		}
		if vectors[spec.Name] {
			x := m.slab.Floats(have.Elems())
			if err := weights.Dequantize(have.Type, x, have.Data); err != nil {
				return m, fmt.Errorf("cpu: tensor %s: %w", spec.Name, err)
			}
			m.vectors[spec.Name] = x
			done += int64(4 * len(x))
		}
		if matrices[spec.Name] {
			mat := m.pack(have, spec.Shape, t)
			m.matrices[spec.Name] = mat
			done += int64(len(mat.Data))
			if !tables[spec.Name] {
				w.Drop(have)
			}
		}
		if progress != nil {
			progress(done, int64(size))
		}
	}
	return m, nil
}

// pack packs one matrix with the whole team.
func (m *modelWeights) pack(have weights.Tensor, shape []int, t *team) *kernels.Matrix {
	rows, k := shape[0], shape[1]
	n, _ := kernels.PackedBytes(have.Type, rows, k) // checked by packedBytes
	mat := &kernels.Matrix{Type: have.Type, Rows: rows, K: k, Data: m.slab.Take(n)}
	groups := mat.Groups()
	j := packJob(func(i int) {
		g0 := i * packGroups
		kernels.Pack(mat.Data, have.Type, rows, k, have.Data, g0, min(g0+packGroups, groups))
	})
	t.run(j, (groups+packGroups-1)/packGroups)
	return mat
}

// packJob is a job for a team.
type packJob func(i int)

func (f packJob) task(i, _ int) { f(i) }
