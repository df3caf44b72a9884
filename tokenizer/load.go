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
	keyAddSpace = "tokenizer.ggml.add_space_prefix"
)

// FromMetadata builds the tokenizer of a GGUF file from its metadata, which may
// be hostile. It returns ErrUnsupported for what this package does not know,
// ErrVocabulary for what makes no sense, and the errors of m. It keeps nothing
// of m.
func FromMetadata(m *weights.Metadata) (*Tokenizer, error) {
	model, err := m.String(keyModel)
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	if model != "gpt2" {
		return nil, fmt.Errorf("%w: %s = %q, only \"gpt2\" (byte-level BPE) is known", ErrUnsupported, keyModel, model)
	}
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
		return nil, fmt.Errorf("%w: %s = true for model %q", ErrUnsupported, keyAddSpace, model)
	}
	t := &Tokenizer{family: fam}
	if t.addBOS, err = m.BoolOr(keyAddBOS, fam.addBOS); err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	tokens, err := m.Strings(keyTokens)
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	if len(tokens) == 0 || len(tokens) > maxTokens {
		return nil, fmt.Errorf("%w: %s has %d entries, limits 1 and %d", ErrVocabulary, keyTokens, len(tokens), maxTokens)
	}
	if err := t.loadKinds(m, len(tokens)); err != nil {
		return nil, err
	}
	ids, err := t.loadTokens(tokens)
	if err != nil {
		return nil, err
	}
	if err := t.checkBytes(); err != nil {
		return nil, err
	}
	merges, err := m.Strings(keyMerges)
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	if err := t.loadMerges(merges, ids); err != nil {
		return nil, err
	}
	if err := t.loadMarks(m); err != nil {
		return nil, err
	}
	t.seal(tokens, merges)
	return t, nil
}

// loadKinds reads tokenizer.ggml.token_type; without it every token is normal.
func (t *Tokenizer) loadKinds(m *weights.Metadata, lenTokens int) error {
	t.kinds = make([]tokenKind, lenTokens)
	if !m.Has(keyTypes) {
		for i := range t.kinds {
			t.kinds[i] = kindNormal
		}
		return nil
	}
	types, err := m.Ints(keyTypes)
	if err != nil {
		return fmt.Errorf("tokenizer: %w", err)
	}
	if len(types) != lenTokens {
		return fmt.Errorf("%w: %s has %d entries, %s has %d", ErrVocabulary, keyTypes, len(types), keyTokens, lenTokens)
	}
	for id, kind := range types {
		// 0 is "undefined"; some converters write it for padding.
		if kind < 0 || kind > int64(kindByte) {
			return fmt.Errorf("%w: %s[%d] = %d", ErrVocabulary, keyTypes, id, kind)
		}
		t.kinds[id] = tokenKind(kind)
	}
	return nil
}

// loadTokens fills pieces, words, byteToken and the special tokens. It returns
// the IDs by spelling, for the merges.
func (t *Tokenizer) loadTokens(tokens []string) (map[string]int32, error) {
	t.pieces = make([]string, len(tokens))
	t.canonical = make([]uint32, len(tokens))
	t.words = make(map[string]int32, len(tokens))
	t.special, t.specials = newSpecialSet(), map[string]int32{}
	for b := range t.byteToken {
		t.byteToken[b] = -1
	}
	ids := make(map[string]int32, len(tokens))
	var raw []byte
	for i, token := range tokens {
		id := int32(i)
		if len(token) > maxTokenBytes {
			return nil, fmt.Errorf("%w: %s[%d] has %d bytes, limit %d", ErrVocabulary, keyTokens, i, len(token), maxTokenBytes)
		}
		if token == "" {
			continue // padding: stands for nothing, is never produced
		}
		if first, ok := ids[token]; ok {
			return nil, fmt.Errorf("%w: %s[%d] = %q repeats %d", ErrVocabulary, keyTokens, i, token, first)
		}
		ids[token] = id
		if t.kinds[i].special() {
			t.pieces[i] = token
			t.specials[token] = id
			if err := t.special.add(token, id); err != nil {
				return nil, err
			}
			continue
		}
		var exact bool
		if raw, exact = appendRaw(raw[:0], token); !exact {
			t.pieces[i] = token // no bytes spell it, so no text yields it
			continue
		}
		piece := string(raw)
		t.pieces[i] = piece
		if kind := t.kinds[i]; kind == kindUnknown || kind == kindUnused {
			continue
		}
		t.words[piece] = id
		t.longestWord = max(t.longestWord, len(piece))
		if len(piece) == 1 {
			t.byteToken[piece[0]] = id
		}
	}
	return ids, nil
}

// checkBytes refuses a vocabulary that could not spell ordinary text: it must
// have printable ASCII, tab, line feed, carriage return, and the continuation
// bytes of UTF-8.
func (t *Tokenizer) checkBytes() error {
	for b, id := range t.byteToken {
		needed := b >= ' ' && b < 0x7f || b == '\t' || b == '\n' || b == '\r' || b >= 0x80 && b < 0xc0
		if needed && id < 0 {
			return fmt.Errorf("%w: %s has no token for byte 0x%02x (spelt %q)", ErrVocabulary, keyTokens, b, string(byteRunes[b]))
		}
	}
	return nil
}

// loadMarks reads the IDs of the tokens with a meaning of their own.
func (t *Tokenizer) loadMarks(m *weights.Metadata) error {
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
	t.eog = nil
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
	return nil
}
