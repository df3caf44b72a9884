package tokenizer

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/holdfast-run/holdfast/weights"
)

// Limits on what a file may declare.
const (
	maxTokens     = 1 << 20 // the largest vocabulary in use has about 2^18
	maxMerges     = 1 << 21
	maxTokenBytes = 1 << 16 // of one token
	maxHoles      = 1 << 16 // IDs without a token, where a file gives IDs
)

// GGUF keys (ggml-org/ggml, docs/gguf.md).
const (
	keyModel    = "tokenizer.ggml.model"
	keyPre      = "tokenizer.ggml.pre"
	keyTokens   = "tokenizer.ggml.tokens"
	keyTypes    = "tokenizer.ggml.token_type"
	keyMerges   = "tokenizer.ggml.merges"
	keyBOS      = "tokenizer.ggml.bos_token_id"
	keyEOS      = "tokenizer.ggml.eos_token_id"
	keyEOT      = "tokenizer.ggml.eot_token_id"
	keyUnknown  = "tokenizer.ggml.unknown_token_id"
	keyPadding  = "tokenizer.ggml.padding_token_id"
	keyAddBOS   = "tokenizer.ggml.add_bos_token"
	keyAddEOS   = "tokenizer.ggml.add_eos_token"
	keyAddSpace = "tokenizer.ggml.add_space_prefix"
	keySqueeze  = "tokenizer.ggml.remove_extra_whitespaces"
	keyScores   = "tokenizer.ggml.scores"
	keyCharsMap = "tokenizer.ggml.precompiled_charsmap"
)

// FromMetadata builds the tokenizer of a GGUF file from its metadata, which may
// be hostile: byte-level BPE (model "gpt2") or SentencePiece's BPE ("llama") and
// unigram ("t5"). It returns ErrUnsupported for what this package does not know,
// ErrVocabulary for what makes no sense, and the errors of m. It keeps nothing
// of m.
func FromMetadata(m *weights.Metadata) (*Tokenizer, error) {
	model, err := m.String(keyModel)
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	switch model {
	case "gpt2":
		return fromByteLevel(m)
	case "llama", "t5":
		return fromSentence(m, model)
	}
	return nil, fmt.Errorf("%w: %s = %q, known are gpt2, llama, t5", ErrUnsupported, keyModel, model)
}

// fromByteLevel builds a byte-level BPE.
func fromByteLevel(m *weights.Metadata) (*Tokenizer, error) {
	pre, err := m.String(keyPre)
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	fam, ok := families[pre]
	if !ok {
		known := strings.Join(slices.Sorted(maps.Keys(families)), ", ")
		return nil, fmt.Errorf("%w: %s = %q, known are %s", ErrUnsupported, keyPre, pre, known)
	}
	if prefix, err := m.BoolOr(keyAddSpace, false); err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	} else if prefix {
		return nil, fmt.Errorf("%w: %s = true for model \"gpt2\"", ErrUnsupported, keyAddSpace)
	}
	t := &Tokenizer{cuts: []scanner{fam.next}, wholeWords: fam.wholeWords}
	tokens, kinds, err := readTokens(m)
	if err != nil {
		return nil, err
	}
	v := &vocabulary{where: keyTokens, tokens: tokens, kinds: kinds}
	ids, err := t.loadBytes(v)
	if err != nil {
		return nil, err
	}
	merges, err := m.Strings(keyMerges)
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	if err := t.loadMerges(merges, ids); err != nil {
		return nil, err
	}
	if err := t.loadMarks(m, fam.addBOS); err != nil {
		return nil, err
	}
	t.seal(identity{settings: fam.name, tokens: tokens, merges: merges})
	return t, nil
}

// fromSentence builds a SentencePiece tokenizer. What a file does not say is
// what llama.cpp takes for it.
func fromSentence(m *weights.Metadata, model string) (*Tokenizer, error) {
	if m.Has(keyCharsMap) {
		return nil, fmt.Errorf("%w: %s: no character map but the identity is known", ErrUnsupported, keyCharsMap)
	}
	tokens, kinds, err := readTokens(m)
	if err != nil {
		return nil, err
	}
	s := &sentenceModel{where: keyTokens, unigram: model == "t5", tokens: tokens, kinds: kinds}
	s.fallback = slices.Contains(kinds, kindByte)
	if s.scores, err = m.Floats(keyScores); err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	if s.prefix, err = m.BoolOr(keyAddSpace, true); err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	if s.squeeze, err = m.BoolOr(keySqueeze, false); err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	t := new(Tokenizer)
	if err := t.loadSentence(s); err != nil {
		return nil, err
	}
	if err := t.loadMarks(m, model == "llama"); err != nil {
		return nil, err
	}
	t.seal(s.identity())
	return t, nil
}

// readTokens reads the tokens and their kinds; without tokenizer.ggml.token_type
// every token is normal.
func readTokens(m *weights.Metadata) ([]string, []tokenKind, error) {
	tokens, err := m.Strings(keyTokens)
	if err != nil {
		return nil, nil, fmt.Errorf("tokenizer: %w", err)
	}
	if len(tokens) == 0 || len(tokens) > maxTokens {
		return nil, nil, fmt.Errorf("%w: %s has %d entries, limits 1 and %d", ErrVocabulary, keyTokens, len(tokens), maxTokens)
	}
	kinds := make([]tokenKind, len(tokens))
	if !m.Has(keyTypes) {
		for i := range kinds {
			kinds[i] = kindNormal
		}
		return tokens, kinds, nil
	}
	types, err := m.Ints(keyTypes)
	if err != nil {
		return nil, nil, fmt.Errorf("tokenizer: %w", err)
	}
	if len(types) != len(tokens) {
		return nil, nil, fmt.Errorf("%w: %s has %d entries, %s has %d", ErrVocabulary, keyTypes, len(types), keyTokens, len(tokens))
	}
	for id, kind := range types {
		if kind < int64(kindUndefined) || kind > int64(kindByte) {
			return nil, nil, fmt.Errorf("%w: %s[%d] = %d", ErrVocabulary, keyTypes, id, kind)
		}
		kinds[id] = tokenKind(kind)
	}
	return tokens, kinds, nil
}

// loadMarks reads the IDs of the tokens with a meaning of their own. addBOS is
// what the file means if it does not say.
func (t *Tokenizer) loadMarks(m *weights.Metadata, addBOS bool) (err error) {
	if t.addBOS, err = m.BoolOr(keyAddBOS, addBOS); err != nil {
		return fmt.Errorf("tokenizer: %w", err)
	}
	if t.addEOS, err = m.BoolOr(keyAddEOS, false); err != nil {
		return fmt.Errorf("tokenizer: %w", err)
	}
	for _, mark := range []struct {
		key string
		id  *int32
	}{{keyBOS, &t.bos}, {keyEOS, &t.eos}, {keyEOT, &t.eot}, {keyUnknown, &t.unk}, {keyPadding, &t.pad}} {
		*mark.id = -1
		if !m.Has(mark.key) {
			continue
		}
		id, err := m.Uint(mark.key)
		if err != nil {
			return fmt.Errorf("tokenizer: %w", err)
		}
		if id >= uint64(len(t.pieces)) {
			return fmt.Errorf("%w: %s = %d, %s has %d entries", ErrVocabulary, mark.key, id, keyTokens, len(t.pieces))
		}
		*mark.id = int32(id)
	}
	if t.addBOS && t.bos < 0 && m.Has(keyAddBOS) {
		return fmt.Errorf("%w: %s = true without %s", ErrVocabulary, keyAddBOS, keyBOS)
	}
	t.markEnds()
	return nil
}

// markEnds works out the tokens that end a generation.
func (t *Tokenizer) markEnds() {
	for _, id := range []int32{t.eos, t.eot} {
		if id >= 0 {
			t.eog = append(t.eog, id)
		}
	}
	for _, name := range eogNames {
		if id, ok := t.specials[name]; ok && t.kinds[id] == kindControl {
			t.eog = append(t.eog, id)
		}
	}
	slices.Sort(t.eog)
	t.eog = slices.Compact(t.eog)
}
