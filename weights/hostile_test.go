package weights

import (
	"encoding/binary"
	"errors"
	"math"
	"runtime"
	"strings"
	"testing"

	gw "github.com/holdfast-run/holdfast/internal/testkit/ggufwrite"
)

// hostile is a file that must be refused.
type hostile struct {
	name  string
	data  []byte
	class error
	says  []string // parts of the error
}

// withKV returns a file of one key, whose value is raw bytes after its kind.
func withKV(key string, kind uint32, raw ...byte) []byte {
	return gw.AppendKV(gw.AppendHeader(nil, 3, 0, 1), gw.KV{Key: key, Value: gw.Raw{Kind: kind, Bytes: raw}})
}

// info is a tensor table entry.
type info struct {
	name   string
	dims   []uint64
	typeID uint32
	offset uint64
}

// withTensors returns a file with this tensor table and dataBytes of data.
func withTensors(dataBytes int, table ...info) []byte {
	b := gw.AppendHeader(nil, 3, uint64(len(table)), 0)
	for _, x := range table {
		b = gw.AppendTensorInfo(b, x.name, x.dims, x.typeID, x.offset)
	}
	for len(b)%32 != 0 {
		b = append(b, 0)
	}
	return append(b, make([]byte, dataBytes)...)
}

func u64(v uint64) []byte { return binary.LittleEndian.AppendUint64(nil, v) }

func arrayOfKind(elem uint32, n uint64, raw ...byte) []byte {
	return append(gw.AppendArrayHeader(nil, elem, n)[4:], raw...) // without the kind of the value
}

// hostiles lists the shapes of published parser faults and their neighbours.
func hostiles() []hostile {
	const maxU64 = math.MaxUint64
	room := make([]byte, 4096) // so that a small claim looks possible
	cases := []hostile{
		{"empty", nil, ErrFormat, []string{"header", "magic"}},
		{"other magic", []byte("PK\x03\x04aaaaaaaaaaaaaaaaaaaaaaaa"), ErrFormat, []string{"not a GGUF file", `"PK\x03\x04"`}},
		{"tensor count 2^64-1", append(gw.AppendHeader(nil, 3, maxU64, 0), room...), ErrFormat, []string{"tensor count", "limit"}},
		{"tensor count past file", append(gw.AppendHeader(nil, 3, 1000, 0), room...), ErrFormat, []string{"tensor count is 1000", "follow"}},
		{"key count 2^64-1", append(gw.AppendHeader(nil, 3, 0, maxU64), room...), ErrFormat, []string{"key count", "limit"}},
		{"key count past file", append(gw.AppendHeader(nil, 3, 0, 60000), room...), ErrFormat, []string{"key count is 60000", "follow"}},
		{"key length 2^64-1", append(append(gw.AppendHeader(nil, 3, 0, 1), u64(maxU64)...), room...), ErrFormat, []string{"key number 0", "limit"}},
		{"key length 2^63", append(append(gw.AppendHeader(nil, 3, 0, 1), u64(1<<63)...), room...), ErrFormat, []string{"limit"}},
		{"key empty", withKV("", gw.KindUint8, 1, 0), ErrFormat, []string{"empty"}},
		{"kind 13", withKV("k", 13, room...), ErrFormat, []string{"key k", "13"}},
		{"kind 2^32-1", withKV("k", math.MaxUint32, room...), ErrFormat, []string{"key k"}},
		{"bool 2", withKV("k", gw.KindBool, 2), ErrFormat, []string{"key k", "bool"}},
		{"string length 2^64-1", withKV("k", gw.KindString, u64(maxU64)...), ErrFormat, []string{"key k", "limit"}},
		{"string past file", withKV("k", gw.KindString, append(u64(9), "12345678"...)...), ErrFormat, []string{"key k", "8 bytes"}},
		{"array of arrays", withKV("k", gw.KindArray, arrayOfKind(gw.KindArray, 1, arrayOfKind(gw.KindUint8, 1, 1)...)...), ErrUnsupported, []string{"key k", "arrays of arrays"}},
		{"array length 2^64-1", withKV("k", gw.KindArray, arrayOfKind(gw.KindUint64, maxU64, room...)...), ErrFormat, []string{"key k", "limit"}},
		{"array length 2^61 of 8 bytes", withKV("k", gw.KindArray, arrayOfKind(gw.KindUint64, 1<<61, room...)...), ErrFormat, []string{"key k"}},
		{"array past file", withKV("k", gw.KindArray, arrayOfKind(gw.KindUint32, 1<<24, room...)...), ErrFormat, []string{"key k", "follow"}},
		{"array of strings past file", withKV("k", gw.KindArray, arrayOfKind(gw.KindString, 513, room...)...), ErrFormat, []string{"key k", "follow"}},
		{"array string length 2^64-1", withKV("k", gw.KindArray, arrayOfKind(gw.KindString, 2, append(u64(0), u64(maxU64)...)...)...), ErrFormat, []string{"element 1", "limit"}},
		{"array string length 2^64-8", withKV("k", gw.KindArray, arrayOfKind(gw.KindString, 1, append(u64(maxU64-7), room...)...)...), ErrFormat, []string{"element 0"}},
		{"array string ends file", withKV("k", gw.KindArray, arrayOfKind(gw.KindString, 2, append(u64(4), "12345678"...)...)...), ErrFormat, []string{"element 1 of 2"}},
		{"array string past file", withKV("k", gw.KindArray, arrayOfKind(gw.KindString, 1, append(u64(9), "12345678"...)...)...), ErrFormat, []string{"element 0 of 1"}},
		{"array bool 2", withKV("k", gw.KindArray, arrayOfKind(gw.KindBool, 2, 0, 2)...), ErrFormat, []string{"element 1"}},
		{"duplicate key", gw.Build([]gw.KV{{Key: "k", Value: true}, {Key: "k", Value: true}}, nil), ErrFormat, []string{"key k", "twice"}},
		{"alignment of float", gw.Build([]gw.KV{{Key: "general.alignment", Value: float32(32)}}, nil), ErrFormat, []string{"general.alignment", "float32"}},
		{"alignment -32", gw.Build([]gw.KV{{Key: "general.alignment", Value: int32(-32)}}, nil), ErrFormat, []string{"general.alignment", "-32"}},
	}
	for _, align := range []uint64{0, 1, 3, 4, 33, 1 << 31, 1 << 63, maxU64} {
		data := gw.Build([]gw.KV{{Key: "general.alignment", Value: align}}, nil)
		cases = append(cases, hostile{"alignment", data, ErrFormat, []string{"general.alignment", "power of two"}})
	}
	tensor := func(name string, says string, table ...info) {
		cases = append(cases, hostile{name, withTensors(256, table...), ErrFormat, []string{"tensor t", says}})
	}
	tensor("5 dimensions", "5 dimensions", info{"t", []uint64{1, 1, 1, 1, 1}, 0, 0})
	tensor("0 dimensions", "0 dimensions", info{"t", nil, 0, 0})
	tensor("dimension 0", "dimension 1 is 0", info{"t", []uint64{1, 0}, 0, 0})
	tensor("product overflows", "overflow", info{"t", []uint64{1 << 32, 1 << 32}, 0, 0})
	tensor("product wraps to 0", "overflow", info{"t", []uint64{1 << 32, 1 << 16, 1 << 16}, 0, 0})
	tensor("product wraps to 4", "overflow", info{"t", []uint64{1<<62 + 1, 4}, 0, 0})
	tensor("product over int64", "overflow", info{"t", []uint64{1 << 63}, 0, 0})
	tensor("bytes overflow", "overflow", info{"t", []uint64{1 << 61, 2}, 0, 0})
	tensor("bytes wrap to 0", "overflow", info{"t", []uint64{1 << 62}, 0, 0})
	tensor("partial block", "block of 32", info{"t", []uint64{33}, 2, 0})
	tensor("rows of partial blocks", "block of 256", info{"t", []uint64{128, 2}, 12, 0})
	tensor("offset unaligned", "alignment", info{"t", []uint64{1}, 0, 4})
	tensor("offset past file", "past the file", info{"t", []uint64{1}, 0, 256})
	tensor("end past file", "past the file", info{"t", []uint64{65}, 0, 0})
	tensor("offset 2^64-32", "past the file", info{"t", []uint64{1}, 0, maxU64 - 31})
	tensor("offset plus size overflows", "overflow", info{"t", []uint64{8}, 0, maxU64 - 31})
	tensor("same bytes", "overlaps", info{"a", []uint64{8}, 0, 0}, info{"t", []uint64{8}, 0, 0})
	tensor("overlap by one", "overlaps", info{"a", []uint64{9}, 0, 0}, info{"t", []uint64{8}, 0, 32})
	tensor("overlap inside", "overlaps", info{"t", []uint64{8}, 0, 64}, info{"a", []uint64{64}, 0, 0})
	tensor("duplicate name", "twice", info{"t", []uint64{8}, 0, 0}, info{"t", []uint64{8}, 0, 32})
	cases = append(cases,
		hostile{"tensor name empty", withTensors(256, info{"", []uint64{1}, 0, 0}), ErrFormat, []string{"tensor number 0", "empty"}},
		hostile{"tensor name of 257 bytes", withTensors(256, info{strings.Repeat("n", 257), []uint64{1}, 0, 0}), ErrFormat, []string{"limit of 256"}},
		hostile{"tensor name with control bytes", withTensors(256, info{"a\n\x1b[31m", []uint64{1}, 0, 4}), ErrFormat, []string{`tensor "a\n\x1b[31m"`}},
		hostile{"type IQ4_XS", withTensors(256, info{"blk.0.x", []uint64{256}, 23, 0}), ErrUnsupported, []string{
			"m.gguf: tensor blk.0.x: type IQ4_XS (23) is not supported; supported: F32, F16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K, I32, BF16"}},
		hostile{"type withdrawn", withTensors(256, info{"t", []uint64{256}, 4, 0}), ErrUnsupported, []string{"type unknown (4)"}},
		hostile{"type 2^32-1", withTensors(256, info{"t", []uint64{256}, math.MaxUint32, 0}), ErrUnsupported, []string{"type unknown (4294967295)"}},
	)
	return cases
}

func TestHostileFiles(t *testing.T) {
	for _, c := range hostiles() {
		f, err := parse("m.gguf", c.data)
		if f != nil || !errors.Is(err, c.class) {
			t.Errorf("%s: %v, want %v", c.name, err, c.class)
			continue
		}
		var format *FormatError
		if !errors.As(err, &format) || format.Path != "m.gguf" || strings.ContainsAny(err.Error(), "\n\x1b") {
			t.Errorf("%s: error %q", c.name, err)
		}
		for _, part := range c.says {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: error %q does not say %q", c.name, err, part)
			}
		}
	}
}

// TestCursorTake: a length that no int holds is no reason to wrap.
func TestCursorTake(t *testing.T) {
	c := &cursor{data: make([]byte, 16), pos: 8, section: "header"}
	for _, n := range []uint64{9, 1 << 63, math.MaxUint64 - 8, math.MaxUint64} {
		if b, err := c.take(n, "x"); b != nil || !errors.Is(err, ErrFormat) {
			t.Errorf("take(%d) = %d bytes, %v", n, len(b), err)
		}
	}
	if b, err := c.take(8, "x"); len(b) != 8 || err != nil || c.left() != 0 {
		t.Errorf("take(8) = %d bytes, %v", len(b), err)
	}
}

// TestHostileAllocation: what a file claims costs no memory; what it holds costs
// a small multiple. (The multiple is reached by files of many tiny items.)
func TestHostileAllocation(t *testing.T) {
	const slack = 16 << 10 // errors, and what the runtime allocates meanwhile
	measure := func(data []byte) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := parse("m", data)
		runtime.ReadMemStats(&after)
		runtime.KeepAlive(err)
		return after.TotalAlloc - before.TotalAlloc
	}
	for _, c := range hostiles() {
		if got, limit := measure(c.data), uint64(2*len(c.data)+slack); got > limit {
			t.Errorf("%s: %d bytes of file made it allocate %d, limit %d", c.name, len(c.data), got, limit)
		}
	}
	var keys []gw.KV
	table := make([]info, 5000)
	for i := range table {
		name := string(binary.LittleEndian.AppendUint16(nil, uint16(i+1)))
		keys = append(keys, gw.KV{Key: name, Value: uint8(1)})
		table[i] = info{name, []uint64{1}, 0, uint64(32 * i)}
	}
	words := gw.Build([]gw.KV{{Key: "words", Value: make([]string, 100_000)}}, nil)
	for name, data := range map[string][]byte{
		"tiny keys": gw.Build(keys, nil), "tiny tensors": withTensors(32*len(table), table...), "empty strings": words,
	} {
		if _, err := parse("m", data); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, limit := measure(data), uint64(16*len(data)+slack)
		t.Logf("%s: %d bytes of file, %d allocated", name, len(data), got)
		if got > limit {
			t.Errorf("%s: %d bytes of file made it allocate %d, limit %d", name, len(data), got, limit)
		}
	}
}
