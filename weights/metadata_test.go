package weights

import (
	"errors"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// TestMetadata runs the same expectations over a parsed file and over NewMetadata.
func TestMetadata(t *testing.T) {
	f, err := parse("m.gguf", sample())
	if err != nil {
		t.Fatal(err)
	}
	made := NewMetadata(map[string]any{
		"u8": uint8(200), "i8": int8(-100), "u16": uint16(60000), "i16": int16(-30000), "u32": uint32(4e9),
		"i32": int32(-2e9), "u64": uint64(math.MaxUint64), "i64": int64(math.MinInt64),
		"f32": float32(0.1), "f64": 0.1, "yes": true, "no": false, "empty": "",
		"words": []string{"a", "", "Ġthe", "\xff"}, "none": []string{}, "ints": []int{-1, 0, 1}, "bytes": []byte{0, 255},
		"big": []uint64{1, 1 << 63}, "floats": []float32{0.5, -2}, "bools": []bool{true, false, true},
	})
	for name, m := range map[string]*Metadata{"parsed": f.Meta(), "made": made} {
		t.Run(name, func(t *testing.T) { testMetadata(t, m) })
	}
}

func testMetadata(t *testing.T, m *Metadata) {
	same := func(key string, want any) func(any, error) {
		return func(got any, err error) {
			t.Helper()
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%s = %v (%T), %v; want %v (%T)", key, got, got, err, want, want)
			}
		}
	}
	check := func(got any, err error) func(string, any) {
		return func(key string, want any) { t.Helper(); same(key, want)(got, err) }
	}
	check(m.Uint("u8"))("u8", uint64(200))
	check(m.Uint("u16"))("u16", uint64(60000))
	check(m.Uint("u32"))("u32", uint64(4e9))
	check(m.Uint("u64"))("u64", uint64(math.MaxUint64))
	check(m.Float("f32"))("f32", float64(float32(0.1)))
	check(m.Float("f64"))("f64", 0.1)
	check(m.Bool("yes"))("yes", true)
	check(m.Bool("no"))("no", false)
	check(m.String("empty"))("empty", "")
	check(m.Strings("words"))("words", []string{"a", "", "Ġthe", "\xff"})
	check(m.Strings("none"))("none", []string{})
	check(m.Ints("ints"))("ints", []int64{-1, 0, 1})
	check(m.Ints("bytes"))("bytes", []int64{0, 255})
	check(m.Floats("floats"))("floats", []float64{0.5, -2})
	check(m.Bools("bools"))("bools", []bool{true, false, true})
	check(m.UintOr("u8", 7))("u8", uint64(200))
	check(m.UintOr("absent", 7))("absent", uint64(7))
	check(m.FloatOr("absent", 1.5))("absent", 1.5)
	check(m.BoolOr("absent", true))("absent", true)
	check(m.StringOr("absent", "x"))("absent", "x")
	check(m.StringOr("empty", "x"))("empty", "")
	if !m.Has("no") || m.Has("absent") || !m.IsArray("none") || m.IsArray("u8") || m.IsArray("absent") {
		t.Error("Has or IsArray is wrong")
	}

	refused := func(err error, class error, says ...string) {
		t.Helper()
		if !errors.Is(err, class) {
			t.Errorf("error %v, want %v", err, class)
			return
		}
		for _, s := range append(says, m.path) {
			if !strings.Contains(err.Error(), s) {
				t.Errorf("error %q does not say %q", err, s)
			}
		}
	}
	fail := func(_ any, err error) error { return err }
	for _, key := range []string{"i8", "i16", "i32", "i64"} {
		refused(fail(m.Uint(key)), ErrFormat, "key "+key, "want 0 or more")
	}
	refused(fail(m.Ints("big")), ErrFormat, "key big", "9223372036854775808")
	refused(fail(m.Uint("f64")), ErrFormat, "key f64", "holds float64, want integer")
	refused(fail(m.Float("u8")), ErrFormat, "holds uint8, want float")
	refused(fail(m.String("yes")), ErrFormat, "holds bool, want string")
	refused(fail(m.Bool("empty")), ErrFormat, "holds string, want bool")
	refused(fail(m.Uint("bytes")), ErrFormat, "holds array of uint8, want integer")
	refused(fail(m.Strings("empty")), ErrFormat, "holds string, want array of string")
	refused(fail(m.Strings("bytes")), ErrFormat, "holds array of uint8, want array of string")
	refused(fail(m.Ints("words")), ErrFormat, "holds array of string, want array of integers")
	refused(fail(m.Floats("bytes")), ErrFormat, "want array of floats")
	refused(fail(m.Bools("bytes")), ErrFormat, "want array of bool")
	refused(fail(m.UintOr("f64", 1)), ErrFormat, "holds float64")
	refused(fail(m.BoolOr("f64", true)), ErrFormat, "holds float64")
	refused(fail(m.FloatOr("yes", 1)), ErrFormat, "holds bool")
	refused(fail(m.StringOr("yes", "")), ErrFormat, "holds bool")
	refused(fail(m.Uint("absent")), ErrMissingKey, "key absent", "missing")
	refused(fail(m.Strings("absent")), ErrMissingKey, "key absent", "missing")
	if errors.Is(fail(m.Uint("absent")), ErrFormat) {
		t.Error("a missing key is a malformed file")
	}
}

func TestNewMetadata(t *testing.T) {
	m := NewMetadata(map[string]any{"z": 1, "a": uint(2), "odd": map[string]int{}, "mixed": []any{1}, "nil": nil,
		"i": []int8{-1}, "j": []int16{-2}, "k": []uint16{3}, "l": []uint32{4}, "m": []int64{-5}, "d": []float64{.5}, "n": []int32{-6}})
	if want := []string{"a", "d", "i", "j", "k", "l", "m", "mixed", "n", "nil", "odd", "z"}; !slices.Equal(m.Keys(), want) {
		t.Errorf("keys = %q", m.Keys())
	}
	for key, want := range map[string]int64{"i": -1, "j": -2, "k": 3, "l": 4, "m": -5, "n": -6} {
		if got, err := m.Ints(key); err != nil || got[0] != want {
			t.Errorf("%s = %v, %v", key, got, err)
		}
	}
	if d, err := m.Floats("d"); err != nil || d[0] != .5 {
		t.Errorf("d = %v, %v", d, err)
	}
	if z, err := m.Uint("z"); err != nil || z != 1 {
		t.Errorf("z = %d, %v", z, err)
	}
	for key, says := range map[string]string{"odd": "map[string]int", "mixed": "[]interface {}", "nil": "<nil>"} {
		if _, err := m.Uint(key); !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", key, err)
		}
	}
	m.Keys()[0] = "changed"
	if m.Keys()[0] != "a" {
		t.Error("Keys gave away its own slice")
	}
}
