package tokenizer

import (
	"fmt"
	"math"
	"slices"
)

// sentenceModel is a SentencePiece model as a file holds it.
type sentenceModel struct {
	where    string // of the pieces in the file, for errors
	unigram  bool   // else BPE
	tokens   []string
	kinds    []tokenKind
	scores   []float64 // float32 values
	prefix   bool      // add_dummy_prefix
	squeeze  bool      // remove_extra_whitespaces
	fallback bool      // byte_fallback
}

func (m *sentenceModel) identity() identity {
	settings := fmt.Sprintf("sentencepiece unigram=%t prefix=%t squeeze=%t fallback=%t", m.unigram, m.prefix, m.squeeze, m.fallback)
	return identity{settings: settings, tokens: m.tokens, scores: m.scores}
}

// loadSentence fills t, all but its marks, from a SentencePiece model.
func (t *Tokenizer) loadSentence(m *sentenceModel) error {
	if len(m.tokens) == 0 || len(m.tokens) > maxTokens {
		return fmt.Errorf("%w: %s has %d entries, limits 1 and %d", ErrVocabulary, m.where, len(m.tokens), maxTokens)
	}
	if len(m.scores) != len(m.tokens) {
		return fmt.Errorf("%w: %s has %d entries and %d scores", ErrVocabulary, m.where, len(m.tokens), len(m.scores))
	}
	v := &vocabulary{where: m.where, tokens: m.tokens, kinds: m.kinds, model: make([]bool, len(m.tokens))}
	t.unknown = unknownRule{bytes: m.fallback, id: -1, fuse: true}
	var control, free []addedToken
	for id, token := range m.tokens {
		if math.IsNaN(m.scores[id]) || math.IsInf(m.scores[id], 0) {
			return v.errorf(id, "has the score %v", m.scores[id])
		}
		switch m.kinds[id] {
		case kindUnknown:
			if t.unknown.id < 0 {
				t.unknown.id = int32(id)
			}
		case kindControl:
			control = append(control, addedToken{text: token, id: int32(id)})
		case kindUserDefined:
			// Converters to GGUF write a space in these for a space mark.
			token = string(appendMarked(nil, token))
			m.tokens[id] = token
			free = append(free, addedToken{text: token, id: int32(id)})
			v.model[id] = m.unigram
		case kindNormal, kindUndefined:
			v.model[id] = true
		}
	}
	if err := t.loadRunes(v); err != nil {
		return err
	}
	if slices.Contains(m.kinds, kindByte) != m.fallback || m.fallback && !t.allBytes() {
		return fmt.Errorf("%w: byte_fallback = %t, but %s has not all byte tokens, or has some", ErrVocabulary, m.fallback, m.where)
	}
	for id, kind := range m.kinds {
		if kind == kindUnknown {
			t.pieces[id] = " ⁇ " // as SentencePiece decodes it
		}
	}
	control = slices.DeleteFunc(control, func(a addedToken) bool { return a.text == "" })
	free = slices.DeleteFunc(free, func(a addedToken) bool { return a.text == "" })
	var err error
	if t.special, err = newSpecialSet(control, m.where); err != nil {
		return err
	}
	t.steps = []step{sentenceStep(m.prefix, m.squeeze)}
	switch {
	case m.squeeze:
		t.leading = leadingEach
	case m.prefix:
		t.leading = leadingOne
	}
	if m.unigram {
		t.sentenceUnigram(m)
		return nil
	}
	if t.inner, err = newSpecialSet(free, m.where); err != nil {
		return err
	}
	if err := t.sentenceMerges(m); err != nil {
		return err
	}
	t.cuts = []scanner{t.newBorders().next}
	return nil
}

func (t *Tokenizer) sentenceUnigram(m *sentenceModel) {
	var pieces []string
	var ids []int32
	var scores []float64
	var free []bool
	for id, token := range m.tokens {
		if known, ok := t.words[token]; ok && known == int32(id) {
			pieces = append(pieces, token)
			ids = append(ids, int32(id))
			scores = append(scores, m.scores[id])
			free = append(free, m.kinds[id] == kindUserDefined)
		}
	}
	t.unigram = newUnigram(pieces, ids, scores, free, true)
}

// sentenceMerges ranks the pieces by score, the largest first; equal scores
// merge from left to right.
func (t *Tokenizer) sentenceMerges(m *sentenceModel) error {
	order := make([]int32, 0, len(t.words))
	for id, token := range m.tokens { // by ID, which is nearly the order wanted
		if known, ok := t.words[token]; ok && known == int32(id) {
			order = append(order, int32(id))
		}
	}
	slices.SortFunc(order, func(a, b int32) int {
		switch x, y := m.scores[a], m.scores[b]; {
		case x > y:
			return -1
		case x < y:
			return 1
		}
		return 0
	})
	ranks := make([]uint32, len(m.tokens))
	for i, id := range order {
		if i > 0 {
			before := order[i-1]
			ranks[id] = ranks[before]
			if m.scores[id] != m.scores[before] {
				ranks[id]++
			}
		}
	}
	t.mergePieces(ranks)
	return t.refuseUnused(m)
}

// refuseUnused refuses an unused piece that merges would make: SentencePiece
// makes such a piece and takes it apart again, which we do not.
func (t *Tokenizer) refuseUnused(m *sentenceModel) error {
	for id, token := range m.tokens {
		if m.kinds[id] != kindUnused || len(token) > 2*t.longestWord { // too long for any two
			continue
		}
		for at := range token {
			_, left := t.words[token[:at]]
			if _, right := t.words[token[at:]]; left && right {
				return fmt.Errorf("%w: %s[%d] = %q is unused, but %q and %q make it", ErrUnsupported, m.where, id, token, token[:at], token[at:])
			}
		}
	}
	return nil
}
