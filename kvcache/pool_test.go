package kvcache

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestPoolModel runs random operations against a map of reference counts.
func TestPoolModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 8).Draw(t, "blocks")
		p, model := NewPool(n), map[int32]int{}
		held := func() []int32 {
			var list []int32
			for b := range model {
				list = append(list, b)
			}
			slices.Sort(list)
			return list
		}
		t.Repeat(map[string]func(*rapid.T){
			"alloc": func(t *rapid.T) {
				b, ok := p.Alloc()
				if ok != (len(model) < n) {
					t.Fatalf("Alloc says %v with %d of %d held", ok, len(model), n)
				}
				if ok {
					if model[b] != 0 || b < 0 || int(b) >= n {
						t.Fatalf("Alloc gave block %d, held %d times", b, model[b])
					}
					model[b] = 1
				}
			},
			"retain": func(t *rapid.T) {
				if len(model) == 0 {
					t.Skip()
				}
				b := rapid.SampledFrom(held()).Draw(t, "block")
				p.Retain(b)
				model[b]++
			},
			"release": func(t *rapid.T) {
				if len(model) == 0 {
					t.Skip()
				}
				b := rapid.SampledFrom(held()).Draw(t, "block")
				p.Release(b)
				if model[b]--; model[b] == 0 {
					delete(model, b)
				}
			},
			"": func(t *rapid.T) {
				if p.Free() != n-len(model) || p.Total() != n {
					t.Fatalf("free %d of %d, model holds %d", p.Free(), p.Total(), len(model))
				}
				if err := p.Check(); err != nil {
					t.Fatal(err)
				}
			},
		})
	})
}

// TestPoolCheck: the ledger's check sees each way of breaking it.
func TestPoolCheck(t *testing.T) {
	for name, spoil := range map[string]func(*Pool){
		"free twice":   func(p *Pool) { p.free = append(p.free, p.free[0]) },
		"free in use":  func(p *Pool) { p.refs[p.free[0]] = 1 },
		"lost":         func(p *Pool) { p.free = p.free[1:] },
		"negative use": func(p *Pool) { p.refs[0] = -1 },
	} {
		p := NewPool(4)
		p.Alloc()
		spoil(p)
		if p.Check() == nil {
			t.Errorf("%s: not noticed", name)
		}
	}
}

// TestPoolBugs: what only a bug can do stops at once.
func TestPoolBugs(t *testing.T) {
	for name, do := range map[string]func(*Pool, int32){
		"release twice":     func(p *Pool, b int32) { p.Release(b); p.Release(b) },
		"retain of nothing": func(p *Pool, b int32) { p.Release(b); p.Retain(b) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			p := NewPool(2)
			b, _ := p.Alloc()
			do(p, b)
		}()
	}
}
