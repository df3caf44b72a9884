package sampler

import (
	"math/bits"
	"slices"
)

// History counts the tokens of a sequence, for penalties, and holds its output,
// for bad words and MinTokens. Asking for it costs the number of distinct tokens,
// not of the vocabulary; a token more or less costs O(1). The zero value is an
// empty sequence. Preemption leaves a History as it is, because the tokens stay;
// a fork takes a Clone; tokens taken back (drafts not accepted) are truncated.
//
// It is for one goroutine at a time, but may be read by many.
type History struct {
	prompt int     // tokens
	made   []int32 // the output
	seen   []Seen  // distinct tokens, by first appearance
	// slots is a hash table with linear probing, of indices into seen plus 1, at
	// most half full, of a power of two's size. Tokens leave it in the reverse of
	// the order in which they came, so that no later token was placed past a slot
	// when it is cleared.
	slots []uint32
	shift uint8 // 32 less the bits of a slot's number
}

// Seen is a token that stands in a sequence.
type Seen struct {
	Token  int32
	Output uint32 // how often it stands in the output
	Prompt bool   // it stands in the prompt
}

// NewHistory returns the history of a sequence that has its prompt only.
func NewHistory(prompt []int32) *History {
	h := new(History)
	h.Reset(prompt)
	return h
}

// Reset makes h the history of a sequence that has its prompt only, with the
// memory that it has.
func (h *History) Reset(prompt []int32) {
	h.prompt, h.made, h.seen = len(prompt), h.made[:0], h.seen[:0]
	clear(h.slots)
	for _, t := range prompt {
		h.find(t).Prompt = true
	}
}

// Grow makes room for n more tokens, so that they are appended without an
// allocation.
func (h *History) Grow(n int) {
	h.made = slices.Grow(h.made, n)
	h.seen = slices.Grow(h.seen, n)
	h.rehash(len(h.seen) + n)
}

// Append notes a token of the output.
func (h *History) Append(token int32) {
	h.made = append(h.made, token)
	h.find(token).Output++
}

// Truncate takes back all of the output but its first n tokens.
func (h *History) Truncate(n int) {
	for len(h.made) > n {
		last := len(h.made) - 1
		at := h.slot(h.made[last])
		s := &h.seen[h.slots[at]-1]
		h.made = h.made[:last]
		if s.Output--; s.Output == 0 && !s.Prompt {
			// All that were seen first after it are gone: it is the last.
			h.seen = h.seen[:len(h.seen)-1]
			h.slots[at] = 0
		}
	}
}

// Clone returns a copy that shares nothing with h.
func (h *History) Clone() *History {
	c := *h
	c.made, c.seen, c.slots = slices.Clone(h.made), slices.Clone(h.seen), slices.Clone(h.slots)
	return &c
}

// Len returns how many tokens the prompt has and how many the output.
func (h *History) Len() (prompt, output int) {
	if h == nil {
		return 0, 0
	}
	return h.prompt, len(h.made)
}

// Output returns the output, and Seen the distinct tokens of prompt and output by
// their first appearance. Both are views until the next change, for reading.
func (h *History) Output() []int32 {
	if h == nil {
		return nil
	}
	return h.made
}

// Seen is described with Output.
func (h *History) Seen() []Seen {
	if h == nil {
		return nil
	}
	return h.seen
}

// find returns a token's entry, which it makes if there is none.
func (h *History) find(token int32) *Seen {
	if len(h.slots) <= 2*len(h.seen) {
		h.rehash(max(8, 2*len(h.seen)))
	}
	at := h.slot(token)
	if h.slots[at] == 0 {
		h.seen = append(h.seen, Seen{Token: token})
		h.slots[at] = uint32(len(h.seen))
	}
	return &h.seen[h.slots[at]-1]
}

// slot returns where the token is, or where it would be put.
func (h *History) slot(token int32) uint32 {
	at := uint32(token) * 0x9e3779b1 >> h.shift // Knuth's multiplicative hash
	for h.slots[at] != 0 && h.seen[h.slots[at]-1].Token != token {
		at = (at + 1) & uint32(len(h.slots)-1)
	}
	return at
}

// rehash makes room in the table for n tokens and one more.
func (h *History) rehash(n int) {
	size := bits.Len(uint(2 * n))
	if len(h.slots) >= 1<<size {
		return
	}
	h.slots, h.shift = make([]uint32, 1<<size), uint8(32-size)
	for i := range h.seen {
		h.slots[h.slot(h.seen[i].Token)] = uint32(i + 1)
	}
}
