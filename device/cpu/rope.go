package cpu

import (
	"slices"

	"github.com/holdfast-run/holdfast/graph"
	"github.com/holdfast-run/holdfast/internal/num"
	"github.com/holdfast-run/holdfast/internal/slab"
)

// ropeTable holds the sines and cosines of one set of frequencies, times a
// magnitude, filled as far as positions have come.
type ropeTable struct {
	freqs     []float64
	magnitude float64
	context   int // positions
	filled    int // positions whose rows are ready
	cos       []float32
	sin       []float32
}

// ropeStep is how many positions are filled at a time.
const ropeStep = 256

// ropeTable returns the index of the table of a rotation, which equal ones share.
func (l *layout) ropeTable(op graph.RoPE, context int) int {
	for i, t := range l.ropeTables {
		if slices.Equal(t.freqs, op.Freqs) && t.magnitude == op.Magnitude {
			return i
		}
	}
	l.ropeTables = append(l.ropeTables, ropeTable{freqs: op.Freqs, magnitude: op.Magnitude, context: context})
	return len(l.ropeTables) - 1
}

func (t *ropeTable) bind(s *slab.Slab) {
	t.cos = s.Floats(t.context * len(t.freqs))
	t.sin = s.Floats(t.context * len(t.freqs))
}

// fill makes the rows of positions up to pos ready.
func (t *ropeTable) fill(pos int) {
	if pos < t.filled {
		return
	}
	end := min(t.context, (pos/ropeStep+1)*ropeStep)
	for p := t.filled; p < end; p++ {
		for i, f := range t.freqs {
			angle := float64(p) * f
			t.cos[p*len(t.freqs)+i] = float32(num.Cos(angle) * t.magnitude)
			t.sin[p*len(t.freqs)+i] = float32(num.Sin(angle) * t.magnitude)
		}
	}
	t.filled = end
}

// row returns the cosines and sines of a position.
func (t *ropeTable) row(pos int32) (cos, sin []float32) {
	n := len(t.freqs)
	at := int(pos) * n
	return t.cos[at : at+n], t.sin[at : at+n]
}
