package cpu

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"
)

// TestResidual: x is what its quantised form and the residual make together, as
// nearly as a float32 can say; the residual is of the very q and d of Quantize.
func TestResidual(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	const n = 96
	x, rest := make([]float32, n), make([]float32, n)
	for i := range x {
		x[i] = float32(rng.NormFloat64() * 10)
	}
	clear(x[32:64]) // a block of zeros
	for _, tier := range Tiers() {
		k, err := For(tier)
		if err != nil {
			t.Fatal(err)
		}
		k.Residual(rest, x)
		tile := make([]byte, TileBytes(n, 1))
		k.Quantize(tile, x, n, n, 1)
		for i := range x {
			block := tile[i/blockK*tileBlockBytes:]
			d := math.Float32frombits(binary.LittleEndian.Uint32(block[blockK:]))
			if want := x[i] - float32(d*float32(int8(block[i%blockK]))); rest[i] != want {
				t.Fatalf("%v: residual %d is %g, want %g", tier, i, rest[i], want)
			}
			if math.Abs(float64(rest[i])) > 0.5001*float64(d) {
				t.Errorf("%v: residual %d is %g, more than half of d = %g", tier, i, rest[i], d)
			}
		}
	}
}
