package tokenizer

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// jsonFile is a tokenizer.json (huggingface/tokenizers). Truncation and padding
// are for training and are not read.
type jsonFile struct {
	Added         []jsonAdded    `json:"added_tokens"`
	Normalizer    jsontext.Value `json:"normalizer"`
	PreTokenizer  jsontext.Value `json:"pre_tokenizer"`
	PostProcessor jsontext.Value `json:"post_processor"`
	Decoder       jsontext.Value `json:"decoder"`
	Model         jsontext.Value `json:"model"`
}

type jsonAdded struct {
	ID         int64  `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"`
	Lstrip     bool   `json:"lstrip"`
	Rstrip     bool   `json:"rstrip"`
	Normalized bool   `json:"normalized"`
	Special    bool   `json:"special"`
}

// jsonConfig is what of a tokenizer_config.json matters.
type jsonConfig struct {
	BOS    jsonText `json:"bos_token"`
	EOS    jsonText `json:"eos_token"`
	Unk    jsonText `json:"unk_token"`
	Pad    jsonText `json:"pad_token"`
	AddBOS *bool    `json:"add_bos_token"`
	AddEOS *bool    `json:"add_eos_token"`
}

// jsonText is a string, an object with its content, or null.
type jsonText string

// UnmarshalJSON implements json.Unmarshaler.
func (t *jsonText) UnmarshalJSON(data []byte) error {
	var object struct {
		Content string `json:"content"`
	}
	if jsontext.Value(data).Kind() == '{' {
		err := json.Unmarshal(data, &object)
		*t = jsonText(object.Content)
		return err
	}
	return json.Unmarshal(data, (*string)(t))
}

// jsonLoader turns a jsonFile into a Tokenizer, part by part.
type jsonLoader struct {
	t         *Tokenizer
	file      jsonFile
	config    jsonConfig
	byteLevel bool // words are bytes, by the pre-tokenizer ByteLevel
	unbyte    bool // the decoder has ByteFallback
	growth    int  // bytes that the normalizers make of one, at most; 0: there is none
	begin     string
	end       string // what TemplateProcessing puts around a text
	identity  identity
}

// FromJSON builds the tokenizer of a tokenizer.json, which may be hostile: BPE,
// byte-level or not, and unigram, with what the files of Llama 3, Qwen 2 to 3,
// Gemma 2 and 3, Mistral, Phi-3 and SmolLM2 use besides. config is the
// tokenizer_config.json beside it, nil if there is none: it names the special
// tokens, and its add_bos_token and add_eos_token count more than the
// template of tokenizer.json. It returns ErrUnsupported, naming the part, for
// anything else, and ErrVocabulary for what makes no sense.
//
// An added token that is special is a control token. One that is not is a
// user-defined one: any text may hold it, but in a byte-level vocabulary only
// trusted text. Special tokens are looked for in the text as it stands, even if
// the file has them normalised. A merge that would make one is left out.
func FromJSON(tokenizer, config []byte) (*Tokenizer, error) {
	if size := len(tokenizer) + len(config); size > maxFileBytes {
		return nil, fmt.Errorf("%w: tokenizer.json has %d bytes, limit %d", ErrVocabulary, size, maxFileBytes)
	}
	l := &jsonLoader{t: new(Tokenizer)}
	if err := json.Unmarshal(tokenizer, &l.file); err != nil {
		return nil, fmt.Errorf("%w: tokenizer.json: %w", ErrVocabulary, err)
	}
	if config != nil {
		if err := json.Unmarshal(config, &l.config); err != nil {
			return nil, fmt.Errorf("%w: tokenizer_config.json: %w", ErrVocabulary, err)
		}
	}
	for _, part := range []func() error{l.normalizer, l.preTokenizer, l.postProcessor, l.decoder, l.model, l.marks} {
		if err := part(); err != nil {
			return nil, err
		}
	}
	l.t.seal(l.identity)
	return l.t, nil
}

// vocabularyOf joins the tokens of the model, of which there are known with IDs
// below size, and the added ones.
func (l *jsonLoader) vocabularyOf(known, size int, each func(func(token string, id int64) error) error) (*vocabulary, error) {
	known += len(l.file.Added)
	for _, a := range l.file.Added {
		size = max(size, int(min(a.ID, maxTokens))+1)
	}
	if size < 1 || size > maxTokens {
		return nil, fmt.Errorf("%w: tokenizer.json has %d tokens, limits 1 and %d", ErrVocabulary, size, maxTokens)
	}
	if size > known+maxHoles {
		return nil, fmt.Errorf("%w: tokenizer.json has %d tokens and IDs up to %d", ErrVocabulary, known, size-1)
	}
	v := &vocabulary{where: "model.vocab", tokens: make([]string, size), kinds: make([]tokenKind, size), model: make([]bool, size)}
	err := each(func(token string, id int64) error {
		if id < 0 || id >= int64(size) || v.tokens[id] != "" || token == "" {
			return fmt.Errorf("%w: model.vocab has %q as %d: out of range, or not the only one", ErrVocabulary, token, id)
		}
		v.tokens[id], v.kinds[id], v.model[id] = token, kindNormal, true
		return nil
	})
	if err != nil {
		return nil, err
	}
	for i, a := range l.file.Added {
		where := fmt.Sprintf("added_tokens[%d]", i)
		if a.ID < 0 || a.ID >= int64(size) || a.Content == "" {
			return nil, fmt.Errorf("%w: %s is %q with the ID %d", ErrVocabulary, where, a.Content, a.ID)
		}
		if old := v.tokens[a.ID]; old != "" && old != a.Content || v.kinds[a.ID] >= kindControl {
			return nil, fmt.Errorf("%w: %s is %q with the ID %d, which is %q", ErrVocabulary, where, a.Content, a.ID, old)
		}
		v.tokens[a.ID] = a.Content
		v.kinds[a.ID] = kindUserDefined
		if a.Special || l.isMark(a.Content) {
			v.kinds[a.ID] = kindControl
			v.model[a.ID] = false
		}
	}
	return v, nil
}

// isMark reports whether text never may become this token, special or not.
func (l *jsonLoader) isMark(token string) bool {
	return token == l.begin || token == l.end || slices.Contains(eogNames, token) ||
		slices.Contains([]jsonText{l.config.BOS, l.config.EOS, l.config.Pad}, jsonText(token))
}

// addedTokens sorts the added tokens into the sets in which they are looked for.
func (l *jsonLoader) addedTokens(v *vocabulary) (err error) {
	var special, added, inner []addedToken
	var b stepBuffers
	seen := map[string]bool{} // texts of inner
	for _, a := range l.file.Added {
		token := addedToken{a.Content, int32(a.ID), a.Lstrip, a.Rstrip, a.SingleWord}
		control := v.kinds[a.ID] == kindControl
		normalized := a.Normalized && !control && !l.byteLevel
		if !normalized {
			special = append(special, token)
		}
		switch {
		case control || l.byteLevel:
		case normalized:
			token.text = strings.Clone(b.run(l.t.steps, a.Content, false))
			if token.text == "" || seen[token.text] {
				return fmt.Errorf("%w: added_tokens: %q is not one token when normalised", ErrVocabulary, a.Content)
			}
			l.t.pieces[a.ID] = strings.ReplaceAll(token.text, spaceMark, " ")
			seen[token.text] = true
			inner = append(inner, token)
		default:
			added = append(added, token)
		}
	}
	const where = "added_tokens"
	if l.t.special, err = newSpecialSet(special, where); err != nil {
		return err
	}
	if l.t.added, err = newSpecialSet(added, where); err != nil {
		return err
	}
	l.t.inner, err = newSpecialSet(inner, where)
	return err
}

// marks finds the tokens with a meaning of their own.
func (l *jsonLoader) marks() error {
	t, c := l.t, &l.config
	t.eot = -1
	find := func(name string, text jsonText, id *int32) error {
		*id = -1
		if text == "" {
			return nil
		}
		found, ok := t.specials[string(text)]
		if !ok {
			return fmt.Errorf("%w: %s is %q, which is no added token", ErrVocabulary, name, text)
		}
		*id = found
		return nil
	}
	bos, eos := c.BOS, c.EOS
	if bos == "" {
		bos = jsonText(l.begin)
	}
	if eos == "" {
		eos = jsonText(l.end)
	}
	if err := errors.Join(find("bos_token", bos, &t.bos), find("eos_token", eos, &t.eos),
		find("unk_token", c.Unk, &t.unk), find("pad_token", c.Pad, &t.pad)); err != nil {
		return err
	}
	if t.addBOS = l.begin != ""; c.AddBOS != nil {
		t.addBOS = *c.AddBOS
	}
	if t.addEOS = l.end != ""; c.AddEOS != nil {
		t.addEOS = *c.AddEOS
	}
	if l.begin != "" && jsonText(l.begin) != bos || l.end != "" && jsonText(l.end) != eos {
		return fmt.Errorf("%w: post_processor puts %q and %q around a text; BOS and EOS are %q and %q", ErrUnsupported, l.begin, l.end, bos, eos)
	}
	t.markEnds()
	l.identity.settings = l.settings()
	return nil
}

// settings is all that changes encoding and is not in the vocabulary, for the
// digest.
func (l *jsonLoader) settings() string {
	var b strings.Builder
	fmt.Fprintf(&b, "json normalizer=%s pre_tokenizer=%s whole=%t unknown=%v unigram=%t", compact(l.file.Normalizer),
		compact(l.file.PreTokenizer), l.t.wholeWords, l.t.unknown, l.t.unigram != nil)
	for _, a := range l.file.Added {
		fmt.Fprintf(&b, " %v", a)
	}
	return b.String()
}

func compact(v jsontext.Value) string {
	v = v.Clone()
	if v.Canonicalize() != nil {
		return ""
	}
	return string(v)
}

// jsonModel is the model of a tokenizer.json.
type jsonModel struct {
	Type         string         `json:"type"`
	Vocab        jsontext.Value `json:"vocab"`
	Merges       []jsonMerge    `json:"merges"`
	Dropout      *float64       `json:"dropout"`
	UnkToken     *string        `json:"unk_token"`
	UnkID        *int64         `json:"unk_id"`
	Prefix       *string        `json:"continuing_subword_prefix"`
	Suffix       *string        `json:"end_of_word_suffix"`
	FuseUnk      bool           `json:"fuse_unk"`
	ByteFallback bool           `json:"byte_fallback"`
	IgnoreMerges bool           `json:"ignore_merges"`
}

// jsonMerge is "left right", or a list of both.
type jsonMerge [2]string

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (m *jsonMerge) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	if dec.PeekKind() == '[' {
		return json.UnmarshalDecode(dec, (*[2]string)(m))
	}
	token, err := dec.ReadToken()
	if err != nil {
		return err
	}
	if token.Kind() != '"' {
		return fmt.Errorf("a merge is %s, want text or a list", token.Kind())
	}
	text := token.String()
	left, right, ok := cutMerge(text)
	if !ok {
		return fmt.Errorf("the merge %q is not two tokens", text)
	}
	*m = jsonMerge{left, right}
	return nil
}

func (l *jsonLoader) model() error {
	var m jsonModel
	if err := parsePart("model", l.file.Model, &m); err != nil {
		return err
	}
	if m.Dropout != nil && *m.Dropout != 0 {
		return fmt.Errorf("%w: model.dropout = %v", ErrUnsupported, *m.Dropout)
	}
	if m.Prefix != nil && *m.Prefix != "" || m.Suffix != nil && *m.Suffix != "" {
		return fmt.Errorf("%w: model.continuing_subword_prefix or end_of_word_suffix", ErrUnsupported)
	}
	switch {
	case m.Type == "Unigram" && !l.byteLevel:
		return l.unigram(&m)
	case m.Type == "BPE" || m.Type == "" && m.Merges != nil: // old files leave it out
		return l.bpe(&m)
	}
	return fmt.Errorf("%w: model.type = %q with ByteLevel = %t, known are BPE and Unigram", ErrUnsupported, m.Type, l.byteLevel)
}

func (l *jsonLoader) bpe(m *jsonModel) error {
	var ids map[string]int64
	if err := json.Unmarshal(m.Vocab, &ids); err != nil {
		return fmt.Errorf("%w: model.vocab: %w", ErrVocabulary, err)
	}
	size := 0
	for _, id := range ids {
		size = max(size, int(min(id, maxTokens))+1)
	}
	v, err := l.vocabularyOf(len(ids), size, func(add func(string, int64) error) error {
		for token, id := range ids {
			if err := add(token, id); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	l.t.wholeWords = m.IgnoreMerges
	byText := map[string]int32{}
	if l.byteLevel {
		byText, err = l.t.loadBytes(v)
	} else {
		l.byteTokens(v, m.ByteFallback)
		err = l.t.loadRunes(v)
		for id, token := range v.tokens {
			byText[token] = int32(id)
		}
	}
	if err != nil {
		return err
	}
	if err := l.unknownRunes(m, byText); err != nil {
		return err
	}
	if err := l.merges(m.Merges, byText); err != nil {
		return err
	}
	l.identity.tokens = v.tokens
	if !l.byteLevel {
		l.t.cuts = append(l.t.cuts, l.t.newBorders().next)
	}
	return l.addedTokens(v)
}

// byteTokens marks the tokens that stand for bytes.
func (l *jsonLoader) byteTokens(v *vocabulary, fallback bool) {
	for id, token := range v.tokens {
		if _, ok := byteOf(token); ok && fallback && v.kinds[id] != kindControl {
			v.kinds[id] = kindByte
		}
	}
}

// unknownRunes reads what becomes of runes that are not in the vocabulary. In a
// byte-level one such bytes are left out, whatever the file says: the unknown
// token of these files ends a text.
func (l *jsonLoader) unknownRunes(m *jsonModel, ids map[string]int32) error {
	l.t.unknown = unknownRule{bytes: m.ByteFallback, id: -1, fuse: m.FuseUnk}
	if l.byteLevel {
		return nil
	}
	if m.ByteFallback && !l.unbyte {
		return fmt.Errorf("%w: model.byte_fallback = true, but decoder has no ByteFallback", ErrUnsupported)
	}
	if m.ByteFallback && !l.t.allBytes() {
		return fmt.Errorf("%w: model.byte_fallback = true, but not every byte has a token", ErrVocabulary)
	}
	if m.UnkToken == nil {
		return nil
	}
	id, ok := ids[*m.UnkToken]
	if !ok {
		return fmt.Errorf("%w: model.unk_token = %q is not in the vocabulary", ErrVocabulary, *m.UnkToken)
	}
	l.t.unknown.id = id
	return nil
}

func (l *jsonLoader) merges(merges []jsonMerge, ids map[string]int32) error {
	if len(merges) > maxMerges {
		return fmt.Errorf("%w: model.merges has %d entries, limit %d", ErrVocabulary, len(merges), maxMerges)
	}
	l.t.merges = newMergeTable(len(merges))
	for rank, m := range merges {
		if _, err := l.t.addMerge(m[0], m[1], uint32(rank), ids); err != nil {
			return fmt.Errorf("%w: model.merges[%d] = %q %w", ErrVocabulary, rank, m, err)
		}
		l.identity.merges = append(l.identity.merges, m[0], m[1])
	}
	return nil
}

func (l *jsonLoader) unigram(m *jsonModel) error {
	type piece struct {
		token string
		score float64
	}
	var rows [][2]jsontext.Value
	if err := json.Unmarshal(m.Vocab, &rows); err != nil {
		return fmt.Errorf("%w: model.vocab: %w", ErrVocabulary, err)
	}
	pieces := make([]piece, len(rows))
	for i, row := range rows {
		if err := errors.Join(json.Unmarshal(row[0], &pieces[i].token), json.Unmarshal(row[1], &pieces[i].score)); err != nil {
			return fmt.Errorf("%w: model.vocab[%d]: %w", ErrVocabulary, i, err)
		}
		if math.IsInf(pieces[i].score, 0) {
			return fmt.Errorf("%w: model.vocab[%d] has no finite score", ErrVocabulary, i)
		}
		l.identity.scores = append(l.identity.scores, pieces[i].score)
	}
	v, err := l.vocabularyOf(len(pieces), len(pieces), func(add func(string, int64) error) error {
		for id, p := range pieces {
			if err := add(p.token, int64(id)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	l.byteTokens(v, m.ByteFallback)
	if err := l.t.loadRunes(v); err != nil {
		return err
	}
	if err := l.unknownRunes(m, nil); err != nil {
		return err
	}
	l.t.unknown.fuse = true
	if m.UnkID != nil {
		if *m.UnkID < 0 || *m.UnkID >= int64(len(pieces)) {
			return fmt.Errorf("%w: model.unk_id = %d, there are %d pieces", ErrVocabulary, *m.UnkID, len(pieces))
		}
		l.t.unknown.id = int32(*m.UnkID)
	}
	var texts []string
	var ids []int32
	var scores []float64
	least := math.Inf(1)
	for id, p := range pieces {
		least = min(least, p.score)
		if v.model[id] {
			texts, ids, scores = append(texts, p.token), append(ids, int32(id)), append(scores, p.score)
		}
	}
	l.t.unigram = newUnigram(texts, ids, scores, make([]bool, len(texts)), false)
	l.t.unigram.unknown = least - unknownPenalty // special pieces count here
	l.identity.tokens = v.tokens
	return l.addedTokens(v)
}
