package kvcache

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/holdfast-run/holdfast/internal/testkit/until"
)

// windowSeq is a sequence with blocks of both pools. Its window blocks are those
// of blocks[from:].
type windowSeq struct {
	modelSeq
	from   int
	window []int32
}

// TestWindowModel runs random sequences whose window blocks are given back as
// they go on, and are found again or not by the hit rule.
func TestWindowModel(t *testing.T) {
	hits, short, evictions, shared, cleared := 0, 0, 0, 0, 0
	property := func(t *rapid.T) {
		clears := rapid.Bool().Draw(t, "clears") // or else what is long in coming would be rare
		total, windows := rapid.IntRange(0, 12).Draw(t, "blocks"), rapid.IntRange(0, 12).Draw(t, "window blocks")
		p := NewWindowPool(total, windows, rapid.IntRange(1, 100).Draw(t, "window"))
		root, _ := p.Root(Hash{})
		full, window := map[int32]string{}, map[int32]string{} // contents, while known
		var seqs []*windowSeq
		pick := func(t *rapid.T) *windowSeq {
			if len(seqs) == 0 {
				t.Skip()
			}
			return rapid.SampledFrom(seqs).Draw(t, "sequence")
		}
		whole := func(t *rapid.T) *windowSeq {
			s := pick(t)
			if s.lost {
				t.Skip()
			}
			return s
		}
		end := func(s *windowSeq) {
			for _, b := range slices.Backward(s.blocks) {
				p.Release(b)
			}
			for _, b := range s.window {
				p.ReleaseWindow(b)
			}
			seqs = slices.DeleteFunc(seqs, func(o *windowSeq) bool { return o == s })
		}
		t.Repeat(map[string]func(*rapid.T){
			"start": func(t *rapid.T) {
				s := &windowSeq{modelSeq: modelSeq{root: root, symbols: rapid.SliceOfN(rapid.Int32Range(0, 1), 0, 6).Draw(t, "prompt")}}
				s.blocks = p.Match(nil, root, s.tokens())
				n := len(s.blocks)
				s.from = p.WindowFrom(n * BlockTokens)
				s.window = p.MatchWindow(nil, s.blocks)
				for i, b := range s.blocks {
					if full[b] != s.key(i+1) {
						t.Fatalf("block %d holds %q, matched for %q", b, full[b], s.key(i+1))
					}
				}
				if len(s.window) != n-s.from || n > 0 && (n-s.from)*BlockTokens < min(p.Window(), n*BlockTokens) {
					t.Fatalf("%d window blocks for %d blocks from %d", len(s.window), n, s.from)
				}
				for i, b := range s.window {
					if window[b] != s.key(s.from+i+1) {
						t.Fatalf("window block %d holds %q, matched for %q", b, window[b], s.key(s.from+i+1))
					}
				}
				hits += n
				more := &modelSeq{root: root, symbols: s.symbols}
				if n < len(s.symbols) && slices.ContainsFunc(keys(full), func(b int32) bool { return p.index.has(b) && full[b] == more.key(n+1) }) {
					short++ // the next block is known, but not what it looks back on
				}
				s.sealed, s.symbols = n, s.symbols[:n]
				seqs = append(seqs, s)
			},
			"grow": func(t *rapid.T) {
				s := whole(t)
				if s.sealed < len(s.blocks) {
					t.Skip()
				}
				for s.from < p.WindowFrom(len(s.blocks)*BlockTokens) {
					p.ReleaseWindow(s.window[0])
					s.window, s.from = s.window[1:], s.from+1
				}
				b, ok := p.Alloc()
				if !ok {
					t.Skip()
				}
				cached := p.window.cached
				w, ok := p.AllocWindow()
				if !ok {
					p.Release(b)
					t.Skip()
				}
				if p.window.cached < cached {
					evictions++
				}
				delete(full, b)
				delete(window, w)
				s.blocks, s.window = append(s.blocks, b), append(s.window, w)
				s.symbols = append(s.symbols, rapid.Int32Range(0, 1).Draw(t, "symbol"))
			},
			"seal": func(t *rapid.T) {
				s := whole(t)
				if s.sealed == len(s.blocks) {
					t.Skip()
				}
				p.Seal(root, s.blocks, s.sealed, s.tokens())
				b, w := s.blocks[s.sealed], &s.window[s.sealed-s.from]
				s.sealed++
				full[b] = s.key(s.sealed)
				was := *w
				if *w = p.SealWindow(b, *w); *w != was {
					shared++
					if window[*w] != s.key(s.sealed) {
						t.Fatalf("window block %d holds %q, given for %q", *w, window[*w], s.key(s.sealed))
					}
				}
				window[*w] = s.key(s.sealed)
			},
			"end": func(t *rapid.T) { end(pick(t)) },
			"clear": func(t *rapid.T) {
				if !clears || rapid.IntRange(0, 9).Draw(t, "really") > 0 {
					t.Skip()
				}
				p.Clear()
				clear(full)
				clear(window)
				for _, s := range seqs {
					s.lost = true
				}
				if p.Cached() != 0 || p.window.cached != 0 {
					t.Fatalf("%d blocks and %d window blocks are cached after all is forgotten", p.Cached(), p.window.cached)
				}
				cleared++
			},
			"": func(t *rapid.T) {
				if err := p.Check(); err != nil {
					t.Fatal(err)
				}
			},
		})
		for len(seqs) > 0 {
			end(seqs[0])
		}
		if err := p.Check(); err != nil || p.Free() != total || p.window.available() != windows {
			t.Fatalf("%d of %d blocks, %d of %d window blocks are free at the end: %v", p.Free(), total, p.window.available(), windows, err)
		}
	}
	until.Reached(t, property, func() bool { return hits > 0 && short > 0 && evictions > 0 && shared > 0 && cleared > 0 }, func() string {
		return fmt.Sprintf("%d hits, %d cut short by the window, %d evictions, %d shared, all forgotten %d times", hits, short, evictions, shared, cleared)
	})
}

func keys(m map[int32]string) (list []int32) {
	for k := range m {
		list = append(list, k)
	}
	return list
}
