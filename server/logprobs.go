package server

import (
	"bytes"
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
// generation. Text may be behind their bytes, where some wait for the rest of
// their character or might begin a stop string: these are the next text's.
func (c *completion) place(dst []placed, g *generation, text string, tokens []engine.TokenLogprob) []placed {
	whole, starts := c.spell(g.behind, tokens, !or(c.job.SkipSpecialTokens, true))
	r := ruler{bytes: whole, most: utf8.RuneCountInString(text)}
	for i, t := range tokens {
		dst = append(dst, placed{TokenLogprob: c.likeliest(t), offset: g.chars + r.to(starts[i])})
	}
	r.to(len(whole))
	g.behind = append(g.behind[:0], whole[r.at:]...)
	g.chars += r.most
	return dst
}

// placePrompt is place for a generation's prompt. Its tokens may say more than
// its text: they may begin with a token that begins every text.
func (c *completion) placePrompt(dst []placed, g *generation) []placed {
	tokens := c.generations[g.leader].stream.Prompt()
	whole, starts := c.spell(nil, tokens, true)
	text := g.prompt.text
	more := 0
	if bytes.HasSuffix(whole, []byte(text)) {
		more = len(whole) - len(text)
	}
	r := ruler{bytes: whole[more:], most: utf8.RuneCountInString(text)}
	for i, t := range tokens {
		dst = append(dst, placed{TokenLogprob: c.likeliest(t), offset: r.to(starts[i] - more), first: i == 0})
	}
	g.chars = r.most
	return dst
}

// likeliest leaves of the likeliest tokens those that logprobs asks for; more may
// be there for prompt_logprobs.
func (c *completion) likeliest(t engine.TokenLogprob) engine.TokenLogprob {
	t.Top = t.Top[:min(len(t.Top), c.job.top)]
	return t
}

// spell returns before and the bytes of all tokens, and where each begins.
func (c *completion) spell(before []byte, tokens []engine.TokenLogprob, names bool) (whole []byte, starts []int) {
	whole, starts = bytes.Clone(before), make([]int, len(tokens))
	for i, t := range tokens {
		starts[i] = len(whole)
		whole = c.s.worker.AppendToken(whole, t.Token, names)
	}
	return whole, starts
}

// ruler counts the characters that bytes become, as Python counts them, up to
// ever later bytes, and most of them.
type ruler struct {
	bytes     []byte
	at, chars int // where the character begins that has the number chars
	most      int
}

// to returns the number of the character that byte 'to' is in.
func (r *ruler) to(to int) int {
	for r.at < to && r.chars < r.most {
		n := charLen(r.bytes[r.at:])
		if r.at+n > to {
			break
		}
		r.at += n
		r.chars++
	}
	return r.chars
}

// charLen returns how many bytes the first character of b has, or how many
// become one U+FFFD: all that could have been the beginning of one.
func charLen(b []byte) int {
	if r, n := utf8.DecodeRune(b); r != utf8.RuneError || n > 1 {
		return n
	}
	n := 1
	for n < len(b) && !utf8.FullRune(b[:n+1]) {
		n++
	}
	return n
}

// tokenBytes returns the bytes of a token, valid until the next call.
func (c *completion) tokenBytes(token int32) []byte {
	c.token = c.s.worker.AppendToken(c.token[:0], token, true)
	return c.token
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
