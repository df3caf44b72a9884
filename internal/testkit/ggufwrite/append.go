package ggufwrite

import (
	"encoding/binary"
	"fmt"
)

// The kinds of metadata values by GGUF's numbers.
const (
	KindUint8 = iota
	KindInt8
	KindUint16
	KindInt16
	KindUint32
	KindInt32
	KindFloat32
	KindBool
	KindString
	KindArray
	KindUint64
	KindInt64
	KindFloat64
)

// AppendHeader appends magic, version and the two counts.
func AppendHeader(b []byte, version uint32, tensors, keys uint64) []byte {
	b = append(b, "GGUF"...)
	b = binary.LittleEndian.AppendUint32(b, version)
	b = binary.LittleEndian.AppendUint64(b, tensors)
	return binary.LittleEndian.AppendUint64(b, keys)
}

// AppendString appends a string behind its length.
func AppendString(b []byte, s string) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(len(s)))
	return append(b, s...)
}

// AppendKV appends a key, its value's kind and its value.
func AppendKV(b []byte, kv KV) []byte {
	b = AppendString(b, kv.Key)
	switch v := kv.Value.(type) {
	case Raw:
		b = binary.LittleEndian.AppendUint32(b, v.Kind)
		return append(b, v.Bytes...)
	case string:
		b = binary.LittleEndian.AppendUint32(b, KindString)
		return AppendString(b, v)
	case []string:
		b = AppendArrayHeader(b, KindString, uint64(len(v)))
		for _, s := range v {
			b = AppendString(b, s)
		}
		return b
	}
	kind, n := kindOf(kv)
	if n < 0 {
		b = binary.LittleEndian.AppendUint32(b, kind)
	} else {
		b = AppendArrayHeader(b, kind, uint64(n))
	}
	b, err := binary.Append(b, binary.LittleEndian, kv.Value)
	if err != nil {
		panic(fmt.Sprintf("ggufwrite: key %s: %v", kv.Key, err))
	}
	return b
}

// AppendArrayHeader appends what stands before an array's elements in a value:
// the kind of an array, the elements' kind and their number.
func AppendArrayHeader(b []byte, elem uint32, n uint64) []byte {
	b = binary.LittleEndian.AppendUint32(b, KindArray)
	b = binary.LittleEndian.AppendUint32(b, elem)
	return binary.LittleEndian.AppendUint64(b, n)
}

// AppendTensorInfo appends an entry of the tensor table; dims innermost first.
func AppendTensorInfo(b []byte, name string, dims []uint64, typeID uint32, offset uint64) []byte {
	b = AppendString(b, name)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(dims)))
	for _, d := range dims {
		b = binary.LittleEndian.AppendUint64(b, d)
	}
	b = binary.LittleEndian.AppendUint32(b, typeID)
	return binary.LittleEndian.AppendUint64(b, offset)
}

// kindOf returns the kind of a scalar or of a slice's elements, and the slice's
// length or -1.
func kindOf(kv KV) (kind uint32, n int) {
	switch v := kv.Value.(type) {
	case uint8:
		return KindUint8, -1
	case int8:
		return KindInt8, -1
	case uint16:
		return KindUint16, -1
	case int16:
		return KindInt16, -1
	case uint32:
		return KindUint32, -1
	case int32:
		return KindInt32, -1
	case uint64:
		return KindUint64, -1
	case int64:
		return KindInt64, -1
	case float32:
		return KindFloat32, -1
	case float64:
		return KindFloat64, -1
	case bool:
		return KindBool, -1
	case []uint8:
		return KindUint8, len(v)
	case []int8:
		return KindInt8, len(v)
	case []uint16:
		return KindUint16, len(v)
	case []int16:
		return KindInt16, len(v)
	case []uint32:
		return KindUint32, len(v)
	case []int32:
		return KindInt32, len(v)
	case []uint64:
		return KindUint64, len(v)
	case []int64:
		return KindInt64, len(v)
	case []float32:
		return KindFloat32, len(v)
	case []float64:
		return KindFloat64, len(v)
	case []bool:
		return KindBool, len(v)
	}
	panic(fmt.Sprintf("ggufwrite: key %s: GGUF has no kind for %T", kv.Key, kv.Value))
}
