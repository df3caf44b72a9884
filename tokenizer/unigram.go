package tokenizer

import (
	"math"
	"sync"
	"unicode/utf8"
)

// unknownPenalty is how far below the least score a rune without a piece lies
// (google/sentencepiece, src/unigram_model.cc).
const unknownPenalty = 10

// unigram is a unigram language model: a text becomes the pieces with the
// largest sum of scores.
type unigram struct {
	keys   *trie
	ids    []int32   // by key
	scores []float64 // by key
	// unknown is the score of a rune without a piece.
	unknown float64
	// single: the sums are kept in float32, as SentencePiece does; else float64, as
	// huggingface/tokenizers does.
	single bool
}

// newUnigram returns the model of pieces, with a score for each. free pieces
// are user-defined symbols: their scores make them win over all others.
func newUnigram(pieces []string, ids []int32, scores []float64, free []bool, single bool) *unigram {
	u := &unigram{keys: newTrie(pieces), ids: ids, scores: scores, single: single}
	least := math.Inf(1)
	for i, score := range scores {
		if free[i] {
			// Measured in SentencePiece 0.2.3: a tenth for each byte after the first.
			scores[i] = float64(float32(0.1 * float64(len(pieces[i])-1)))
		} else {
			least = min(least, score)
		}
	}
	u.unknown = least - unknownPenalty
	if single {
		u.unknown = float64(float32(u.unknown))
	}
	return u
}

// reached is the best way to one place in a text.
type reached struct {
	score float64
	from  int32 // where its last piece begins; -1: not reached yet
	key   int32 // which piece that is; -1: an unknown rune
	next  int32 // where the next piece ends, on the best way of all
}

type unigramScratch struct {
	best []reached
	work int // bytes looked at, for tests
}

var unigramPool = sync.Pool{New: func() any { return new(unigramScratch) }}

// appendUnigram appends the tokens of one word.
func (t *Tokenizer) appendUnigram(dst []int32, word string) []int32 {
	w := unigramPool.Get().(*unigramScratch)
	dst = t.segment(w, dst, word)
	if cap(w.best) <= keepSymbols {
		unigramPool.Put(w)
	}
	return dst
}

// segment finds the best way through word: Viterbi's algorithm over the bytes.
func (t *Tokenizer) segment(w *unigramScratch, dst []int32, word string) []int32 {
	u := t.unigram
	w.work = 0
	w.best = w.best[:0]
	for range len(word) + 1 {
		w.best = append(w.best, reached{from: -1})
	}
	for at := 0; at < len(word); {
		base := w.best[at].score
		_, n := utf8.DecodeRuneInString(word[at:])
		whole := false // a piece is just this rune
		node := int32(0)
		for end := at; end < len(word); {
			w.work++
			if node = u.keys.child(node, word[end]); node < 0 {
				break
			}
			end++
			if key := u.keys.value[node]; key >= 0 {
				u.reach(&w.best[end], u.scores[key]+base, at, key)
				whole = whole || end == at+n
			}
		}
		if !whole {
			u.reach(&w.best[at+n], u.unknown+base, at, -1)
		}
		at += n
	}
	return t.appendPath(dst, w.best, word)
}

// reach notes a way to b if it is better than those before.
func (u *unigram) reach(b *reached, score float64, from int, key int32) {
	if u.single {
		score = float64(float32(score))
	}
	if b.from >= 0 && score <= b.score {
		return
	}
	*b = reached{score: score, from: int32(from), key: key}
}

// appendPath appends the tokens on the best way to the end of word.
func (t *Tokenizer) appendPath(dst []int32, best []reached, word string) []int32 {
	for at := len(word); at > 0; {
		from := int(best[at].from)
		best[from].next = int32(at)
		at = from
	}
	start := len(dst)
	for at := 0; at < len(word); {
		end := int(best[at].next)
		if key := best[end].key; key >= 0 {
			dst = append(dst, t.unigram.ids[key])
		} else {
			dst = t.appendUnknown(dst, start, word[at:end])
		}
		at = end
	}
	return dst
}
