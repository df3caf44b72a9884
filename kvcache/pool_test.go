package kvcache

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/holdfast-run/holdfast/internal/testkit/until"
)

// model is what a pool should do: sequences with their contents, and what each
// block holds. A block's tokens are one symbol, repeated.
type model struct {
	pool     *Pool
	total    int
	seqs     []*modelSeq
	contents map[int32]string // per block ever sealed and not yet reused: root and symbols up to it
}

type modelSeq struct {
	root    Root
	symbols []int32
	blocks  []int32
	sealed  int
	lost    bool // since a Clear: it only ends
}

func (s *modelSeq) tokens() []int32 {
	var tokens []int32
	for _, sym := range s.symbols {
		for range BlockTokens {
			tokens = append(tokens, sym)
		}
	}
	return tokens
}

// key names the contents of the sequence's first n blocks.
func (s *modelSeq) key(n int) string { return fmt.Sprint(s.root, s.symbols[:n]) }

// TestPoolModel runs random sequences that match, grow, seal and end.
func TestPoolModel(t *testing.T) {
	hits, evictions, changes, forgotten, cleared := 0, 0, 0, 0, 0
	property := func(t *rapid.T) {
		clears := rapid.Bool().Draw(t, "clears") // or else what is long in coming would be rare
		total := rapid.IntRange(0, 12).Draw(t, "blocks")
		m := &model{pool: NewPool(total), total: total, contents: map[int32]string{}}
		pick := func(t *rapid.T) *modelSeq {
			if len(m.seqs) == 0 {
				t.Skip()
			}
			return rapid.SampledFrom(m.seqs).Draw(t, "sequence")
		}
		whole := func(t *rapid.T) *modelSeq {
			s := pick(t)
			if s.lost {
				t.Skip()
			}
			return s
		}
		t.Repeat(map[string]func(*rapid.T){
			"start": func(t *rapid.T) {
				identity := Hash{byte(rapid.IntRange(0, 1).Draw(t, "root"))}
				root, ok := m.pool.Root(identity)
				if !ok {
					t.Fatal("no root")
				}
				s := &modelSeq{root: root, symbols: rapid.SliceOfN(rapid.Int32Range(0, 1), 0, 5).Draw(t, "prompt")}
				s.blocks = m.pool.Match(nil, root, s.tokens())
				for i, b := range s.blocks {
					if m.contents[b] != s.key(i+1) {
						t.Fatalf("block %d holds %q, matched for %q", b, m.contents[b], s.key(i+1))
					}
				}
				hits += len(s.blocks)
				s.sealed = len(s.blocks)
				s.symbols = s.symbols[:s.sealed]
				m.seqs = append(m.seqs, s)
			},
			"grow": func(t *rapid.T) {
				s := whole(t)
				if s.sealed < len(s.blocks) {
					t.Skip() // seal first, as the scheduler does
				}
				cached := m.pool.Cached()
				b, ok := m.pool.Alloc()
				if ok != (m.held() < m.total) {
					t.Fatalf("Alloc says %v with %d of %d held", ok, m.held(), m.total)
				}
				if !ok {
					return
				}
				if m.pool.Cached() < cached {
					evictions++
				}
				delete(m.contents, b)
				s.blocks = append(s.blocks, b)
				s.symbols = append(s.symbols, rapid.Int32Range(0, 1).Draw(t, "symbol"))
			},
			"seal": func(t *rapid.T) {
				s := whole(t)
				if s.sealed == len(s.blocks) {
					t.Skip()
				}
				own := s.blocks[s.sealed]
				changed := m.pool.Seal(s.root, s.blocks, s.sealed, s.tokens())
				b := s.blocks[s.sealed]
				s.sealed++
				if changed != (b != own) || changed && m.contents[b] != s.key(s.sealed) {
					t.Fatalf("sealed block %d as %d, which holds %q", own, b, m.contents[b])
				}
				if changed {
					changes++
				}
				m.contents[b] = s.key(s.sealed)
			},
			"fork": func(t *rapid.T) {
				s := whole(t)
				f := &modelSeq{root: s.root, symbols: slices.Clone(s.symbols[:s.sealed]), blocks: slices.Clone(s.blocks[:s.sealed]), sealed: s.sealed}
				for _, b := range f.blocks {
					m.pool.Retain(b)
				}
				m.seqs = append(m.seqs, f)
			},
			"end": func(t *rapid.T) {
				s := pick(t)
				for _, b := range slices.Backward(s.blocks) {
					m.pool.Release(b)
				}
				m.seqs = slices.DeleteFunc(m.seqs, func(o *modelSeq) bool { return o == s })
			},
			"forget": func(t *rapid.T) {
				root, _ := m.pool.Root(Hash{byte(rapid.IntRange(0, 1).Draw(t, "root"))})
				s := &modelSeq{root: root, symbols: rapid.SliceOfN(rapid.Int32Range(0, 1), 0, 5).Draw(t, "prompt")}
				cached := m.pool.Cached()
				n := m.pool.Forget(root, s.tokens())
				if m.pool.Cached() != cached-n {
					t.Fatalf("forgot %d blocks, of %d cached ones %d are left", n, cached, m.pool.Cached())
				}
				found := m.pool.Match(nil, root, s.tokens())
				if last := len(found) - 1; last >= 0 && m.pool.blocks[found[last]].refs == 1 && m.pool.blocks[found[last]].kin == 0 {
					t.Fatalf("block %d, which nobody held and nothing continued, was not forgotten", found[last])
				}
				for _, b := range slices.Backward(found) {
					m.pool.Release(b)
				}
				forgotten += n
			},
			"clear": func(t *rapid.T) {
				if !clears || rapid.IntRange(0, 9).Draw(t, "really") > 0 {
					t.Skip()
				}
				m.pool.Clear()
				clear(m.contents)
				for _, s := range m.seqs {
					s.lost = true
				}
				if m.pool.Cached() != 0 {
					t.Fatalf("%d blocks are cached after all is forgotten", m.pool.Cached())
				}
				cleared++
			},
			"": func(t *rapid.T) {
				if m.pool.Free() != m.total-m.held() || m.pool.Total() != m.total {
					t.Fatalf("free %d of %d, model holds %d", m.pool.Free(), m.pool.Total(), m.held())
				}
				if err := m.pool.Check(); err != nil {
					t.Fatal(err)
				}
			},
		})
	}
	until.Reached(t, property, func() bool { return hits > 0 && evictions > 0 && changes > 0 && forgotten > 0 && cleared > 0 }, func() string {
		return fmt.Sprintf("%d hits, %d evictions, %d changes to an equal block, %d forgotten, all forgotten %d times", hits, evictions, changes, forgotten, cleared)
	})
}

// held returns how many different blocks the sequences hold.
func (m *model) held() int {
	held := map[int32]bool{}
	for _, s := range m.seqs {
		for _, b := range s.blocks {
			held[b] = true
		}
	}
	return len(held)
}

// tokensOf returns n blocks of tokens that no other seed has.
func tokensOf(seed, n int) []int32 {
	tokens := make([]int32, n*BlockTokens)
	for i := range tokens {
		tokens[i] = int32(seed*1_000_003 + i)
	}
	return tokens
}

// fill computes and seals all of tokens in a sequence of its own.
func fill(p *Pool, r Root, tokens []int32) []int32 {
	blocks := p.Match(nil, r, tokens)
	for i := len(blocks); i < len(tokens)/BlockTokens; i++ {
		b, ok := p.Alloc()
		if !ok {
			panic("pool is full")
		}
		blocks = append(blocks, b)
		p.Seal(r, blocks, i, tokens)
	}
	return blocks
}

func release(p *Pool, blocks []int32) {
	for _, b := range slices.Backward(blocks) {
		p.Release(b)
	}
}

// TestEvictionOrder: the least recently used goes first, and of one sequence the
// end before the beginning.
func TestEvictionOrder(t *testing.T) {
	p := NewPool(4)
	r, _ := p.Root(Hash{})
	a, b := tokensOf(1, 2), tokensOf(2, 2)
	release(p, fill(p, r, a))
	release(p, fill(p, r, b))
	release(p, p.Match(nil, r, a)) // a is now the more recent
	p.Alloc()
	if n := len(p.Match(nil, r, b)); n != 1 {
		t.Errorf("%d blocks of b are left, want its first", n)
	}
	if n := len(p.Match(nil, r, a)); n != 2 {
		t.Errorf("%d blocks of a are left, want both", n)
	}
}

// TestCollision: equal hashes with other tokens are no match.
func TestCollision(t *testing.T) {
	p := NewPool(4)
	r, _ := p.Root(Hash{})
	a := tokensOf(1, 1)
	blocks := fill(p, r, a)
	hash := p.index.hash[blocks[0]]
	b := tokensOf(2, 1)
	if found := p.index.find(firstParent(r), b, hash); found != none {
		t.Errorf("found block %d by its hash alone", found)
	}
	if found := p.index.find(firstParent(r)-1, a, hash); found != none {
		t.Errorf("found block %d of another parent", found)
	}
}

// TestMatchGoesOn: a match behind blocks that the caller holds already finds
// what one from the start finds.
func TestMatchGoesOn(t *testing.T) {
	p := NewPool(16)
	r, _ := p.Root(Hash{})
	other, _ := p.Root(Hash{1})
	tokens := tokensOf(1, 6)
	release(p, fill(p, r, tokens))
	release(p, fill(p, other, tokens))
	whole := p.Match(nil, r, tokens)
	for n := range whole {
		if got := p.Match(slices.Clone(whole[:n]), r, tokens); !slices.Equal(got, whole) {
			t.Errorf("behind %d blocks: %v, want %v", n, got, whole)
		} else {
			release(p, got[n:])
		}
	}
	release(p, whole)
	if err := p.Check(); err != nil || p.Free() != p.Total() {
		t.Errorf("%d of %d free: %v", p.Free(), p.Total(), err)
	}
}

// TestPoolCheck: the ledger's check sees each way of breaking it.
func TestPoolCheck(t *testing.T) {
	for name, spoil := range map[string]func(*Pool){
		"free twice":      func(p *Pool) { p.free = append(p.free, p.free[0]) },
		"free in use":     func(p *Pool) { p.blocks[p.free[0]].refs = 1 },
		"lost":            func(p *Pool) { p.free = p.free[1:] },
		"negative use":    func(p *Pool) { p.blocks[0].refs = -1 },
		"cached, unknown": func(p *Pool) { p.index.remove(p.oldest) },
		"miscounted":      func(p *Pool) { p.cached++ },
		"child forgotten": func(p *Pool) { p.blocks[p.newest].kin = 0 },
		"table":           func(p *Pool) { clear(p.index.table) },
		"tokens":          func(p *Pool) { p.index.hash[p.oldest]++ },
	} {
		p := NewPool(8)
		r, _ := p.Root(Hash{})
		p.Alloc()
		release(p, fill(p, r, tokensOf(1, 3)))
		if err := p.Check(); err != nil {
			t.Fatal(err)
		}
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
		"seal of nothing":   func(p *Pool, b int32) { p.Release(b); p.Seal(0, []int32{b}, 0, tokensOf(1, 1)) },
		"seal twice": func(p *Pool, b int32) {
			p.Seal(0, []int32{b}, 0, tokensOf(1, 1))
			p.Seal(0, []int32{b}, 0, tokensOf(1, 1))
		},
		"child first": func(p *Pool, b int32) {
			c, _ := p.Alloc()
			p.Seal(0, []int32{b, c}, 1, tokensOf(1, 2))
		},
		"prefix released first": func(p *Pool, b int32) {
			blocks := fill(p, 0, tokensOf(1, 1))
			blocks = append(blocks, b)
			p.Seal(0, blocks, 1, tokensOf(1, 2))
			p.Release(blocks[0])
			p.Release(blocks[1])
			for range 4 {
				p.Alloc()
			}
		},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			p := NewPool(4)
			p.Root(Hash{})
			b, _ := p.Alloc()
			do(p, b)
		}()
	}
}

func TestPoolAllocatesNothing(t *testing.T) {
	p := NewPool(64)
	r, _ := p.Root(Hash{})
	tokens := [2][]int32{tokensOf(1, 40), tokensOf(2, 40)}
	dst := make([]int32, 0, 64)
	i := 0
	if n := testing.AllocsPerRun(100, func() {
		i++
		dst = p.Match(dst[:0], r, tokens[i%2])
		for len(dst) < 40 {
			b, _ := p.Alloc()
			dst = append(dst, b)
			p.Seal(r, dst, len(dst)-1, tokens[i%2])
		}
		release(p, dst)
	}); n != 0 {
		t.Errorf("%v allocations a turn", n)
	}
}
