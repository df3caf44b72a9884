package server

import (
	"github.com/holdfast-run/holdfast/api"
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
		after:  `,"logprobs":`,
		finish: `"text":"","logprobs":null,"finish_reason":`,
	},
	logprobs: func(c *completion, tokens []placed) any { return c.textLogprobs(tokens) },
	whole:    wholeText,
}

func readText(body []byte) (*job, error) {
	req, err := api.DecodeCompletionRequest(body)
	if err != nil {
		return nil, err
	}
	return &job{
		Options:  &req.Options,
		limit:    req.TokenLimit(),
		logprobs: req.Logprobs != nil,
		top:      int(or(req.Logprobs, 0)),
		echo:     req.Echo,
		nothing:  req.TokenLimit() == 0,
		prompts:  func(c *completion) ([]prompt, error) { return c.encodePrompts(req) },
	}, nil
}

// encodePrompts returns the tokens of each prompt.
func (c *completion) encodePrompts(req *api.CompletionRequest) ([]prompt, error) {
	p := &req.Prompt
	all := make([]prompt, 0, p.Len())
	for i, text := range p.Texts {
		tokens := c.s.worker.Encode(text, or(req.AddSpecialTokens, true))
		if len(tokens) == 0 {
			return nil, api.BadRequest(api.CodeInvalidPrompt, element("prompt", i, len(p.Texts)), "The prompt is empty, and no token that begins a text stands before it.")
		}
		all = append(all, prompt{tokens, text})
	}
	for i, tokens := range p.Tokens {
		if err := checkTokens(c.info.VocabSize, element("prompt", i, len(p.Tokens)), tokens); err != nil {
			return nil, err
		}
		one := prompt{tokens: tokens}
		if req.Echo {
			one.text = c.s.worker.Decode(tokens)
		}
		all = append(all, one)
	}
	return all, c.ctx.Err()
}

func wholeText(c *completion, choices []choice) any {
	all := make([]api.TextChoice, len(choices))
	for i, one := range choices {
		all[i] = api.TextChoice{
			Index:        i,
			Text:         string(one.text),
			Logprobs:     c.textLogprobs(one.tokens),
			FinishReason: new(string(one.finish)),
		}
	}
	return api.TextCompletion{
		ID:                c.id,
		Object:            api.ObjectTextCompletion,
		Created:           c.created,
		Model:             c.info.ID,
		SystemFingerprint: c.info.Class,
		Choices:           all,
		Usage:             new(usageOf(c.usage())),
	}
}
