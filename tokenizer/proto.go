package tokenizer

import (
	"encoding/binary"
	"errors"
	"math"
)

// Wire types of protocol buffers (protobuf.dev, encoding).
const (
	wireVarint  = 0
	wireFixed64 = 1
	wireBytes   = 2
	wireFixed32 = 5
)

var errProto = errors.New("is cut short or malformed")

// field is one field of a message: a number or bytes.
type field struct {
	number int
	wire   int
	value  uint64
	bytes  []byte
}

// eachField calls f for each field of a message. Fields of other messages, groups
// included, are an error.
func eachField(message []byte, f func(field) error) error {
	for len(message) > 0 {
		tag, n := binary.Uvarint(message)
		if n <= 0 || tag>>3 == 0 || tag>>3 > 1<<29 {
			return errProto
		}
		message = message[n:]
		at := field{number: int(tag >> 3), wire: int(tag & 7)}
		switch at.wire {
		case wireVarint:
			at.value, n = binary.Uvarint(message)
		case wireFixed32:
			if n = 4; len(message) >= n {
				at.value = uint64(binary.LittleEndian.Uint32(message))
			}
		case wireFixed64:
			if n = 8; len(message) >= n {
				at.value = binary.LittleEndian.Uint64(message)
			}
		case wireBytes:
			length, m := binary.Uvarint(message)
			if m <= 0 || length > uint64(len(message)-m) {
				return errProto
			}
			at.bytes = message[m : m+int(length)]
			n = m + int(length)
		default:
			return errProto
		}
		if n <= 0 || n > len(message) {
			return errProto
		}
		message = message[n:]
		if err := f(at); err != nil {
			return err
		}
	}
	return nil
}

// float32 returns the value of a float field.
func (f field) float32() float32 { return math.Float32frombits(uint32(f.value)) }

// int32 returns the value of an int32 or enum field.
func (f field) int32() int32 { return int32(f.value) }

// want returns errProto unless the field has the wire type.
func (f field) want(wire int) error {
	if f.wire != wire {
		return errProto
	}
	return nil
}
