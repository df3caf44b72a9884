package weights

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/holdfast-run/holdfast/graph"
	"github.com/holdfast-run/holdfast/internal/checked"
)

// maxSafetensorsHeader is the format's own limit, in bytes.
const maxSafetensorsHeader = 100 << 20

// safetensorsTypes are the element types that we carry, by the format's names.
var safetensorsTypes = map[string]graph.DType{"F32": graph.F32, "F16": graph.F16, "BF16": graph.BF16}

// safetensorsTypeNames lists them for errors.
const safetensorsTypeNames = "F32, F16, BF16"

// looksLikeSafetensors tells a safetensors file by the length of its header and
// the brace that begins it.
func looksLikeSafetensors(data []byte) bool {
	return len(data) > 8 && data[8] == '{' && binary.LittleEndian.Uint64(data) <= uint64(len(data)-8)
}

// safetensors reads the header of a file: a length of 64 bits, and as many bytes
// of JSON, {"NAME": {"dtype", "shape", "data_offsets": [begin, end]}}
// (huggingface/safetensors, README.md). The data behind it holds the tensors
// without a gap.
type safetensors struct {
	p    *part
	f    *File
	d    *jsontext.Decoder
	name string // of the tensor at hand
	data []byte
}

// parseSafetensors reads and checks the structure of a safetensors file, which
// the File's tensors alias.
func parseSafetensors(p *part) (*File, error) {
	s := &safetensors{p: p, f: &File{
		path: p.path, parts: []*part{p}, meta: NewMetadata(nil), byName: map[string]int{}, mapped: p.file != nil,
	}}
	header, err := s.split()
	if err != nil {
		return nil, err
	}
	s.d = jsontext.NewDecoder(bytes.NewReader(header))
	if err := s.table(); err != nil {
		return nil, err
	}
	s.name = ""
	if _, err := s.d.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, s.fail(ErrFormat, "something follows the header's object")
	}
	if err := s.checkCover(); err != nil {
		return nil, err
	}
	return s.f, nil
}

// fail returns an error about the tensor at hand, or else the header.
func (s *safetensors) fail(class error, format string, args ...any) error {
	where := "header"
	if s.name != "" {
		where = "tensor " + printable(s.name)
	}
	return &FormatError{Path: s.p.path, Where: where, Problem: fmt.Sprintf(format, args...), Err: class}
}

// syntax returns an error about the JSON.
func (s *safetensors) syntax(err error) error {
	var se *jsontext.SyntacticError
	if errors.As(err, &se) {
		err = se.Err
	}
	return s.fail(ErrFormat, "the JSON is malformed at byte %d: %v", s.d.InputOffset(), err)
}

// split returns the header and sets the data behind it.
func (s *safetensors) split() ([]byte, error) {
	file := s.p.data
	if len(file) < 8 {
		return nil, s.fail(ErrFormat, "not a safetensors file: %d bytes", len(file))
	}
	size := binary.LittleEndian.Uint64(file)
	if size > maxSafetensorsHeader || size > uint64(len(file)-8) {
		return nil, s.fail(ErrFormat, "a header of %d bytes in a file of %d, limit %d", size, len(file), maxSafetensorsHeader)
	}
	s.data = file[8+size:]
	return file[8 : 8+size], nil
}

// table reads the header's object.
func (s *safetensors) table() error {
	return s.object(func(name string) error {
		if name == "__metadata__" {
			if err := s.d.SkipValue(); err != nil {
				return s.syntax(err)
			}
			return nil
		}
		if len(name) > maxNameBytes || name == "" {
			return s.fail(ErrFormat, "a tensor's name has %d bytes, limits 1 and %d", len(name), maxNameBytes)
		}
		if len(s.f.tensors) == maxTensors {
			return s.fail(ErrFormat, "more than %d tensors", maxTensors)
		}
		s.name = name
		return s.tensor()
	})
}

// object reads an object: member is called behind each of its names, which are
// unique, and reads the value.
func (s *safetensors) object(member func(name string) error) error {
	if err := s.want('{'); err != nil {
		return err
	}
	for s.d.PeekKind() != '}' {
		name, err := s.text()
		if err != nil {
			return err
		}
		if err := member(name); err != nil {
			return err
		}
	}
	return s.want('}')
}

// want reads a token of that kind.
func (s *safetensors) want(kind jsontext.Kind) error {
	token, err := s.d.ReadToken()
	if err != nil {
		return s.syntax(err)
	}
	if token.Kind() != kind {
		return s.fail(ErrFormat, "%s where %s is wanted", token.Kind(), kind)
	}
	return nil
}

// text reads a string.
func (s *safetensors) text() (string, error) {
	token, err := s.d.ReadToken()
	if err != nil {
		return "", s.syntax(err)
	}
	if token.Kind() != '"' {
		return "", s.fail(ErrFormat, "%s where a string is wanted", token.Kind())
	}
	return token.String(), nil
}

// numbers reads an array of at most limit numbers.
func (s *safetensors) numbers(what string, limit int) ([]uint64, error) {
	if err := s.want('['); err != nil {
		return nil, err
	}
	var all []uint64
	for s.d.PeekKind() != ']' {
		token, err := s.d.ReadToken()
		if err != nil {
			return nil, s.syntax(err)
		}
		// The token's Uint would take 1.5 for 1.
		n, err := strconv.ParseUint(token.String(), 10, 64)
		if token.Kind() != '0' || err != nil {
			return nil, s.fail(ErrFormat, "%s holds %s, want whole numbers", what, printable(token.String()))
		}
		if len(all) == limit {
			return nil, s.fail(ErrFormat, "%s has more than %d entries", what, limit)
		}
		all = append(all, n)
	}
	return all, s.want(']')
}

// tensor reads one entry of the table.
func (s *safetensors) tensor() error {
	var dtype string
	var dims, offsets []uint64
	err := s.object(func(name string) (err error) {
		switch name {
		case "dtype":
			dtype, err = s.text()
		case "shape":
			dims, err = s.numbers(name, maxDims)
		case "data_offsets":
			offsets, err = s.numbers(name, 2)
		default:
			err = s.fail(ErrFormat, "has %s, which the format does not define", printable(name))
		}
		return err
	})
	if err != nil {
		return err
	}
	t, ok := safetensorsTypes[dtype]
	switch {
	case dtype == "" || len(offsets) != 2:
		return s.fail(ErrFormat, "has no dtype or no two data_offsets")
	case !ok:
		return s.fail(ErrUnsupported, "dtype %s is not supported; supported: %s", printable(dtype), safetensorsTypeNames)
	case len(dims) == 0:
		return s.fail(ErrUnsupported, "is a scalar; 1 to %d dimensions are supported", maxDims)
	}
	return s.add(t, dims, span{offsets[0], offsets[1]})
}

// add checks a tensor and adds it.
func (s *safetensors) add(t graph.DType, dims []uint64, at span) error {
	size, shape := uint64(t.BlockBytes()), make([]int, len(dims))
	for i, d := range dims {
		var ok bool
		if size, ok = checked.Mul(size, d); !ok || !fitsInt(size) || d == 0 {
			return s.fail(ErrFormat, "has the shape %v: a dimension is 0, or there are too many elements", dims)
		}
		shape[i] = int(d)
	}
	if at.start > at.end || at.end > uint64(len(s.data)) {
		return s.fail(ErrFormat, "data %s is not in the %d bytes behind the header", at, len(s.data))
	}
	if at.end-at.start != size {
		return s.fail(ErrFormat, "data %s has %d bytes, %v of %s takes %d", at, at.end-at.start, dims, t, size)
	}
	behind := uint64(len(s.p.data) - len(s.data)) // where the data begins
	s.f.byName[s.name] = len(s.f.tensors)
	s.f.tensors = append(s.f.tensors, Tensor{Name: s.name, Type: t, Shape: shape, Data: s.data[at.start:at.end:at.end]})
	s.f.places = append(s.f.places, place{span: span{behind + at.start, behind + at.end}})
	return nil
}

// checkCover refuses tensors that share bytes, and bytes that are no tensor's.
func (s *safetensors) checkCover() error {
	end := uint64(len(s.p.data) - len(s.data))
	for _, i := range byOffset(s.f.places) {
		at := s.f.places[i].span
		if s.name = s.f.tensors[i].Name; at.start != end {
			return s.fail(ErrFormat, "data begins at byte %d of the file, what is before it ends at %d", at.start, end)
		}
		end = at.end
	}
	if s.name = ""; end != uint64(len(s.p.data)) {
		return s.fail(ErrFormat, "the tensors end at byte %d of %d", end, len(s.p.data))
	}
	return nil
}
