package cpu

import (
	"bytes"
	"math"
	"testing"

	"github.com/holdfast-run/holdfast/graph"
	"github.com/holdfast-run/holdfast/internal/f16"
)

func TestStore(t *testing.T) {
	rng := newRand(5)
	forTiers(t, func(t *testing.T, k *Kernels) {
		for _, dim := range []int{2, 10, 16, 64, 80, 96, 128, 256, 300} {
			for _, typ := range []graph.DType{graph.F32, graph.F16} {
				keys, values := aligned(KVBytes(typ, dim)+8), aligned(KVBytes(typ, dim)+8)
				var all [BlockSlots][]float32
				for slot := range BlockSlots {
					all[slot] = hard(rng, make([]float32, dim), false)
					k.StoreK(keys[:KVBytes(typ, dim)], typ, dim, slot, all[slot])
					k.StoreV(values[:KVBytes(typ, dim)], typ, dim, slot, all[slot])
				}
				for slot, v := range all {
					for d, x := range v {
						if typ == graph.F16 {
							x = f16.ToFloat32(f16.FromFloat32(x))
						}
						gotK := keyAt(unsafePointer(keys), typ, d, slot)
						gotV := valueAt(unsafePointer(values), typ, dim, slot, d)
						if !same(gotK, x) || !same(gotV, x) {
							t.Fatalf("%v dim %d: slot %d, dimension %d holds %v and %v, want %v", typ, dim, slot, d, gotK, gotV, x)
						}
					}
				}
				for i := range 8 {
					if keys[KVBytes(typ, dim)+i] != 0 || values[KVBytes(typ, dim)+i] != 0 {
						t.Fatal("wrote behind a block")
					}
				}
			}
		}
	})
}

// transformed is the Walsh-Hadamard transform of 32 values, by halves.
func transformed(x []float32) []float32 {
	if len(x) == 1 {
		return x
	}
	a, b := transformed(x[:len(x)/2]), transformed(x[len(x)/2:])
	out := make([]float32, len(x))
	for i := range a {
		out[i], out[i+len(a)] = a[i]+b[i], a[i]-b[i]
	}
	return out
}

// quantised is what KV of Q8_0 keeps of 32 values, by the rule of docs/NUMERICS.md.
func quantised(x []float32) []float32 {
	x = transformed(x)
	amax, out := 0.0, make([]float32, 32)
	for _, v := range x {
		amax = max(amax, math.Abs(float64(v)))
	}
	if amax < 0x1p-100 {
		return out
	}
	d := f16.ToFloat32(f16.FromFloat32(float32(amax) / 127))
	for i, v := range x {
		q := 0
		if !math.IsInf(amax, 1) && amax == amax {
			q = int(math.RoundToEven(float64(float32(v * float32(127/float32(amax))))))
		}
		out[i] = d * float32(q)
	}
	return out
}

// TestStoreQuants: a slot holds what the rule says, the same bytes in all tiers, and
// no other slot changes.
func TestStoreQuants(t *testing.T) {
	generic, _ := For(Generic)
	for _, dim := range []int{32, 64, 96, 256, 320} {
		rng := newRand(uint64(dim))
		n := KVBytes(graph.Q8_0, dim)
		wantK, wantV := aligned(n), aligned(n)
		var all [BlockSlots][]float32
		for slot := range BlockSlots {
			all[slot] = normals(rng, make([]float32, dim), math.Pow(10, float64(rng.IntN(12)-7)))
			switch slot {
			case 5:
				hard(rng, all[slot], true)
			case 6:
				hard(rng, all[slot], false)
			case 7:
				clear(all[slot])
			case 8:
				all[slot][3] = 1e7 // the scale is no finite f16
			case 9: // the scale is no f16 but 0
				normals(rng, all[slot], 1e-7)
			}
			generic.StoreK(wantK, graph.Q8_0, dim, slot, all[slot])
			generic.StoreV(wantV, graph.Q8_0, dim, slot, all[slot])
		}
		for slot, x := range all {
			for at := 0; at < dim; at += 32 {
				want := quantised(x[at : at+32])
				for i, w := range want {
					k := keyAt(unsafePointer(wantK), graph.Q8_0, at+i, slot)
					v := valueAt(unsafePointer(wantV), graph.Q8_0, dim, slot, at+i)
					if !same(k, w) || !same(v, w) {
						t.Fatalf("dim %d: slot %d, dimension %d holds %v and %v, want %v", dim, slot, at+i, k, v, w)
					}
				}
			}
		}
		forTiers(t, func(t *testing.T, k *Kernels) {
			keys, values := aligned(n+8), aligned(n+8)
			for slot, x := range all {
				k.StoreK(keys[:n], graph.Q8_0, dim, slot, x)
				k.StoreV(values[:n], graph.Q8_0, dim, slot, x)
			}
			if !bytes.Equal(keys[:n], wantK) || !bytes.Equal(values[:n], wantV) {
				t.Errorf("dim %d: other bytes than generic's", dim)
			}
			if !bytes.Equal(keys[n:], make([]byte, 8)) || !bytes.Equal(values[n:], make([]byte, 8)) {
				t.Error("wrote behind a block")
			}
		})
	}
}

// TestHadamard: all tiers give the bits of the definition, which multiplies by 32 where
// it is applied twice.
func TestHadamard(t *testing.T) {
	forTiers(t, func(t *testing.T, k *Kernels) {
		for seed := range uint64(40) {
			n := 32 * (1 + int(seed)%5)
			x, check := canaries(n)
			hard(newRand(seed), x, seed%2 == 1)
			var want []float32
			for at := 0; at < n; at += 32 {
				want = append(want, transformed(x[at:at+32])...)
			}
			k.Hadamard(x)
			check(t, "Hadamard")
			equal(t, "transform", x, want)
		}
		var x, want [32]float32
		for i := range x {
			x[i], want[i] = float32(i*i), float32(HadamardSquare*i*i)
		}
		k.Hadamard(x[:])
		k.Hadamard(x[:])
		equal(t, "transformed twice", x[:], want[:])
	})
}
