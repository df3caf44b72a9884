package tokenizer

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// TiktokenOptions says what a file of ranks does not.
type TiktokenOptions struct {
	// Pattern names how text is cut: cl100k_base, o200k_base, or llama3 (the
	// tokenizer.model of meta-llama/Meta-Llama-3-8B). There is no default.
	Pattern string
	// Special maps the texts of control tokens to their IDs. The default is none.
	Special map[string]int32
	// BOS and EOS are of Special. The default is that there is none.
	BOS, EOS string
	// AddBOS is what the model wants before every text. The default is nothing.
	AddBOS bool
}

var tiktokenPatterns = map[string]scanner{
	"cl100k_base": nextCL100KBase,
	"o200k_base":  nextO200K,
	"llama3":      nextLlama3,
}

// FromTiktoken builds a tokenizer from a file of ranks (openai/tiktoken), which
// may be hostile: a line for each token, its bytes in base64, a space, its rank,
// which is its ID. Two tokens merge if their bytes are a token, the one of lowest
// rank first; a word that is a token is that token. It returns ErrUnsupported for
// a pattern that this package does not know, and ErrVocabulary for what makes no
// sense. It keeps nothing of ranks.
func FromTiktoken(ranks []byte, o TiktokenOptions) (*Tokenizer, error) {
	next, ok := tiktokenPatterns[o.Pattern]
	if !ok {
		known := strings.Join(slices.Sorted(maps.Keys(tiktokenPatterns)), ", ")
		return nil, fmt.Errorf("%w: pattern %q, known are %s", ErrUnsupported, o.Pattern, known)
	}
	if len(ranks) > maxFileBytes {
		return nil, fmt.Errorf("%w: the file of ranks has %d bytes, limit %d", ErrVocabulary, len(ranks), maxFileBytes)
	}
	pieces := map[int32]string{}
	line := 0
	for text := range bytes.Lines(ranks) {
		line++
		id, piece, err := parseRank(strings.TrimSpace(string(text)))
		if err != nil {
			return nil, fmt.Errorf("%w: line %d %w", ErrVocabulary, line, err)
		}
		if _, ok := pieces[id]; ok {
			return nil, fmt.Errorf("%w: line %d repeats the rank %d", ErrVocabulary, line, id)
		}
		pieces[id] = piece
	}
	t := &Tokenizer{cuts: []scanner{next}, wholeWords: true, unknown: unknownRule{id: -1}}
	if err := t.loadRanks(pieces, o.Special); err != nil {
		return nil, err
	}
	t.eot, t.unk, t.pad = -1, -1, -1
	for _, mark := range []struct {
		text string
		id   *int32
	}{{o.BOS, &t.bos}, {o.EOS, &t.eos}} {
		*mark.id = -1
		if mark.text == "" {
			continue
		}
		id, ok := o.Special[mark.text]
		if !ok {
			return nil, fmt.Errorf("%w: BOS or EOS is %q, which is no special token", ErrVocabulary, mark.text)
		}
		*mark.id = id
	}
	t.addBOS = o.AddBOS
	t.markEnds()
	t.seal(identity{settings: "tiktoken " + o.Pattern, tokens: t.pieces})
	return t, nil
}

func parseRank(line string) (id int32, piece string, err error) {
	spelled, rank, _ := strings.Cut(line, " ")
	raw, err := base64.StdEncoding.DecodeString(spelled)
	if err != nil || len(raw) == 0 || len(raw) > maxPieceBytes {
		return 0, "", fmt.Errorf("has no token of 1 to %d bytes in base64", maxPieceBytes)
	}
	n, err := strconv.ParseUint(rank, 10, 31)
	if err != nil || n >= maxTokens {
		return 0, "", fmt.Errorf("has no rank below %d", maxTokens)
	}
	return int32(n), string(raw), nil
}

// loadRanks fills t, all but its marks, from the tokens by rank.
func (t *Tokenizer) loadRanks(pieces map[int32]string, special map[string]int32) error {
	size := int32(0)
	for id := range pieces {
		size = max(size, id+1)
	}
	for text, id := range special {
		if _, ok := pieces[id]; ok || id < 0 || id >= maxTokens || text == "" {
			return fmt.Errorf("%w: the special token %q has the ID %d: out of range, or a rank", ErrVocabulary, text, id)
		}
		size = max(size, id+1)
	}
	if int(size) > len(pieces)+len(special)+maxHoles {
		return fmt.Errorf("%w: %d tokens with IDs up to %d", ErrVocabulary, len(pieces)+len(special), size-1)
	}
	t.pieces = make([]string, size)
	t.kinds = make([]tokenKind, size)
	t.canonical = make([]uint32, size)
	t.words = make(map[string]int32, len(pieces))
	t.specials = map[string]int32{}
	for b := range t.byteToken {
		t.byteToken[b] = -1
	}
	ranks := make([]uint32, size)
	for id, piece := range pieces {
		if _, ok := t.words[piece]; ok {
			return fmt.Errorf("%w: the token %q has two ranks", ErrVocabulary, piece)
		}
		t.pieces[id], t.kinds[id], ranks[id] = piece, kindNormal, uint32(id)
		t.addWord(id)
	}
	if !t.allBytes() {
		return fmt.Errorf("%w: the file of ranks does not have every byte", ErrVocabulary)
	}
	var control []addedToken
	for text, id := range special {
		if t.pieces[id] != "" {
			return fmt.Errorf("%w: two special tokens have the ID %d", ErrVocabulary, id)
		}
		t.pieces[id], t.kinds[id], t.specials[text] = text, kindControl, id
		control = append(control, addedToken{text: text, id: id})
	}
	var err error
	if t.special, err = newSpecialSet(control, "special"); err != nil {
		return err
	}
	t.mergePieces(ranks)
	return nil
}
