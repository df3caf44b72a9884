package chat

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/holdfast-run/holdfast/tokenizer"
	"github.com/holdfast-run/holdfast/weights"
)

// Files of a folder as published on Hugging Face's hub that may hold the
// template, in the order in which they count.
const (
	fileTemplate  = "chat_template.jinja"
	fileProcessor = "chat_template.json"
	fileTokenizer = "tokenizer_config.json"
)

// FromFile compiles the template of a model: FromMetadata of a GGUF file; of a
// folder, chat_template.jinja, or else what chat_template.json or
// tokenizer_config.json has as chat_template. tok says what BOS and EOS are. A
// model without a template gives nil and no error.
func FromFile(f *weights.File, tok *tokenizer.Tokenizer) (*Template, error) {
	if !f.Folder() {
		return FromMetadata(f.Meta(), tok)
	}
	for _, name := range []string{fileTemplate, fileProcessor, fileTokenizer} {
		data, err := f.Text(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("chat: %w", err)
		}
		src := string(data)
		if name != fileTemplate {
			if src, err = templateOf(data); err != nil {
				return nil, fmt.Errorf("chat: %s: %s: %w", f.Path(), name, err)
			}
		}
		if src == "" {
			continue
		}
		t, err := compileFor(src, tok)
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", f.Path(), name, err)
		}
		return t, nil
	}
	return nil, nil
}

// defaultTemplate is the one to take where a file has several, by name.
const defaultTemplate = "default"

// templateOf returns the chat_template of a JSON file: a text, or a list of
// {"name", "template"}. It is empty if there is none.
func templateOf(data []byte) (string, error) {
	var file struct {
		Template jsontext.Value `json:"chat_template"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		return "", err
	}
	switch file.Template.Kind() {
	case '"':
		var src string
		err := json.Unmarshal(file.Template, &src)
		return src, err
	case '[':
		var list []struct {
			Name     string `json:"name"`
			Template string `json:"template"`
		}
		if err := json.Unmarshal(file.Template, &list); err != nil {
			return "", err
		}
		for _, t := range list {
			if t.Name == defaultTemplate {
				return t.Template, nil
			}
		}
		return "", fmt.Errorf("chat_template is a list without one called %s", defaultTemplate)
	case 'n', jsontext.KindInvalid:
		return "", nil
	}
	return "", fmt.Errorf("chat_template is a %s", file.Template.Kind())
}
