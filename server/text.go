package server

import (
	"github.com/holdfast-run/holdfast/api"
	"github.com/holdfast-run/holdfast/engine"
)

// textKind is POST /v1/completions.
var textKind = kind{
	route:    "/v1/completions",
	id:       "cmpl-",
	input:    "prompt",
	inputHas: "the prompt has",
	read:     readText,
	chunks: chunkForm{
		object: api.ObjectTextCompletion,
		before: `"text":`,
		after:  `,"logprobs":null,"finish_reason":null}`,
		finish: `"text":"","logprobs":null,"finish_reason":`,
	},
	whole: wholeText,
}

func readText(body []byte) (job, error) {
	req, err := api.DecodeCompletionRequest(body)
	if err != nil {
		return job{}, err
	}
	return job{&req.Options, req.TokenLimit(), func(c *completion) ([][]int32, error) {
		return c.encodePrompts(&req.Prompt)
	}}, nil
}

// encodePrompts returns the tokens of each prompt.
func (c *completion) encodePrompts(p *api.Prompt) ([][]int32, error) {
	all := make([][]int32, 0, p.Len())
	for i, text := range p.Texts {
		tokens := c.s.worker.Encode(text, true)
		if len(tokens) == 0 {
			return nil, api.BadRequest(api.CodeInvalidPrompt, element("prompt", i, len(p.Texts)), "The prompt is empty, and this model has no token that begins a text.")
		}
		all = append(all, tokens)
	}
	for i, tokens := range p.Tokens {
		if err := checkTokens(c.info.VocabSize, element("prompt", i, len(p.Tokens)), tokens); err != nil {
			return nil, err
		}
		all = append(all, tokens)
	}
	return all, c.ctx.Err()
}

func wholeText(c *completion, texts [][]byte, reasons []engine.FinishReason) any {
	choices := make([]api.TextChoice, len(texts))
	for i := range choices {
		choices[i] = api.TextChoice{Index: i, Text: string(texts[i]), FinishReason: new(string(reasons[i]))}
	}
	return api.TextCompletion{
		ID:                c.id,
		Object:            api.ObjectTextCompletion,
		Created:           c.created,
		Model:             c.info.ID,
		SystemFingerprint: c.info.Class,
		Choices:           choices,
		Usage:             new(usageOf(c.usage())),
	}
}
