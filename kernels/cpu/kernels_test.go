package cpu

import (
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/graph"
)

func TestSelect(t *testing.T) {
	ts := Tiers()
	if len(ts) == 0 || ts[0] != Generic {
		t.Fatalf("Tiers() = %v", ts)
	}
	for _, tier := range ts {
		if arm := tier == SDOT || tier == I8MM; tier != Generic && arm != (runtime.GOARCH == "arm64") {
			t.Errorf("a tier of another architecture is available: %v", ts)
		}
	}
	t.Setenv(TierVariable, "")
	if k, err := Select(); err != nil || k.Tier != ts[len(ts)-1] {
		t.Errorf("Select() = %v, %v; want %v", k, err, ts[len(ts)-1])
	}
	for tier := Generic; tier < numTiers; tier++ {
		t.Setenv(TierVariable, tier.String())
		k, err := Select()
		if available(tier) != (err == nil) || err == nil && k.Tier != tier {
			t.Errorf("Select() of %v = %v, %v", tier, k, err)
		}
	}
	t.Setenv(TierVariable, "sse9")
	if _, err := Select(); err == nil || !strings.Contains(err.Error(), "sse9") {
		t.Errorf("Select() of an unknown tier: %v", err)
	}
	if _, err := For(Tier(9)); err == nil {
		t.Error("For(9) is no error")
	}
}

// TestAllocations: no kernel allocates, nor makes its caller's locals escape.
func TestAllocations(t *testing.T) {
	const kdim, rows, m, dim = 256, 48, 8, 64
	rng := newRand(1)
	x, y, w := normals(rng, make([]float32, 2048), 1), make([]float32, 2048), make([]float32, 2048)
	matrices := make(map[graph.DType]*Matrix)
	for _, typ := range []graph.DType{graph.Q4_1, graph.Q6_K, graph.F16} {
		matrices[typ] = pack(t, typ, rows, kdim, randomRows(rng, typ, rows, kdim))
	}
	tile, floatTile := aligned(TileBytes(kdim, m)), aligned(FloatTileBytes(kdim, m))
	kv := aligned(2 * 8 * KVBytes(graph.F16, dim))
	scratch := make([]float32, AttendScratch(m, dim))
	forTiers(t, func(t *testing.T, k *Kernels) {
		for name, f := range map[string]func(){
			"Quantize":  func() { k.Quantize(tile, x, kdim, kdim, m) },
			"FloatTile": func() { k.FloatTile(floatTile, x, kdim, kdim, m) },
			"Linear": func() {
				k.Linear(y, rows, tile, m, matrices[graph.Q4_1], 0, 3)
				k.Linear(y, rows, tile, m, matrices[graph.Q6_K], 0, 3)
				k.Linear(y, rows, floatTile, m, matrices[graph.F16], 0, 3)
			},
			"vectors": func() {
				k.RMSNorm(y, x, w, 1e-5)
				k.Add(y, x, w)
				k.Mul(y, x, w)
				k.SiLUMul(y, x, w)
				k.ScaleTo(y, x, 2)
				k.RoPE(y, 4, 64, x[:32], w[:32], false)
				k.ArgMax(x)
				k.Hadamard(y)
			},
			"attention": func() {
				// Locals of the caller, which must stay on its stack.
				var first, last [m]int32
				var ms, ls [m]float32
				for i := range last {
					last[i] = 200
				}
				for _, typ := range kvTypes[1:] {
					c := Chunk{Type: typ, Dim: dim}
					for b := range c.K {
						c.K[b] = unsafePointer(kv[2*b*KVBytes(typ, dim):])
						c.V[b] = unsafePointer(kv[(2*b+1)*KVBytes(typ, dim):])
					}
					k.StoreK(kv, typ, dim, 3, x)
					k.StoreV(kv, typ, dim, 3, x)
					k.AttendChunk(&c, x, m, first[:], last[:], scratch, ms[:], ls[:], y)
				}
				var M, L [2]float32
				var A [2 * dim]float32
				k.MergeChunks(M[:], L[:], A[:], ms[:], ls[:], y, 2, dim)
				k.MergeChunks(M[:], L[:], A[:], ms[2:], ls[2:], y[2*dim:], 2, dim)
				k.Finish(A[:], A[:], L[0])
			},
		} {
			if n := testing.AllocsPerRun(10, f); n != 0 {
				t.Errorf("%s allocates %v times", name, n)
			}
		}
	})
}

// TestSafepoints: a thread that does nothing but call kernels does not hold up a
// garbage collection, which takes seconds where assembly has no safepoint.
func TestSafepoints(t *testing.T) {
	const kdim, rows = 4096, 16 * 64
	w := pack(t, graph.Q4_1, rows, kdim, make([]byte, graph.Q4_1.RowBytes(kdim)*rows))
	forTiers(t, func(t *testing.T, k *Kernels) {
		if k.Tier == Generic {
			return
		}
		var stop atomic.Bool
		var wg sync.WaitGroup
		wg.Go(func() {
			runtime.LockOSThread()
			x, y := make([]float32, 8*kdim), make([]float32, 8*rows)
			tile := tileOf(k, w, x, kdim, 8)
			for !stop.Load() {
				k.Linear(y, rows, tile, 8, w, 0, w.Groups())
			}
		})
		time.Sleep(5 * time.Millisecond)
		// A busy machine may stall many collections, not all of a minute.
		best, tries := time.Hour, 0
		for end := time.Now().Add(time.Minute); tries < 5 || best > 200*time.Millisecond && time.Now().Before(end); tries++ {
			start := time.Now()
			runtime.GC()
			best = min(best, time.Since(start))
		}
		stop.Store(true)
		wg.Wait()
		if best > 200*time.Millisecond {
			t.Errorf("the fastest of %d collections took %v", tries, best)
		}
		t.Logf("the fastest of %d collections took %v", tries, best)
	})
}

// TestStackGrowth calls kernels on small stacks, so that their frames make the
// stack move while pointers into it are arguments.
func TestStackGrowth(t *testing.T) {
	forTiers(t, func(t *testing.T, k *Kernels) {
		var wg sync.WaitGroup
		for range 200 {
			wg.Go(func() {
				var a, b [64]float32
				for i := range a {
					a[i] = float32(i)
				}
				deepen(20, func() { k.Add(b[:], a[:], a[:]) })
				for i, v := range b {
					if v != float32(2*i) {
						t.Errorf("value %d is %v", i, v)
						return
					}
				}
			})
		}
		wg.Wait()
	})
}

//go:noinline
func deepen(n int, f func()) {
	if f(); n > 0 {
		deepen(n-1, f)
	}
}

// TestContracts: a broken contract is a panic that names it, not a fault.
func TestContracts(t *testing.T) {
	w := pack(t, graph.Q4_1, 16, 32, make([]byte, 320))
	tile, x := make([]byte, TileBytes(32, 1)), make([]float32, 64)
	k, _ := For(Tiers()[len(Tiers())-1])
	for name, f := range map[string]func(){
		"short y":    func() { k.Linear(x[:15], 16, tile, 1, w, 0, 1) },
		"short tile": func() { k.Linear(x, 16, tile[:47], 1, w, 0, 1) },
		"group":      func() { k.Linear(x, 16, tile, 1, w, 0, 2) },
		"tokens":     func() { k.Linear(x, 16, tile, 9, w, 0, 1) },
		"stride":     func() { k.Linear(x, 8, make([]byte, 96), 2, w, 0, 1) },
		"kdim":       func() { k.Quantize(tile, x, 33, 33, 1) },
		"short x":    func() { k.Quantize(tile, x[:31], 32, 32, 1) },
		"add":        func() { k.Add(x, x[:63], x) },
		"rope":       func() { k.RoPE(x, 2, 16, x[:16], x[:16], false) },
		"KV slot":    func() { k.StoreK(make([]byte, 64*16), graph.F16, 16, 32, x) },
		"KV block":   func() { k.StoreV(make([]byte, 64*16-1), graph.F16, 16, 0, x) },
		"visible": func() {
			k.AttendChunk(&Chunk{Type: graph.F16, Dim: 16}, x, 1, []int32{0}, []int32{257}, make([]float32, 256), x, x, x)
		},
		"type": func() {
			k.AttendChunk(&Chunk{Type: graph.Q8_0, Dim: 48}, x, 1, []int32{0}, []int32{1}, make([]float32, 256), x, x, x)
		},
		"transform":    func() { k.Hadamard(x[:48]) },
		"quants":       func() { k.StoreK(make([]byte, 64*34), graph.Q8_0, 48, 0, x) },
		"weights type": func() { k.Linear(x, 16, tile, 1, &Matrix{Type: graph.I32, Rows: 16, K: 32, Data: w.Data}, 0, 1) },
	} {
		func() {
			defer func() {
				if s, ok := recover().(string); !ok || !strings.HasPrefix(s, "BUG: cpu:") {
					t.Errorf("%s: no panic that says BUG", name)
				}
			}()
			f()
		}()
	}
}
