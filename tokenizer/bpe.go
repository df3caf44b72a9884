package tokenizer

import (
	"sync"
	"sync/atomic"
	"unicode/utf8"
)

// shortWord is the most symbols that are merged by linear scans, which take
// quadratic time but live on the stack. Longer pre-tokens take a heap: O(n log
// n), so a megabyte of one letter is not an attack.
const shortWord = 48

// States of Tokenizer.canonical.
const (
	canonicalUnknown = iota
	canonicalYes
	canonicalNo
)

// encodeWord appends the tokens of one word, which is not empty.
func (t *Tokenizer) encodeWord(dst []int32, word string) []int32 {
	if t.unigram != nil {
		return t.appendUnigram(dst, word)
	}
	if len(word) == 1 && t.runes == nil {
		if id := t.byteToken[word[0]]; id >= 0 {
			dst = append(dst, id)
		}
		return dst
	}
	if len(word) <= t.longestWord {
		if id, ok := t.words[word]; ok && (t.wholeWords || t.isCanonical(id, word)) {
			return append(dst, id)
		}
	}
	return t.merge(dst, word)
}

// isCanonical reports whether the merges turn the bytes of token id into that
// one token. They need not: a vocabulary can hold tokens that no merge
// reaches. The answer is worked out once and kept.
func (t *Tokenizer) isCanonical(id int32, word string) bool {
	state := &t.canonical[id]
	switch atomic.LoadUint32(state) {
	case canonicalYes:
		return true
	case canonicalNo:
		return false
	}
	var room [shortWord]int32
	ids := t.merge(room[:0], word)
	if len(ids) == 1 && ids[0] == id {
		atomic.StoreUint32(state, canonicalYes)
		return true
	}
	atomic.StoreUint32(state, canonicalNo)
	return false
}

// merge applies the merges to the bytes of a pre-token, always the one of
// lowest rank and of those the leftmost.
func (t *Tokenizer) merge(dst []int32, word string) []int32 {
	if len(word) > shortWord {
		return t.mergeLong(dst, word)
	}
	var room [shortWord]int32
	ids := t.symbols(room[:0], word)
	n := len(ids)
	if n < 2 {
		return t.appendSymbols(dst, ids)
	}
	// ranks[i] and made[i] tell of the pair (ids[i], ids[i+1]).
	var ranks [shortWord]uint32
	var made [shortWord]int32
	for i := 0; i < n-1; i++ {
		ranks[i], made[i] = t.merges.get(ids[i], ids[i+1])
	}
	for n > 1 {
		best, at := uint32(noRank), 0
		for i, rank := range ranks[:n-1] {
			if rank < best {
				best, at = rank, i
			}
		}
		if best == noRank {
			break
		}
		ids[at] = made[at]
		copy(ids[at+1:n-1], ids[at+2:n])
		n--
		if at < n-1 {
			copy(ranks[at+1:n-1], ranks[at+2:n])
			copy(made[at+1:n-1], made[at+2:n])
			ranks[at], made[at] = t.merges.get(ids[at], ids[at+1])
		}
		if at > 0 {
			ranks[at-1], made[at-1] = t.merges.get(ids[at-1], ids[at])
		}
	}
	return t.appendSymbols(dst, ids[:n])
}

// symbols appends the symbols that a word is before any merge, at most one for
// each byte.
func (t *Tokenizer) symbols(dst []int32, word string) []int32 {
	if t.runes == nil {
		for i := 0; i < len(word); i++ {
			if id := t.byteToken[word[i]]; id >= 0 {
				dst = append(dst, id)
			}
		}
		return dst
	}
	for i := 0; i < len(word); {
		r, n := utf8.DecodeRuneInString(word[i:])
		if id, ok := t.runes[r]; ok && (n > 1 || r != utf8.RuneError) {
			dst = append(dst, id)
		} else {
			dst = t.appendUnknown(dst, 0, word[i:i+n])
		}
		i += n
	}
	return dst
}

// appendSymbols appends what merging has left: tokens, and symbols that are
// none.
func (t *Tokenizer) appendSymbols(dst, ids []int32) []int32 {
	if len(t.atoms) == 0 {
		return append(dst, ids...)
	}
	start := len(dst)
	var room [utf8.UTFMax]byte
	for _, id := range ids {
		if atom := int(id) - len(t.pieces); atom >= 0 {
			dst = t.appendUnknown(dst, start, string(utf8.AppendRune(room[:0], t.atoms[atom])))
		} else {
			dst = append(dst, id)
		}
	}
	return dst
}

// appendUnknown appends what stands for a rune, or a byte that is no UTF-8,
// that the vocabulary does not have. dst[start:] belongs to the same word.
func (t *Tokenizer) appendUnknown(dst []int32, start int, text string) []int32 {
	if t.unknown.bytes {
		before := len(dst)
		for i := 0; i < len(text); i++ {
			if id := t.byteToken[text[i]]; id >= 0 {
				dst = append(dst, id)
			}
		}
		if len(dst)-before == len(text) {
			return dst
		}
		dst = dst[:before]
	}
	id := t.unknown.id
	if id < 0 || t.unknown.fuse && len(dst) > start && dst[len(dst)-1] == id {
		return dst
	}
	return append(dst, id)
}

// symbol is one part of a long pre-token, in a list linked by index.
type symbol struct {
	id         int32
	prev, next int32  // -1 at the ends
	rank       uint32 // of the pair with next; noRank if none, or merged away
	made       int32  // what that pair becomes
}

// longScratch is the working memory of mergeLong. The heap holds rank<<32 |
// index; an entry whose rank is not its symbol's any more is stale.
type longScratch struct {
	ids     []int32
	symbols []symbol
	heap    []uint64
	work    int // pairs looked up, for tests
}

// keepSymbols bounds what the pool of longScratch keeps per entry.
const keepSymbols = 1 << 14

var longPool = sync.Pool{New: func() any { return new(longScratch) }}

func (t *Tokenizer) mergeLong(dst []int32, word string) []int32 {
	w := longPool.Get().(*longScratch)
	dst = t.mergeWith(w, dst, word)
	if cap(w.symbols) <= keepSymbols {
		longPool.Put(w)
	}
	return dst
}

func (t *Tokenizer) mergeWith(w *longScratch, dst []int32, word string) []int32 {
	w.ids = t.symbols(w.ids[:0], word)
	symbols := w.symbols[:0]
	for i, id := range w.ids {
		symbols = append(symbols, symbol{id: id, prev: int32(i) - 1, next: int32(i) + 1, rank: noRank})
	}
	if n := len(symbols); n > 0 {
		symbols[n-1].next = -1
	}
	heap := w.heap[:0]
	for i := range symbols {
		heap = t.pair(symbols, int32(i), heap)
	}
	w.work = len(symbols)
	for i := len(heap) / heapWidth; i >= 0; i-- {
		siftDown(heap, i)
	}
	for len(heap) > 0 {
		top := heap[0]
		heap[0] = heap[len(heap)-1]
		heap = heap[:len(heap)-1]
		siftDown(heap, 0)

		at := int32(uint32(top))
		s := &symbols[at]
		if s.rank != uint32(top>>32) {
			continue
		}
		gone := &symbols[s.next]
		s.id = s.made
		s.next = gone.next
		gone.rank = noRank
		if s.next >= 0 {
			symbols[s.next].prev = at
		}
		queued := len(heap)
		w.work += 2
		heap = t.pair(symbols, at, heap)
		if s.prev >= 0 {
			heap = t.pair(symbols, s.prev, heap)
		}
		for ; queued < len(heap); queued++ {
			siftUp(heap[:queued+1])
		}
	}
	w.ids = w.ids[:0]
	if len(symbols) > 0 {
		for at := int32(0); at >= 0; at = symbols[at].next {
			w.ids = append(w.ids, symbols[at].id)
		}
	}
	w.symbols, w.heap = symbols, heap
	return t.appendSymbols(dst, w.ids)
}

// pair works out the merge of symbol at with its neighbour and appends an
// entry for it, not yet in heap order.
func (t *Tokenizer) pair(symbols []symbol, at int32, heap []uint64) []uint64 {
	s := &symbols[at]
	if s.next < 0 {
		s.rank = noRank
		return heap
	}
	s.rank, s.made = t.merges.get(s.id, symbols[s.next].id)
	if s.rank == noRank {
		return heap
	}
	return append(heap, uint64(s.rank)<<32|uint64(uint32(at)))
}

// heapWidth is the number of children of a heap node. With four the heap is half
// as deep as with two, which pays once it does not fit in a cache.
const heapWidth = 4

func siftDown(heap []uint64, i int) {
	if i >= len(heap) {
		return
	}
	moved := heap[i]
	for {
		first := heapWidth*i + 1
		if first >= len(heap) {
			break
		}
		least := first
		for child := first + 1; child < min(first+heapWidth, len(heap)); child++ {
			if heap[child] < heap[least] {
				least = child
			}
		}
		if moved <= heap[least] {
			break
		}
		heap[i] = heap[least]
		i = least
	}
	heap[i] = moved
}

// siftUp moves the last entry to its place.
func siftUp(heap []uint64) {
	i := len(heap) - 1
	moved := heap[i]
	for i > 0 {
		parent := (i - 1) / heapWidth
		if heap[parent] <= moved {
			break
		}
		heap[i] = heap[parent]
		i = parent
	}
	heap[i] = moved
}
