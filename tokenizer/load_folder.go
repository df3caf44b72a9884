package tokenizer

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/holdfast-run/holdfast/weights"
)

// Files of a folder as published on Hugging Face's hub.
const (
	fileJSON       = "tokenizer.json"
	fileSentence   = "tokenizer.model"
	fileTokenizer  = "tokenizer_config.json"
	fileGeneration = "generation_config.json"
	fileConfig     = "config.json"
)

// FromFile builds the tokenizer of a model: FromMetadata of a GGUF file; of a
// folder, FromJSON of its tokenizer.json, or else FromSentencePiece of its
// tokenizer.model, with the tokenizer_config.json beside it. The tokens that end
// a generation are also those that generation_config.json names, or else
// config.json. Errors name the file.
func FromFile(f *weights.File) (*Tokenizer, error) {
	if !f.Folder() {
		return FromMetadata(f.Meta())
	}
	t, err := fromFolder(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Path(), err)
	}
	return t, nil
}

func fromFolder(f *weights.File) (*Tokenizer, error) {
	config, err := optional(f, fileTokenizer)
	if err != nil {
		return nil, err
	}
	t, err := fromFolderWith(f, config)
	if err != nil {
		return nil, err
	}
	return t, t.addEnds(f)
}

// optional returns a file of the folder; nil if it is not there.
func optional(f *weights.File, name string) ([]byte, error) {
	data, err := f.Text(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return data, err
}

func fromFolderWith(f *weights.File, config []byte) (*Tokenizer, error) {
	data, err := optional(f, fileJSON)
	if err != nil {
		return nil, err
	}
	if data != nil {
		return FromJSON(data, config)
	}
	if data, err = optional(f, fileSentence); err != nil {
		return nil, err
	}
	if data == nil {
		return nil, fmt.Errorf("%w: neither %s nor %s is there", ErrUnsupported, fileJSON, fileSentence)
	}
	return sentenceFolder(data, config)
}

// sentenceConfig is what a tokenizer_config.json says beside a tokenizer.model.
type sentenceConfig struct {
	AddBOS bool                 `json:"add_bos_token"`
	AddEOS bool                 `json:"add_eos_token"`
	Added  map[string]jsonAdded `json:"added_tokens_decoder"` // by ID
}

// sentenceFolder builds the tokenizer of a tokenizer.model. Tokens that only the
// configuration adds are refused: that is what a tokenizer.json is for.
func sentenceFolder(model, config []byte) (*Tokenizer, error) {
	var c sentenceConfig
	if config != nil {
		if err := json.Unmarshal(config, &c); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrVocabulary, fileTokenizer, err)
		}
	}
	t, err := FromSentencePiece(model, SentenceOptions{AddBOS: c.AddBOS, AddEOS: c.AddEOS})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", fileSentence, err)
	}
	for id, a := range c.Added {
		n, err := strconv.Atoi(id)
		if have, ok := t.ID(a.Content); err != nil || !ok || int(have) != n {
			return nil, fmt.Errorf("%w: %s adds %q as %q, which %s has not: %s is wanted", ErrUnsupported, fileTokenizer, a.Content, id, fileSentence, fileJSON)
		}
	}
	return t, nil
}

// maxEnds bounds how many tokens a file may name as ends.
const maxEnds = 64

// addEnds adds the ends of generation_config.json, or else of config.json.
func (t *Tokenizer) addEnds(f *weights.File) error {
	for _, name := range []string{fileGeneration, fileConfig} {
		data, err := optional(f, name)
		if err != nil {
			return err
		}
		if data == nil {
			continue
		}
		ids, err := endsOf(data)
		if err != nil {
			return fmt.Errorf("%w: %s: %w", ErrVocabulary, name, err)
		}
		for _, id := range ids {
			if id < 0 || id >= int64(len(t.pieces)) {
				return fmt.Errorf("%w: %s: eos_token_id %d, there are %d tokens", ErrVocabulary, name, id, len(t.pieces))
			}
			t.eog = append(t.eog, int32(id))
		}
		if len(ids) > 0 {
			break
		}
	}
	slices.Sort(t.eog)
	t.eog = slices.Compact(t.eog)
	return nil
}

// endsOf returns eos_token_id: a number, a list of them, null or nothing.
func endsOf(data []byte) ([]int64, error) {
	var file struct {
		EOS jsontext.Value `json:"eos_token_id"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, err
	}
	var ids []int64
	switch file.EOS.Kind() {
	case '0':
		ids = []int64{0}
		return ids, json.Unmarshal(file.EOS, &ids[0])
	case '[':
		if err := json.Unmarshal(file.EOS, &ids); err != nil {
			return nil, err
		}
	case 'n', jsontext.KindInvalid:
	default:
		return nil, fmt.Errorf("eos_token_id is a %s", file.EOS.Kind())
	}
	if len(ids) > maxEnds {
		return nil, fmt.Errorf("%d ends, limit %d", len(ids), maxEnds)
	}
	return ids, nil
}
