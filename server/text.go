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
	return textJob(req), nil
}

func textJob(req *api.CompletionRequest) *job {
	size := 0
	for _, text := range req.Prompt.Texts {
		size += len(text)/bytesPerToken + 1
	}
	for _, tokens := range req.Prompt.Tokens {
		size += len(tokens)
	}
	return &job{
		Options:  &req.Options,
		text:     req,
		size:     int64(size),
		limit:    req.TokenLimit(),
		logprobs: req.Logprobs != nil,
		goesOn:   true,
		top:      int(or(req.Logprobs, 0)),
		echo:     req.Echo,
		nothing:  req.TokenLimit() == 0,
		prompts: func(c *completion) ([]prompt, error) {
			if c.turn != nil {
				return c.encodeText(req)
			}
			return c.encodePrompts(req)
		},
	}
}

// encodePrompts returns the tokens of each prompt.
func (c *completion) encodePrompts(req *api.CompletionRequest) ([]prompt, error) {
	p := &req.Prompt
	all := make([]prompt, 0, p.Len())
	for i, text := range p.Texts {
		if err := c.checkSize(text, element("prompt", i, len(p.Texts))); err != nil {
			return nil, err
		}
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

// checkSize refuses a text that cannot fit the context, whatever its tokens are.
func (c *completion) checkSize(text, param string) error {
	// A tokenizer that composes characters (NFC) leaves a third of a text's
	// bytes or more.
	const shrinks = 3
	if least := len(text) / (shrinks * c.s.worker.MaxTokenBytes()); least+max(c.job.limit, 1) > c.info.ContextLength {
		return api.BadRequest(api.CodeContextLength, param,
			"This model's context holds %d tokens, but the prompt has at least %d and the completion asks for %d. Shorten the prompt or the completion.",
			c.info.ContextLength, least, c.job.limit)
	}
	return nil
}

func wholeText(c *completion, choices []choice) any {
	all := make([]api.TextChoice, len(choices))
	for i, one := range choices {
		all[i] = api.TextChoice{
			Index:        i,
			Text:         string(one.text),
			Logprobs:     c.textLogprobs(one.tokens),
			FinishReason: new(string(one.finish)),

			TokenIDs:       one.ids,
			PromptTokenIDs: c.promptIDs(&c.generations[i]),
			PromptLogprobs: c.promptRanks(&c.generations[i]),
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
		Session:           c.sessionState(),
	}
}
