package f16

import (
	"math"
	"math/rand/v2"
	"testing"
)

// value returns the exact value of binary16 bits by the definition of the
// format; not for NaN.
func value(h uint16) float64 {
	e, m := int(h>>10&31), float64(h&0x3ff)
	var v float64
	switch e {
	case 31:
		v = math.Inf(1)
	case 0:
		v = math.Ldexp(m, -24)
	default:
		v = math.Ldexp(1024+m, e-25)
	}
	if h&0x8000 != 0 {
		v = math.Copysign(v, -1)
	}
	return v
}

func isNaN(h uint16) bool { return h&0x7fff > 0x7c00 }

func TestToFloat32AllValues(t *testing.T) {
	for i := range 1 << 16 {
		h := uint16(i)
		got := ToFloat32(h)
		if isNaN(h) {
			want := uint32(h&0x8000)<<16 | 0x7fc00000 | uint32(h&0x3ff)<<13
			if math.Float32bits(got) != want {
				t.Fatalf("ToFloat32(%#04x) = %#08x, want %#08x", h, math.Float32bits(got), want)
			}
			if back := FromFloat32(got); back != h|0x200 {
				t.Fatalf("NaN %#04x came back as %#04x, want %#04x", h, back, h|0x200)
			}
			continue
		}
		want := value(h)
		if math.Float64bits(float64(got)) != math.Float64bits(want) {
			t.Fatalf("ToFloat32(%#04x) = %v, want %v", h, got, want)
		}
		if back := FromFloat32(got); back != h {
			t.Fatalf("%#04x = %v came back as %#04x", h, got, back)
		}
	}
}

// TestFromFloat32Boundaries looks at every boundary between two neighbouring
// binary16 numbers: the tie itself, and one float32 to each side of it.
func TestFromFloat32Boundaries(t *testing.T) {
	for i := range 0x7c00 {
		lo, hi := uint16(i), uint16(i+1)
		top := value(hi)
		if hi == 0x7c00 {
			top = 65536 // the value that infinity's bits would have
		}
		tie := float32((value(lo) + top) / 2) // exact: 12 significant bits
		even := lo
		if lo&1 == 1 {
			even = hi
		}
		check(t, tie, even)
		check(t, math.Nextafter32(tie, 0), lo)
		check(t, math.Nextafter32(tie, math.MaxFloat32), hi)
	}
	check(t, math.SmallestNonzeroFloat32, 0)
	check(t, math.MaxFloat32, 0x7c00)
	check(t, float32(math.Inf(1)), 0x7c00)
	check(t, 0, 0)
}

func check(t *testing.T, f float32, want uint16) {
	t.Helper()
	if got := FromFloat32(f); got != want {
		t.Fatalf("FromFloat32(%v) = %#04x, want %#04x", f, got, want)
	}
	if got := FromFloat32(-f); got != want|0x8000 {
		t.Fatalf("FromFloat32(%v) = %#04x, want %#04x", -f, got, want|0x8000)
	}
}

func TestBF16(t *testing.T) {
	for i := range 1 << 16 {
		h := uint16(i)
		f := BF16ToFloat32(h)
		if math.Float32bits(f) != uint32(h)<<16 {
			t.Fatalf("BF16ToFloat32(%#04x) = %#08x", h, math.Float32bits(f))
		}
		want := h
		if h&0x7fff > 0x7f80 {
			want |= 0x40
		}
		if got := FromFloat32BF16(f); got != want {
			t.Fatalf("%#04x came back as %#04x", h, got)
		}
		if h&0x7fff >= 0x7f80 {
			continue
		}
		// The tie above h, and its float32 neighbours.
		tie := uint32(h)<<16 | 0x8000
		for _, c := range []struct {
			bits uint32
			want uint16
		}{{tie - 1, h}, {tie, h + h&1}, {tie + 1, h + 1}} {
			if got := FromFloat32BF16(math.Float32frombits(c.bits)); got != c.want {
				t.Fatalf("FromFloat32BF16(bits %#08x) = %#04x, want %#04x", c.bits, got, c.want)
			}
		}
	}
	// A NaN whose payload lies in the lower half must not become infinity.
	if got := FromFloat32BF16(math.Float32frombits(0x7f800001)); got != 0x7fc0 {
		t.Fatalf("NaN became %#04x", got)
	}
	if got := FromFloat32(math.Float32frombits(0xff800001)); got != 0xfe00 {
		t.Fatalf("NaN became %#04x", got)
	}
}

// TestFromFloat32Random compares with a search for the nearest value in
// float64, over random float32 bits.
func TestFromFloat32Random(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200_000 {
		f := math.Float32frombits(r.Uint32()&^(0x7f<<24) | uint32(95+r.IntN(52))<<23)
		if got, want := FromFloat32(f), nearest(f); got != want {
			t.Fatalf("FromFloat32(%v) = %#04x, want %#04x", f, got, want)
		}
	}
}

func nearest(f float32) uint16 {
	a := math.Abs(float64(f))
	lo, hi := uint16(0), uint16(0x7c00) // value(lo) <= a, except infinity
	for hi-lo > 1 {
		if mid := (lo + hi) / 2; value(mid) <= a {
			lo = mid
		} else {
			hi = mid
		}
	}
	top := value(hi)
	if hi == 0x7c00 {
		top = 65536
	}
	down, up := a-value(lo), top-a
	h := lo
	if up < down || up == down && lo&1 == 1 {
		h = hi
	}
	if math.Signbit(float64(f)) {
		h |= 0x8000
	}
	return h
}

var sink float32

func BenchmarkToFloat32(b *testing.B) {
	h := make([]uint16, 4096)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range h {
		h[i] = uint16(r.Uint32())
	}
	b.SetBytes(int64(2 * len(h)))
	for b.Loop() {
		for _, v := range h {
			sink = ToFloat32(v)
		}
	}
}
