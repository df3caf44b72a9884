package weights

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-run/holdfast/graph"
	"github.com/holdfast-run/holdfast/internal/checked"
)

// ggmlTypes gives, by the number that a GGUF file stores, each tensor type's
// name and our element type, which is graph.Invalid where we have none. Numbers
// without a name were withdrawn by the format.
var ggmlTypes = [...]struct {
	name  string
	dtype graph.DType
}{
	0: {"F32", graph.F32}, 1: {"F16", graph.F16}, 2: {"Q4_0", graph.Q4_0}, 3: {"Q4_1", graph.Q4_1},
	6: {"Q5_0", graph.Q5_0}, 7: {"Q5_1", graph.Q5_1}, 8: {"Q8_0", graph.Q8_0}, 9: {name: "Q8_1"},
	10: {name: "Q2_K"}, 11: {name: "Q3_K"}, 12: {"Q4_K", graph.Q4_K}, 13: {"Q5_K", graph.Q5_K},
	14: {"Q6_K", graph.Q6_K}, 15: {name: "Q8_K"}, 16: {name: "IQ2_XXS"}, 17: {name: "IQ2_XS"},
	18: {name: "IQ3_XXS"}, 19: {name: "IQ1_S"}, 20: {name: "IQ4_NL"}, 21: {name: "IQ3_S"},
	22: {name: "IQ2_S"}, 23: {name: "IQ4_XS"}, 24: {name: "I8"}, 25: {name: "I16"},
	26: {"I32", graph.I32}, 27: {name: "I64"}, 28: {name: "F64"}, 29: {name: "IQ1_M"},
	30: {"BF16", graph.BF16}, 34: {name: "TQ1_0"}, 35: {name: "TQ2_0"}, 39: {name: "MXFP4"},
	40: {name: "NVFP4"}, 41: {name: "Q1_0"},
}

// span is a range of bytes of the file: [start, end).
type span struct{ start, end uint64 }

// parseTensors reads the tensor table and sets f's tensors.
func parseTensors(c *cursor, f *File, count int, align uint64) error {
	f.tensors = make([]Tensor, 0, count)
	f.places = make([]place, 0, count)
	f.byName = make(map[string]int, count)
	for i := range count {
		c.begin("tensor", i)
		t, s, err := parseTensorInfo(c, align)
		if err != nil {
			return err
		}
		if _, ok := f.byName[t.Name]; ok {
			return c.fail(ErrFormat, "the name occurs twice")
		}
		f.byName[t.Name] = i
		f.tensors = append(f.tensors, t)
		f.places = append(f.places, place{span: s})
	}
	if count == 0 {
		return nil // a vocabulary; nothing need follow the table
	}
	start, ok := checked.AlignUp(uint64(c.pos), align)
	if !ok {
		c.begin("header", 0)
		return c.fail(ErrFormat, "the start of the tensor data overflows")
	}
	if err := placeTensors(c, f, start); err != nil {
		return err
	}
	return checkOverlap(c, f)
}

// parseTensorInfo reads one entry of the table. The span that it returns counts
// from the start of the tensor data.
func parseTensorInfo(c *cursor, align uint64) (Tensor, span, error) {
	name, err := c.string("the name", maxNameBytes)
	if err != nil {
		return Tensor{}, span{}, err
	}
	if name == "" {
		return Tensor{}, span{}, c.fail(ErrFormat, "the name is empty")
	}
	c.name = name
	dims, err := parseDims(c)
	if err != nil {
		return Tensor{}, span{}, err
	}
	dtype, err := parseType(c)
	if err != nil {
		return Tensor{}, span{}, err
	}
	size, err := tensorBytes(c, dtype, dims)
	if err != nil {
		return Tensor{}, span{}, err
	}
	offset, err := c.uint64("the data offset")
	if err != nil {
		return Tensor{}, span{}, err
	}
	if offset%align != 0 {
		return Tensor{}, span{}, c.fail(ErrFormat, "data offset %d is not a multiple of the alignment of %d", offset, align)
	}
	end, ok := checked.Add(offset, size)
	if !ok {
		return Tensor{}, span{}, c.fail(ErrFormat, "data offset %d plus %d bytes overflows", offset, size)
	}
	shape := make([]int, len(dims))
	for i, d := range dims {
		shape[len(dims)-1-i] = int(d) // fits: the product of all does
	}
	return Tensor{Name: name, Type: dtype, Shape: shape}, span{offset, end}, nil
}

// parseDims reads the dimensions, innermost first as the file has them.
func parseDims(c *cursor) ([]uint64, error) {
	n, err := c.uint32("the number of dimensions")
	if err != nil {
		return nil, err
	}
	if n == 0 || n > maxDims {
		return nil, c.fail(ErrFormat, "the tensor has %d dimensions, want 1 to %d", n, maxDims)
	}
	dims := make([]uint64, n)
	for i := range dims {
		if dims[i], err = c.uint64("a dimension"); err != nil {
			return nil, err
		}
		if dims[i] == 0 {
			return nil, c.fail(ErrFormat, "dimension %d is 0", i)
		}
	}
	return dims, nil
}

func parseType(c *cursor) (graph.DType, error) {
	id, err := c.uint32("the type")
	if err != nil {
		return graph.Invalid, err
	}
	name := ""
	if id < uint32(len(ggmlTypes)) {
		if t := ggmlTypes[id]; t.dtype != graph.Invalid {
			return t.dtype, nil
		}
		name = ggmlTypes[id].name
	}
	if name == "" {
		name = "unknown"
	}
	return graph.Invalid, c.fail(ErrUnsupported, "type %s (%d) is not supported; supported: %s", name, id, supportedTypes())
}

func supportedTypes() string {
	var names []string
	for _, t := range ggmlTypes {
		if t.dtype != graph.Invalid {
			names = append(names, t.name)
		}
	}
	return strings.Join(names, ", ")
}

// tensorBytes returns the size of a tensor's data. Both it and the number of
// elements fit an int.
func tensorBytes(c *cursor, t graph.DType, dims []uint64) (uint64, error) {
	block := uint64(t.BlockElems())
	if dims[0]%block != 0 {
		return 0, c.fail(ErrFormat, "rows of %d elements are not a multiple of %s's block of %d", dims[0], t, block)
	}
	elems, ok := uint64(1), true
	for _, d := range dims {
		if elems, ok = checked.Mul(elems, d); !ok || !fitsInt(elems) {
			return 0, c.fail(ErrFormat, "the number of elements overflows: dimensions %v", dims)
		}
	}
	size, ok := checked.Mul(elems/block, uint64(t.BlockBytes()))
	if !ok || !fitsInt(size) {
		return 0, c.fail(ErrFormat, "the size in bytes overflows: dimensions %v of %s", dims, t)
	}
	return size, nil
}

// placeTensors turns spans into offsets in the file and sets each tensor's data.
func placeTensors(c *cursor, f *File, start uint64) error {
	for i := range f.places {
		c.begin("tensor", i)
		c.name = f.tensors[i].Name
		s := &f.places[i].span
		end, ok := checked.Add(start, s.end)
		if !ok || end > uint64(len(c.data)) {
			return c.fail(ErrFormat, "data of %d bytes at offset %d of the tensor data, which starts at %d, ends past the file's %d bytes",
				s.end-s.start, s.start, start, len(c.data))
		}
		s.start, s.end = start+s.start, end
		f.tensors[i].Data = c.data[s.start:s.end:s.end]
	}
	return nil
}

// checkOverlap refuses two tensors of one file that share bytes.
func checkOverlap(c *cursor, f *File) error {
	order := byOffset(f.places)
	for i := 1; i < len(order); i++ {
		a, b := order[i-1], order[i]
		if f.places[b].start < f.places[a].end {
			c.begin("tensor", b)
			c.name = f.tensors[b].Name
			return c.fail(ErrFormat, "data %s overlaps tensor %s's %s",
				f.places[b].span, printable(f.tensors[a].Name), f.places[a].span)
		}
	}
	return nil
}

// byOffset returns the indexes of places in one file in the order in which they
// start.
func byOffset(places []place) []int {
	order := make([]int, len(places))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(places[a].start, places[b].start) })
	return order
}

func (s span) String() string { return fmt.Sprintf("[%d, %d)", s.start, s.end) }
