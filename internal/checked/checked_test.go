package checked

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
)

func TestAgainstBig(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	pick := func() uint64 { return r.Uint64() >> r.IntN(64) }
	edges := []uint64{0, 1, 2, 1<<32 - 1, 1 << 32, 1<<63 - 1, 1 << 63, math.MaxUint64}
	check := func(op string, a, b, got uint64, ok bool, want *big.Int) {
		t.Helper()
		if ok != want.IsUint64() || ok && got != want.Uint64() {
			t.Fatalf("%s(%d, %d) = %d, %v; want %v", op, a, b, got, ok, want)
		}
	}
	both := func(a, b uint64) {
		x, y := new(big.Int).SetUint64(a), new(big.Int).SetUint64(b)
		sum, ok := Add(a, b)
		check("Add", a, b, sum, ok, new(big.Int).Add(x, y))
		product, ok := Mul(a, b)
		check("Mul", a, b, product, ok, new(big.Int).Mul(x, y))
	}
	for _, a := range edges {
		for _, b := range edges {
			both(a, b)
		}
	}
	for range 10_000 {
		both(pick(), pick())
	}
}

func TestAlignUp(t *testing.T) {
	for _, c := range []struct {
		n, align, want uint64
		ok             bool
	}{
		{0, 32, 0, true},
		{1, 32, 32, true},
		{32, 32, 32, true},
		{33, 1, 33, true},
		{1, 1 << 63, 1 << 63, true},
		{1<<63 + 1, 1 << 63, 0, false},
		{math.MaxUint64, 2, 0, false},
		{math.MaxUint64, 1, math.MaxUint64, true},
		{5, 0, 0, false},
		{5, 3, 0, false},
	} {
		got, ok := AlignUp(c.n, c.align)
		if ok != c.ok || ok && got != c.want {
			t.Errorf("AlignUp(%d, %d) = %d, %v; want %d, %v", c.n, c.align, got, ok, c.want, c.ok)
		}
	}
}
