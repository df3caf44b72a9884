package server

import (
	"strings"
	"unicode/utf8"

	"github.com/holdfast-run/holdfast/api"
	"github.com/holdfast-run/holdfast/engine"
)

// placed is a token of a choice, with its place in the choice's text.
type placed struct {
	engine.TokenLogprob
	offset int  // characters before it
	first  bool // of a prompt: nothing said how likely it would be
}

// place appends to dst the tokens that text was made of, the next of a
// generation. Where text is not just their bytes, because it ends before a stop
// string or a token in it has no text, no place is behind its end. The first
// token begins at byte 'at' of text, which may be before it.
func (c *completion) place(dst []placed, g *generation, text string, tokens []engine.TokenLogprob, at int) []placed {
	r := ruler{text: text}
	for _, t := range tokens {
		dst = append(dst, placed{TokenLogprob: t, offset: g.chars + r.to(at)})
		at += len(c.tokenBytes(t.Token))
	}
	g.chars += utf8.RuneCountInString(text)
	return dst
}

// placePrompt is place for a generation's prompt. Its tokens may say more than
// its text: they may begin with a token that begins every text.
func (c *completion) placePrompt(dst []placed, g *generation) []placed {
	if !c.job.logprobs {
		return dst
	}
	tokens := c.generations[g.leader].stream.Prompt()
	var whole strings.Builder
	for _, t := range tokens {
		whole.Write(c.tokenBytes(t.Token))
	}
	at := 0
	if strings.HasSuffix(whole.String(), g.prompt.text) {
		at = len(g.prompt.text) - whole.Len()
	}
	dst = c.place(dst, g, g.prompt.text, tokens, at)
	if len(dst) > 0 {
		dst[0].first = true
	}
	return dst
}

// tokenBytes returns the bytes of a token, valid until the next call.
func (c *completion) tokenBytes(token int32) []byte {
	c.token = c.s.worker.AppendToken(c.token[:0], token)
	return c.token
}

// ruler counts the characters of a text, as Python does, up to ever later bytes.
type ruler struct {
	text      string
	at, chars int
}

// to returns the number of characters before the one that byte at is in.
func (r *ruler) to(at int) int {
	at = min(max(at, r.at), len(r.text))
	for at > r.at && at < len(r.text) && !utf8.RuneStart(r.text[at]) {
		at--
	}
	r.chars += utf8.RuneCountInString(r.text[r.at:at])
	r.at = at
	return r.chars
}

// chatLogprobs writes tokens as a chat completion does, or nil if nobody asked.
func (c *completion) chatLogprobs(tokens []placed) *api.ChatLogprobs {
	if !c.job.logprobs {
		return nil
	}
	l := &api.ChatLogprobs{Content: make([]api.TokenLogprob, len(tokens))}
	for i, t := range tokens {
		l.Content[i].TopLogprob = c.topLogprob(t.Token, t.Logprob)
		l.Content[i].TopLogprobs = make([]api.TopLogprob, len(t.Top))
		for j, top := range t.Top {
			l.Content[i].TopLogprobs[j] = c.topLogprob(top.Token, top.Logprob)
		}
	}
	return l
}

func (c *completion) topLogprob(token int32, logprob float64) api.TopLogprob {
	b := c.tokenBytes(token)
	t := api.TopLogprob{Token: api.TokenName(b), Logprob: max(logprob, api.MinLogprob), Bytes: make([]int, len(b))}
	for i := range b {
		t.Bytes[i] = int(b[i])
	}
	return t
}

// textLogprobs writes tokens as a completion does, or nil if nobody asked.
func (c *completion) textLogprobs(tokens []placed) *api.TextLogprobs {
	if !c.job.logprobs {
		return nil
	}
	n := len(tokens)
	l := &api.TextLogprobs{
		Tokens:        make([]string, n),
		TokenLogprobs: make([]*float64, n),
		TopLogprobs:   make([]api.LogprobsByToken, n),
		TextOffset:    make([]int, n),
	}
	for i, t := range tokens {
		l.Tokens[i] = api.TokenName(c.tokenBytes(t.Token))
		l.TextOffset[i] = t.offset
		if t.first {
			continue
		}
		l.TokenLogprobs[i] = new(max(t.Logprob, api.MinLogprob))
		l.TopLogprobs[i] = make(api.LogprobsByToken, 0, len(t.Top)+1)
		for _, top := range t.Top {
			l.TopLogprobs[i] = append(l.TopLogprobs[i], api.NamedLogprob{Token: api.TokenName(c.tokenBytes(top.Token)), Logprob: max(top.Logprob, api.MinLogprob)})
		}
		l.TopLogprobs[i] = append(l.TopLogprobs[i], api.NamedLogprob{Token: l.Tokens[i], Logprob: *l.TokenLogprobs[i]})
	}
	return l
}
