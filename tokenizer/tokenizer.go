package tokenizer

import (
	"errors"
	"strings"
	"sync"
)

// Errors of the loaders, wrapped with the key and what is wrong with it.
var (
	// ErrUnsupported is returned for a model, pre-tokenizer or setting that this
	// package does not know. It never guesses.
	ErrUnsupported = errors.New("tokenizer: unsupported")
	// ErrVocabulary is returned for a file that is malformed, contradicts itself or
	// breaks a limit.
	ErrVocabulary = errors.New("tokenizer: invalid vocabulary")
)

// Tokenizer is one model's vocabulary and what turns text into it. It is
// immutable after loading (but for caches) and safe for
// use by any number of goroutines. Token IDs are indexes into the vocabulary.
//
// Text is handled in this order: special tokens of trusted text are taken out;
// added tokens that any text may hold are taken out; what lies between is
// normalised, searched for tokens again, cut into words, and each word becomes
// tokens by merges or by the unigram model.
type Tokenizer struct {
	pieces []string    // by ID: the bytes that a token stands for
	kinds  []tokenKind // by ID

	special  *specialSet      // in text of templates only
	specials map[string]int32 // text -> ID, of control and user-defined tokens
	added    *specialSet      // in any text, before it is normalised
	inner    *specialSet      // in any text, after it was normalised

	steps     []step // normalise what lies between tokens of special and added
	wordSteps []step // normalise what lies between tokens of inner
	cuts      []scanner

	// The model: merges, or unigram if that is not nil. Its symbols are bytes, or
	// runes if that is not nil.
	byteToken   [256]int32 // token of one byte; -1 where there is none
	runes       map[rune]int32
	atoms       []rune           // runes that are no tokens but begin merges: symbols len(pieces) + index
	words       map[string]int32 // as the vocabulary spells it -> token, of what the model can make
	longestWord int              // in bytes, over words
	wholeWords  bool             // a word that is a token is that token, whatever the merges say
	merges      *mergeTable
	canonical   []uint32 // by ID; canonicalUnknown, Yes or No; accessed atomically
	unigram     *unigram
	unknown     unknownRule
	seen        sync.Pool // of *seenWords

	leading leadingRule // what Decode does with the space that encoding put first

	bos, eos, eot, unk, pad int32 // -1 = none
	eog                     []int32
	addBOS, addEOS          bool
	digest                  [32]byte
}

// unknownRule says what becomes of a rune that the vocabulary does not have.
type unknownRule struct {
	bytes bool  // its bytes' tokens, where all of them have one
	id    int32 // else this token; -1: nothing
	fuse  bool  // one for a run of such runes
}

// tokenKind is the value of tokenizer.ggml.token_type (ggml-org/llama.cpp,
// llama_token_type).
type tokenKind int8

const (
	kindUndefined   tokenKind = 0 // some converters write it for padding
	kindNormal      tokenKind = 1
	kindUnknown     tokenKind = 2
	kindControl     tokenKind = 3
	kindUserDefined tokenKind = 4
	kindUnused      tokenKind = 5
	kindByte        tokenKind = 6
)

// eogNames are the texts of control tokens that end a generation, whatever the
// metadata says of EOS and EOT.
var eogNames = []string{
	"<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|endoftext|>", "<|end_of_text|>", "<end_of_turn>",
}

// VocabSize returns the number of tokens; IDs are 0 to VocabSize()-1.
func (t *Tokenizer) VocabSize() int { return len(t.pieces) }

// BOS returns the token that begins a text, if the model has one.
func (t *Tokenizer) BOS() (id int32, ok bool) { return t.bos, t.bos >= 0 }

// EOS returns the token that ends a text, if the model has one.
func (t *Tokenizer) EOS() (id int32, ok bool) { return t.eos, t.eos >= 0 }

// AddBOS reports whether the model wants BOS before every text. Encode and its
// kin never add it.
func (t *Tokenizer) AddBOS() bool { return t.addBOS && t.bos >= 0 }

// AddEOS reports whether the model wants EOS after every text. Encode and its
// kin never add it.
func (t *Tokenizer) AddEOS() bool { return t.addEOS && t.eos >= 0 }

// EOG returns the IDs for which IsEOG is true, ascending. The slice is the
// tokenizer's own.
func (t *Tokenizer) EOG() []int32 { return t.eog }

// IsEOG reports whether a model that emits the token has finished: EOS, EOT,
// or a control token known to end a turn.
func (t *Tokenizer) IsEOG(id int32) bool {
	for _, end := range t.eog {
		if id == end {
			return true
		}
	}
	return false
}

// Special reports whether the token is one that only EncodeTemplate and
// EncodeSpans can yield: a control token, and in byte-level vocabularies a
// user-defined one.
func (t *Tokenizer) Special(id int32) bool {
	return t.valid(id) && (t.kinds[id] == kindControl || t.kinds[id] == kindUserDefined && t.byteLevel())
}

// Control reports whether the token is a control token: one that is left out
// of text shown to a user.
func (t *Tokenizer) Control(id int32) bool {
	return t.valid(id) && t.kinds[id] == kindControl
}

func (k tokenKind) special() bool { return k == kindControl || k == kindUserDefined }

func (t *Tokenizer) valid(id int32) bool { return id >= 0 && int(id) < len(t.pieces) }

// Piece returns the bytes of one token as AppendPiece gives them: not
// necessarily valid UTF-8.
func (t *Tokenizer) Piece(id int32) string {
	if !t.valid(id) {
		return ""
	}
	return t.pieces[id]
}

// ID returns the token whose piece is exactly piece; a special token if both a
// special and an ordinary one have it.
func (t *Tokenizer) ID(piece string) (id int32, ok bool) {
	if id, ok = t.specials[piece]; ok {
		return id, true
	}
	if !t.byteLevel() {
		piece = strings.ReplaceAll(piece, " ", spaceMark)
	}
	id, ok = t.words[piece]
	return id, ok
}

// byteLevel reports whether the model's symbols are bytes.
func (t *Tokenizer) byteLevel() bool { return t.runes == nil && t.unigram == nil }

// MissingBytes returns the bytes that a byte-level vocabulary has no token for.
func (t *Tokenizer) MissingBytes() []byte {
	if !t.byteLevel() {
		return nil
	}
	var missing []byte
	for b, id := range t.byteToken {
		if id < 0 {
			missing = append(missing, byte(b))
		}
	}
	return missing
}

// Digest returns the BLAKE3 digest of everything that changes what Encode and
// EncodeTemplate return. Tokenizers with one digest encode alike.
func (t *Tokenizer) Digest() [32]byte { return t.digest }
