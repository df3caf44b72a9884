package tokenizer

import (
	"errors"
	"fmt"
)

// maxFileBytes bounds a tokenizer file; the largest in use has about 35 MB.
const maxFileBytes = 1 << 27

// SentenceOptions says what a tokenizer.model does not.
type SentenceOptions struct {
	// AddBOS and AddEOS are what the model wants around every text. The default is
	// neither.
	AddBOS, AddEOS bool
}

// sentenceProto is what of a tokenizer.model matters (google/sentencepiece,
// src/sentencepiece_model.proto). Everything has the default of the format.
type sentenceProto struct {
	sentenceModel
	modelType          int32
	suffix, noEscape   bool
	charsMap           bool
	unk, bos, eos, pad int32
}

const wherePieces = "pieces"

// FromSentencePiece builds the tokenizer of a SentencePiece model file
// (tokenizer.model), BPE or unigram, which may be hostile. It returns
// ErrUnsupported for what this package does not know, above all a normaliser
// with a character map, and ErrVocabulary for what makes no sense. It keeps
// nothing of model.
func FromSentencePiece(model []byte, o SentenceOptions) (*Tokenizer, error) {
	if len(model) > maxFileBytes {
		return nil, fmt.Errorf("%w: the model has %d bytes, limit %d", ErrVocabulary, len(model), maxFileBytes)
	}
	p := newSentenceProto()
	if err := eachField(model, p.field); err != nil {
		if errors.Is(err, ErrVocabulary) {
			return nil, err
		}
		return nil, fmt.Errorf("%w: the model %w", ErrVocabulary, err)
	}
	return p.build(o)
}

// newSentenceProto returns the defaults of the format.
func newSentenceProto() *sentenceProto {
	p := &sentenceProto{modelType: 1, bos: 1, eos: 2, pad: -1}
	p.where, p.prefix, p.squeeze = wherePieces, true, true
	return p
}

func (p *sentenceProto) build(o SentenceOptions) (*Tokenizer, error) {
	switch {
	case p.modelType != 1 && p.modelType != 2:
		return nil, fmt.Errorf("%w: trainer_spec.model_type = %d, known are 1 (unigram) and 2 (BPE)", ErrUnsupported, p.modelType)
	case p.suffix:
		return nil, fmt.Errorf("%w: trainer_spec.treat_whitespace_as_suffix = true", ErrUnsupported)
	case p.noEscape:
		return nil, fmt.Errorf("%w: normalizer_spec.escape_whitespaces = false", ErrUnsupported)
	case p.charsMap:
		return nil, fmt.Errorf("%w: precompiled_charsmap: no character map but the identity is known", ErrUnsupported)
	}
	p.unigram = p.modelType == 1
	t := new(Tokenizer)
	if err := t.loadSentence(&p.sentenceModel); err != nil {
		return nil, err
	}
	t.eot = -1
	for _, mark := range []struct {
		name string
		from int32
		to   *int32
	}{{"unk_id", p.unk, &t.unk}, {"bos_id", p.bos, &t.bos}, {"eos_id", p.eos, &t.eos}, {"pad_id", p.pad, &t.pad}} {
		if mark.from < -1 || int(mark.from) >= len(t.pieces) {
			return nil, fmt.Errorf("%w: trainer_spec.%s = %d, there are %d pieces", ErrVocabulary, mark.name, mark.from, len(t.pieces))
		}
		*mark.to = mark.from
	}
	t.addBOS, t.addEOS = o.AddBOS, o.AddEOS
	t.markEnds()
	t.seal(p.identity())
	return t, nil
}

// field reads a field of ModelProto.
func (p *sentenceProto) field(f field) error {
	switch f.number {
	case 1:
		return p.piece(f)
	case 2:
		return message(f, p.trainer)
	case 3:
		return message(f, p.normalizer)
	case 5: // denormalizer_spec
		return message(f, func(f field) error {
			p.charsMap = p.charsMap || f.number == 2 && len(f.bytes) > 0
			return nil
		})
	}
	return nil
}

func message(f field, read func(field) error) error {
	if err := f.want(wireBytes); err != nil {
		return err
	}
	return eachField(f.bytes, read)
}

func (p *sentenceProto) piece(f field) error {
	id := len(p.tokens)
	if id == maxTokens {
		return fmt.Errorf("%w: more than %d %s", ErrVocabulary, maxTokens, wherePieces)
	}
	token, kind, score := "", kindNormal, float32(0)
	err := message(f, func(f field) error {
		switch f.number {
		case 1:
			token = string(f.bytes)
			return f.want(wireBytes)
		case 2:
			score = f.float32()
			return f.want(wireFixed32)
		case 3:
			if f.value < uint64(kindNormal) || f.value > uint64(kindByte) {
				return fmt.Errorf("%w: %s[%d] has the type %d", ErrVocabulary, wherePieces, id, f.value)
			}
			kind = tokenKind(f.value)
			return f.want(wireVarint)
		}
		return nil
	})
	p.tokens = append(p.tokens, token)
	p.kinds = append(p.kinds, kind)
	p.scores = append(p.scores, float64(score))
	return err
}

func (p *sentenceProto) trainer(f field) error {
	switch f.number {
	case 3:
		p.modelType = f.int32()
	case 24:
		p.suffix = f.value != 0
	case 35:
		p.fallback = f.value != 0
	case 40:
		p.unk = f.int32()
	case 41:
		p.bos = f.int32()
	case 42:
		p.eos = f.int32()
	case 43:
		p.pad = f.int32()
	default:
		return nil
	}
	return f.want(wireVarint)
}

func (p *sentenceProto) normalizer(f field) error {
	switch f.number {
	case 2:
		p.charsMap = p.charsMap || len(f.bytes) > 0
		return f.want(wireBytes)
	case 3:
		p.prefix = f.value != 0
	case 4:
		p.squeeze = f.value != 0
	case 5:
		p.noEscape = f.value == 0
	default:
		return nil
	}
	return f.want(wireVarint)
}
