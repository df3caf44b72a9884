package tokenizer

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"
	"strings"
)

// noRank marks a pair that does not merge. It is above every rank.
const noRank = math.MaxUint32

// mergeTable maps a pair of token IDs to the rank of their merge (lowest
// first) and to the token that they become: open addressing at half load or
// less, 16 bytes a slot, read-only after load. The hash has a seed of its own,
// so that a file cannot choose pairs that collide.
type mergeTable struct {
	slots []mergeSlot
	shift uint
	seed  uint64
}

type mergeSlot struct {
	key  uint64 // pairKey of the pair; 0 = free
	rank uint32
	id   int32
}

func pairKey(left, right int32) uint64 { return uint64(uint32(left))<<32 | uint64(uint32(right)) + 1 }

func newMergeTable(count int) *mergeTable {
	size := bits.Len(uint(2*count) | 7)
	return &mergeTable{
		slots: make([]mergeSlot, 1<<size),
		shift: uint(64 - size),
		seed:  rand.Uint64(),
	}
}

func (m *mergeTable) home(key uint64) int {
	hi, lo := bits.Mul64(key^m.seed, 0x9e3779b97f4a7c15)
	return int((hi ^ lo) * 0xd6e8feb86659fd93 >> m.shift)
}

// add stores a merge; false if the pair has one already.
func (m *mergeTable) add(left, right int32, rank uint32, id int32) bool {
	key := pairKey(left, right)
	at := m.home(key)
	for m.slots[at].key != 0 {
		if m.slots[at].key == key {
			return false
		}
		at = (at + 1) & (len(m.slots) - 1)
	}
	m.slots[at] = mergeSlot{key, rank, id}
	return true
}

// get returns the rank of a pair's merge and what it makes; noRank if the pair
// does not merge.
func (m *mergeTable) get(left, right int32) (rank uint32, id int32) {
	key := pairKey(left, right)
	for at := m.home(key); ; at = (at + 1) & (len(m.slots) - 1) {
		slot := &m.slots[at]
		if slot.key == key {
			return slot.rank, slot.id
		}
		if slot.key == 0 {
			return noRank, 0
		}
	}
}

// loadMerges reads tokenizer.ggml.merges: "left right" in order of rank, in
// the vocabulary's spelling. A merge may not touch a special token: text would
// become one.
func (t *Tokenizer) loadMerges(merges []string, ids map[string]int32) error {
	if len(merges) > maxMerges {
		return fmt.Errorf("%w: %s has %d entries, limit %d", ErrVocabulary, keyMerges, len(merges), maxMerges)
	}
	t.merges = newMergeTable(len(merges))
	for rank, merge := range merges {
		left, right, ok := cutMerge(merge)
		if !ok {
			return fmt.Errorf("%w: %s[%d] = %q is not two tokens", ErrVocabulary, keyMerges, rank, merge)
		}
		special, err := t.addMerge(left, right, uint32(rank), ids)
		if err == nil && special {
			err = errors.New("makes text a special token")
		}
		if err != nil {
			return fmt.Errorf("%w: %s[%d] = %q %w", ErrVocabulary, keyMerges, rank, merge, err)
		}
	}
	return nil
}

func cutMerge(merge string) (left, right string, ok bool) {
	left, right, ok = strings.Cut(merge, " ")
	return left, right, ok && left != "" && right != "" && !strings.Contains(right, " ")
}

// addMerge adds the merge of two tokens. It adds none, and special is true, if
// that would make text a special token.
func (t *Tokenizer) addMerge(left, right string, rank uint32, ids map[string]int32) (special bool, err error) {
	var room [maxMergeBytes]byte
	l, okLeft := ids[left]
	r, okRight := ids[right]
	whole, okWhole := ids[string(append(append(room[:0], left...), right...))]
	if !okLeft || !okRight || !okWhole {
		return false, errors.New("names a token that is not in the vocabulary")
	}
	if t.Special(l) || t.Special(r) || t.Special(whole) {
		return true, nil
	}
	if !t.merges.add(l, r, rank, whole) {
		return false, errors.New("appears twice")
	}
	return false, nil
}

// maxMergeBytes is the room on the stack for what a merge makes; more is
// allocated.
const maxMergeBytes = 128
