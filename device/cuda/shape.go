package cuda

import (
	kernels "github.com/holdfast-run/holdfast/kernels/cuda"
)

// shape is how a row of values lies on the device: parts of dim elements, each
// filled up with zeros to pad. The kernels take rows of a multiple of 8 elements and
// heads of three sizes; zero weights around the model's own make the rest fit.
type shape struct{ parts, dim, pad int }

// width is the elements of a row, the filling included.
func (s shape) width() int { return s.parts * s.pad }

// rowOf returns the model's row of an output, or -1 for one that fills.
func (s shape) rowOf(i int) int {
	if i%s.pad >= s.dim {
		return -1
	}
	return i/s.pad*s.dim + i%s.pad
}

// plain is the shape of n elements.
func plain(n int) shape { return shape{1, n, roundUp(n, 8)} }

// headSizes are those that attention has kernels for.
var headSizes = []int{64, 128, 256}

// headShape is the shape of n heads; false if they are too large.
func headShape(n, dim int) (shape, bool) {
	for _, size := range headSizes {
		if dim <= size {
			return shape{n, dim, size}, true
		}
	}
	return shape{}, false
}

func roundUp(n, unit int) int { return (n + unit - 1) / unit * unit }

// logitStride is the elements from one row of logits to the next.
func logitStride(vocab int) int { return roundUp(vocab, 4) }

// Chunks of attention that a context has.
func chunks(context int) int { return (context + kernels.Chunk - 1) / kernels.Chunk }
