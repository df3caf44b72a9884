package weights

import (
	"encoding/binary"
	"fmt"
	"math"
)

// kind is the kind of a metadata value or of an array's elements.
type kind uint8

const (
	kindNone kind = iota // a Go value that NewMetadata does not know
	kindUint8
	kindInt8
	kindUint16
	kindInt16
	kindUint32
	kindInt32
	kindUint64
	kindInt64
	kindFloat32
	kindFloat64
	kindBool
	kindString
	kindArray
)

// ggufKinds gives the kinds by the numbers that a GGUF file stores.
var ggufKinds = [...]kind{
	kindUint8, kindInt8, kindUint16, kindInt16, kindUint32, kindInt32, kindFloat32,
	kindBool, kindString, kindArray, kindUint64, kindInt64, kindFloat64,
}

var integerKinds = []kind{
	kindUint8, kindInt8, kindUint16, kindInt16, kindUint32, kindInt32, kindUint64, kindInt64,
}

var kinds = [...]struct {
	name  string
	bytes int // of one element; of its length for a string
}{
	kindNone:  {"nothing", 0},
	kindUint8: {"uint8", 1}, kindInt8: {"int8", 1},
	kindUint16: {"uint16", 2}, kindInt16: {"int16", 2},
	kindUint32: {"uint32", 4}, kindInt32: {"int32", 4},
	kindUint64: {"uint64", 8}, kindInt64: {"int64", 8},
	kindFloat32: {"float32", 4}, kindFloat64: {"float64", 8},
	kindBool: {"bool", 1}, kindString: {"string", 8}, kindArray: {"array", 0},
}

func (k kind) bytes() int { return kinds[k].bytes }

func (k kind) signed() bool {
	return k == kindInt8 || k == kindInt16 || k == kindInt32 || k == kindInt64
}

// value is one metadata value.
type value struct {
	kind kind
	elem kind // of an array's elements
	n    int  // an array's length
	// bits is a scalar: an integer extended to 64 bits, a bool as 0 or 1, a
	// float's float64 bits.
	bits uint64
	// text is a string; or an array's bytes as in a GGUF file: scalars
	// little-endian, strings each behind a 64-bit length; or, for kindNone, the
	// name of the Go type.
	text string
}

// describe returns what an error says that a key holds, such as "array of int32".
func (v value) describe() string {
	switch v.kind {
	case kindNone:
		return "Go type " + v.text
	case kindArray:
		return "array of " + kinds[v.elem].name
	}
	return kinds[v.kind].name
}

// element returns the bits of element i of an array of scalars.
func (v value) element(i int) uint64 {
	n := v.elem.bytes()
	return scalarBits(v.elem, v.text[i*n:(i+1)*n])
}

// scalarBits returns the value.bits of a scalar from its little-endian bytes.
func scalarBits(k kind, raw string) uint64 {
	var bits uint64
	for i := len(raw) - 1; i >= 0; i-- {
		bits = bits<<8 | uint64(raw[i])
	}
	switch {
	case k == kindFloat32:
		return math.Float64bits(float64(math.Float32frombits(uint32(bits))))
	case k.signed():
		unused := 64 - 8*len(raw)
		return uint64(int64(bits<<unused) >> unused)
	}
	return bits
}

// le64 returns the length in front of a string in an array.
func le64(s string) uint64 {
	_ = s[7]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

// valueOf returns the value of a Go bool, string, number, or slice of them.
func valueOf(v any) value {
	integer := func(k kind, bits uint64) value { return value{kind: k, bits: bits} }
	switch v := v.(type) {
	case bool:
		if v {
			return value{kind: kindBool, bits: 1}
		}
		return value{kind: kindBool}
	case string:
		return value{kind: kindString, text: v}
	case float32:
		return value{kind: kindFloat32, bits: math.Float64bits(float64(v))}
	case float64:
		return value{kind: kindFloat64, bits: math.Float64bits(v)}
	case int:
		return integer(kindInt64, uint64(v))
	case int8:
		return integer(kindInt8, uint64(v))
	case int16:
		return integer(kindInt16, uint64(v))
	case int32:
		return integer(kindInt32, uint64(v))
	case int64:
		return integer(kindInt64, uint64(v))
	case uint:
		return integer(kindUint64, uint64(v))
	case uint8:
		return integer(kindUint8, uint64(v))
	case uint16:
		return integer(kindUint16, uint64(v))
	case uint32:
		return integer(kindUint32, uint64(v))
	case uint64:
		return integer(kindUint64, v)
	}
	return arrayOf(v)
}

// arrayOf returns the value of a Go slice of bools, strings or numbers.
func arrayOf(v any) value {
	switch v := v.(type) {
	case []string:
		var raw []byte
		for _, s := range v {
			raw = binary.LittleEndian.AppendUint64(raw, uint64(len(s)))
			raw = append(raw, s...)
		}
		return value{kind: kindArray, elem: kindString, n: len(v), text: string(raw)}
	case []int:
		wide := make([]int64, len(v))
		for i, n := range v {
			wide[i] = int64(n)
		}
		return scalars(kindInt64, wide)
	case []bool:
		return scalars(kindBool, v)
	case []int8:
		return scalars(kindInt8, v)
	case []int16:
		return scalars(kindInt16, v)
	case []int32:
		return scalars(kindInt32, v)
	case []int64:
		return scalars(kindInt64, v)
	case []uint8:
		return scalars(kindUint8, v)
	case []uint16:
		return scalars(kindUint16, v)
	case []uint32:
		return scalars(kindUint32, v)
	case []uint64:
		return scalars(kindUint64, v)
	case []float32:
		return scalars(kindFloat32, v)
	case []float64:
		return scalars(kindFloat64, v)
	}
	return value{kind: kindNone, text: fmt.Sprintf("%T", v)}
}

// scalars returns an array value of fixed-size elements.
func scalars[T any](elem kind, v []T) value {
	raw, err := binary.Append(nil, binary.LittleEndian, v)
	if err != nil {
		panic(fmt.Sprintf("BUG: weights: %T has no fixed size", v))
	}
	return value{kind: kindArray, elem: elem, n: len(v), text: string(raw)}
}
