package weights

import (
	"encoding/binary"
	"math"

	"github.com/holdfast-run/holdfast/internal/checked"
)

// Limits on what a GGUF file may claim. They lie far above any published model
// and are checked before memory is reserved.
const (
	maxKeys         = 1 << 16
	maxTensors      = 1 << 16
	maxKeyBytes     = 1<<16 - 1 // the format's own limit
	maxNameBytes    = 256       // of a tensor's name; the format says 64
	maxStringBytes  = 64 << 20
	maxArrayElems   = 1 << 24
	maxDims         = 4 // the format's own limit
	minAlignment    = 8 // the format's own limit
	maxAlignment    = 1 << 24
	defaultAlign    = 32
	minKeyBytesUsed = 8 + 1 + 4 + 1         // length, name, kind, value
	minTensorBytes  = 8 + 1 + 4 + 8 + 4 + 8 // length, name, dimensions, type, offset
)

// ggufMagic is what a GGUF file starts with.
const ggufMagic = "GGUF"

// parseGGUF reads and checks the structure of a GGUF file, which the File's
// tensors alias. A part of a split model is a File too, of its own tensors.
func parseGGUF(p *part) (*File, error) {
	c := &cursor{path: p.path, data: p.data}
	c.begin("header", 0)
	tensors, keys, err := parseHeader(c)
	if err != nil {
		return nil, err
	}
	meta, err := parseMetadata(c, keys)
	if err != nil {
		return nil, err
	}
	align, err := alignment(c, meta)
	if err != nil {
		return nil, err
	}
	f := &File{path: p.path, parts: []*part{p}, meta: meta, mapped: p.file != nil}
	if err := parseTensors(c, f, tensors, align); err != nil {
		return nil, err
	}
	return f, nil
}

// parseHeader reads magic, version and the two counts.
func parseHeader(c *cursor) (tensors, keys int, err error) {
	magic, err := c.take(4, "the magic")
	if err != nil {
		return 0, 0, err
	}
	if string(magic) != ggufMagic {
		return 0, 0, c.fail(ErrFormat, "not a GGUF file: it starts with %q", magic)
	}
	version, err := c.uint32("the version")
	if err != nil {
		return 0, 0, err
	}
	switch {
	case version == 2 || version == 3:
	case version != 0 && version&0xffff == 0:
		return 0, 0, c.fail(ErrUnsupported, "the file is big-endian; only little-endian files are supported")
	default:
		return 0, 0, c.fail(ErrUnsupported, "GGUF version %d is not supported; supported: 2, 3", version)
	}
	if tensors, err = c.count("the tensor count", maxTensors, minTensorBytes); err != nil {
		return 0, 0, err
	}
	keys, err = c.count("the key count", maxKeys, minKeyBytesUsed)
	return tensors, keys, err
}

// parseMetadata reads the keys and their values.
func parseMetadata(c *cursor, count int) (*Metadata, error) {
	m := &Metadata{path: c.path, keys: make([]string, 0, count), values: make(map[string]value, count)}
	for i := range count {
		c.begin("key", i)
		key, err := c.string("the key", maxKeyBytes)
		if err != nil {
			return nil, err
		}
		if key == "" {
			return nil, c.fail(ErrFormat, "the key is empty")
		}
		c.name = key
		if _, ok := m.values[key]; ok {
			return nil, c.fail(ErrFormat, "the key occurs twice")
		}
		v, err := parseValue(c)
		if err != nil {
			return nil, err
		}
		m.keys = append(m.keys, key)
		m.values[key] = v
	}
	return m, nil
}

// parseValue reads a value's kind and the value.
func parseValue(c *cursor) (value, error) {
	k, err := parseKind(c, "the value's kind")
	if err != nil {
		return value{}, err
	}
	switch k {
	case kindString:
		s, err := c.string("the string", maxStringBytes)
		return value{kind: k, text: s}, err
	case kindArray:
		return parseArray(c)
	}
	b, err := c.take(uint64(k.bytes()), "the value")
	if err != nil {
		return value{}, err
	}
	if k == kindBool && b[0] > 1 {
		return value{}, c.fail(ErrFormat, "a bool holds %d; only 0 and 1 are valid", b[0])
	}
	return value{kind: k, bits: scalarBits(k, string(b))}, nil
}

func parseKind(c *cursor, what string) (kind, error) {
	id, err := c.uint32(what)
	if err != nil {
		return kindNone, err
	}
	if id >= uint32(len(ggufKinds)) {
		return kindNone, c.fail(ErrFormat, "%s is %d, which GGUF does not define", what, id)
	}
	return ggufKinds[id], nil
}

// parseArray reads the kind and number of an array's elements and copies their
// bytes; Metadata decodes them when asked.
func parseArray(c *cursor) (value, error) {
	elem, err := parseKind(c, "the array's element kind")
	if err != nil {
		return value{}, err
	}
	if elem == kindArray {
		return value{}, c.fail(ErrUnsupported, "arrays of arrays are not supported")
	}
	// Each string takes at least its length field.
	n, err := c.count("the array length", maxArrayElems, uint64(elem.bytes()))
	if err != nil {
		return value{}, err
	}
	var raw []byte
	if elem == kindString {
		if raw, err = takeStrings(c, n); err != nil {
			return value{}, err
		}
	} else {
		size, _ := checked.Mul(uint64(n), uint64(elem.bytes())) // fits: count saw to it
		if raw, err = c.take(size, "the array"); err != nil {
			return value{}, err
		}
	}
	if elem == kindBool {
		for i, b := range raw {
			if b > 1 {
				return value{}, c.fail(ErrFormat, "element %d is a bool that holds %d; only 0 and 1 are valid", i, b)
			}
		}
	}
	return value{kind: kindArray, elem: elem, n: n, text: string(raw)}, nil
}

// takeStrings passes over n strings and returns the bytes that they and their
// lengths take up.
func takeStrings(c *cursor, n int) ([]byte, error) {
	start := c.pos
	for i := range n {
		left := c.left()
		if left < 8 {
			return nil, c.fail(ErrFormat, "file of %d bytes ends in the length of element %d of %d", len(c.data), i, n)
		}
		size := binary.LittleEndian.Uint64(c.data[c.pos:])
		if size > maxStringBytes {
			return nil, c.fail(ErrFormat, "length of element %d is %d, over the limit of %d", i, size, uint64(maxStringBytes))
		}
		if size > left-8 {
			return nil, c.fail(ErrFormat, "file of %d bytes ends in element %d of %d, a string of %d bytes",
				len(c.data), i, n, size)
		}
		c.pos += 8 + int(size)
	}
	return c.data[start:c.pos], nil
}

// alignment returns the checked alignment of tensor data, in bytes.
func alignment(c *cursor, m *Metadata) (uint64, error) {
	align, err := m.UintOr("general.alignment", defaultAlign)
	if err != nil {
		return 0, err
	}
	if align < minAlignment || align > maxAlignment || align&(align-1) != 0 {
		c.begin("key", 0)
		c.name = "general.alignment"
		return 0, c.fail(ErrFormat, "alignment is %d, want a power of two from %d to %d", align, minAlignment, maxAlignment)
	}
	return align, nil
}

// fitsInt reports whether n can be the length of a slice.
func fitsInt(n uint64) bool { return n <= math.MaxInt }
