package weights

import (
	"fmt"
	"math"
	"slices"
)

// Metadata holds a model file's keys and values. It is immutable, may be used
// concurrently, and stays valid after its File is closed. Getters that return a
// slice make a new one, which the caller owns.
//
// Kinds are not converted into each other: a float is no integer and a string
// no bool. Only widths are: Uint takes any integer kind, Float both float kinds.
// An absent key gives ErrMissingKey; another kind, or a number out of range,
// ErrFormat. Both name the key, and the file if there is one.
type Metadata struct {
	path   string
	keys   []string // in the order of the file
	values map[string]value
}

// NewMetadata returns metadata with the given values, for tests and for formats
// other than GGUF. Values are bool, string, any integer or float type, or a
// slice of one of these. A value of another type is kept, and every getter
// refuses it. Keys are listed in ascending order.
func NewMetadata(values map[string]any) *Metadata {
	m := &Metadata{values: make(map[string]value, len(values))}
	for key, v := range values {
		m.keys = append(m.keys, key)
		m.values[key] = valueOf(v)
	}
	slices.Sort(m.keys)
	return m
}

// Has reports whether key is present.
func (m *Metadata) Has(key string) bool {
	_, ok := m.values[key]
	return ok
}

// IsArray reports whether key is present and holds an array.
func (m *Metadata) IsArray(key string) bool { return m.values[key].kind == kindArray }

// Keys returns all keys in the order of the file.
func (m *Metadata) Keys() []string { return slices.Clone(m.keys) }

// String returns a string value.
func (m *Metadata) String(key string) (string, error) {
	v, err := m.get(key, "string", kindString)
	return v.text, err
}

// Uint returns a value of any integer kind, which must not be negative.
func (m *Metadata) Uint(key string) (uint64, error) {
	v, err := m.get(key, "integer", integerKinds...)
	if err != nil {
		return 0, err
	}
	if v.kind.signed() && int64(v.bits) < 0 {
		return 0, m.bad(key, fmt.Sprintf("is %d, want 0 or more", int64(v.bits)))
	}
	return v.bits, nil
}

// Float returns a float32 or float64 value.
func (m *Metadata) Float(key string) (float64, error) {
	v, err := m.get(key, "float", kindFloat32, kindFloat64)
	return math.Float64frombits(v.bits), err
}

// Bool returns a bool value.
func (m *Metadata) Bool(key string) (bool, error) {
	v, err := m.get(key, "bool", kindBool)
	return v.bits != 0, err
}

// Strings returns an array of strings.
func (m *Metadata) Strings(key string) ([]string, error) {
	v, err := m.array(key, "array of string", kindString)
	if err != nil {
		return nil, err
	}
	out := make([]string, v.n)
	rest := v.text
	for i := range out {
		n := le64(rest)
		out[i] = rest[8 : 8+n]
		rest = rest[8+n:]
	}
	return out, nil
}

// Ints returns an array of any integer kind whose elements fit an int64.
func (m *Metadata) Ints(key string) ([]int64, error) {
	v, err := m.array(key, "array of integers", integerKinds...)
	if err != nil {
		return nil, err
	}
	out := make([]int64, v.n)
	for i := range out {
		bits := v.element(i)
		if v.elem == kindUint64 && bits > math.MaxInt64 {
			return nil, m.bad(key, fmt.Sprintf("element %d is %d, which is over the int64 range", i, bits))
		}
		out[i] = int64(bits)
	}
	return out, nil
}

// Floats returns an array of float32 or float64 values.
func (m *Metadata) Floats(key string) ([]float64, error) {
	v, err := m.array(key, "array of floats", kindFloat32, kindFloat64)
	if err != nil {
		return nil, err
	}
	out := make([]float64, v.n)
	for i := range out {
		out[i] = math.Float64frombits(v.element(i))
	}
	return out, nil
}

// Bools returns an array of bools.
func (m *Metadata) Bools(key string) ([]bool, error) {
	v, err := m.array(key, "array of bool", kindBool)
	if err != nil {
		return nil, err
	}
	out := make([]bool, v.n)
	for i := range out {
		out[i] = v.text[i] != 0
	}
	return out, nil
}

// StringOr is String with a value for an absent key.
func (m *Metadata) StringOr(key, def string) (string, error) {
	return or(m, m.String, key, def)
}

// UintOr is Uint with a value for an absent key.
func (m *Metadata) UintOr(key string, def uint64) (uint64, error) {
	return or(m, m.Uint, key, def)
}

// FloatOr is Float with a value for an absent key.
func (m *Metadata) FloatOr(key string, def float64) (float64, error) {
	return or(m, m.Float, key, def)
}

// BoolOr is Bool with a value for an absent key.
func (m *Metadata) BoolOr(key string, def bool) (bool, error) {
	return or(m, m.Bool, key, def)
}

func or[T any](m *Metadata, get func(string) (T, error), key string, def T) (T, error) {
	if !m.Has(key) {
		return def, nil
	}
	return get(key)
}

// get returns the scalar or string at key if it is of one of the kinds.
func (m *Metadata) get(key, want string, kinds ...kind) (value, error) {
	v, ok := m.values[key]
	if !ok {
		return value{}, &FormatError{Path: m.path, Where: "key " + printable(key), Problem: "is missing", Err: ErrMissingKey}
	}
	if !slices.Contains(kinds, v.kind) {
		return value{}, m.bad(key, fmt.Sprintf("holds %s, want %s", v.describe(), want))
	}
	return v, nil
}

// array returns the array at key if its elements are of one of the kinds.
func (m *Metadata) array(key, want string, kinds ...kind) (value, error) {
	v, ok := m.values[key]
	if !ok || v.kind != kindArray || !slices.Contains(kinds, v.elem) {
		_, err := m.get(key, want) // no kind fits: it says what is there
		return value{}, err
	}
	return v, nil
}

func (m *Metadata) bad(key, problem string) error {
	return &FormatError{Path: m.path, Where: "key " + printable(key), Problem: problem, Err: ErrFormat}
}
