package main

import (
	"bufio"
	"fmt"
	"io"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/holdfast-run/holdfast/engine"
	"github.com/holdfast-run/holdfast/tokenizer"
	"github.com/holdfast-run/holdfast/weights"
)

type tokenizeCmd struct {
	Model     string   `required:"" placeholder:"PATH" help:"The model: a GGUF file, of which one with a vocabulary and no weights is enough, or a folder with safetensors."`
	JSON      bool     `name:"json" help:"Print a JSON object for each text: ids, and pieces, the text of each token."`
	NoSpecial bool     `help:"Take the names of special tokens as plain text, and add no token at the beginning."`
	Texts     []string `arg:"" optional:"" name:"text" help:"Texts; without any, the whole standard input is one."`
}

// Help is shown by 'holdfast tokenize --help'.
func (tokenizeCmd) Help() string {
	return `Prints the token IDs of each text on a line of its own.

The names of special tokens, such as <|im_start|>, become these tokens, and the token that begins every text is added where the model wants one; --no-special does neither, which is how the text of a chat message is treated.

Standard input is taken as it is, with its last line's end.

Examples:
  holdfast tokenize --model m.gguf "Hello world"
  holdfast tokenize --model m.gguf --json --no-special < file.txt`
}

// Run prints tokens.
func (c *tokenizeCmd) Run(std streams) error {
	file, err := weights.Open(c.Model)
	if err != nil {
		return modelError(engine.Config{ModelPath: c.Model}, err)
	}
	defer file.Close()
	tok, err := tokenizer.FromFile(file)
	if err != nil {
		return modelError(engine.Config{ModelPath: c.Model}, err)
	}
	texts := c.Texts
	if len(texts) == 0 {
		data, err := io.ReadAll(std.in)
		if err != nil {
			return fmt.Errorf("stdin: %w", err)
		}
		texts = []string{string(data)}
	}
	w := bufio.NewWriter(std.out)
	var ids []int32
	for _, text := range texts {
		ids = c.encode(ids[:0], tok, text)
		if err := c.print(w, tok, ids); err != nil {
			return fmt.Errorf("stdout: %w", err)
		}
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("stdout: %w", err)
	}
	return nil
}

func (c *tokenizeCmd) encode(dst []int32, tok *tokenizer.Tokenizer, text string) []int32 {
	if c.NoSpecial {
		return tok.Encode(dst, text)
	}
	if bos, ok := tok.BOS(); ok && tok.AddBOS() {
		dst = append(dst, bos)
	}
	return tok.EncodeTemplate(dst, text)
}

func (c *tokenizeCmd) print(w io.Writer, tok *tokenizer.Tokenizer, ids []int32) error {
	var line []byte
	if c.JSON {
		out := struct {
			IDs    []int32  `json:"ids"`
			Pieces []string `json:"pieces"`
		}{ids, make([]string, len(ids))}
		for i, id := range ids {
			out.Pieces[i] = string(tok.AppendPiece(nil, id))
		}
		var err error
		// A piece may be a part of a character.
		if line, err = json.Marshal(out, jsontext.AllowInvalidUTF8(true)); err != nil {
			return err
		}
	} else {
		for i, id := range ids {
			if i > 0 {
				line = append(line, ' ')
			}
			line = strconv.AppendInt(line, int64(id), 10)
		}
	}
	_, err := w.Write(append(line, '\n'))
	return err
}
