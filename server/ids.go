package server

import (
	"strconv"
	"strings"

	"github.com/holdfast-run/holdfast/api"
)

// promptIDs returns the tokens of a generation's prompt, if they are asked for.
func (c *completion) promptIDs(g *generation) []int32 {
	if !c.job.ReturnTokenIDs {
		return nil
	}
	return g.prompt.tokens
}

// promptRanks says how likely the model found the prompt of a generation, if
// that is asked for.
func (c *completion) promptRanks(g *generation) []api.TokenRanks {
	if c.job.PromptLogprobs == nil {
		return nil
	}
	most := int(*c.job.PromptLogprobs)
	tokens := c.generations[g.leader].stream.Prompt()
	all := make([]api.TokenRanks, len(tokens)) // the first stays null
	for i := 1; i < len(tokens); i++ {
		t := &tokens[i]
		all[i] = append(all[i], c.rank(t.Token, t.Logprob, t.Rank))
		for j, top := range t.Top[:min(len(t.Top), most)] {
			all[i] = append(all[i], c.rank(top.Token, top.Logprob, j+1))
		}
	}
	return all
}

func (c *completion) rank(token int32, logprob float64, rank int) api.TokenRank {
	text := strings.ToValidUTF8(string(c.tokenBytes(token)), "\ufffd")
	return api.TokenRank{Token: token, Logprob: max(logprob, api.MinLogprob), Rank: rank, DecodedToken: text}
}

// promptIDs returns the member of a stream's first chunk that tells the prompt's
// tokens, where chunks come before all pieces.
func (e *eventStream) promptIDs(index int) string {
	if !e.c.job.ReturnTokenIDs || index > 0 || e.enc.form.first == "" {
		return ""
	}
	return idsMember("prompt_token_ids", e.c.generations[0].prompt.tokens)
}

// ids returns the members of a piece's choice that tell its tokens and, with the
// first where no chunk has come before, the prompt's.
func (e *eventStream) ids(p *piece) string {
	if !e.c.job.ReturnTokenIDs {
		return ""
	}
	g := &e.c.generations[p.index]
	more := ""
	if !g.told && e.enc.form.first == "" {
		more = idsMember("prompt_token_ids", g.prompt.tokens)
	}
	g.told = true
	if len(p.TokenIDs) == 0 && more == "" {
		return ""
	}
	return idsMember("token_ids", p.TokenIDs) + more
}

// idsMember writes a list of tokens as a further member of an object.
func idsMember(name string, ids []int32) string {
	b := append(make([]byte, 0, len(name)+8*len(ids)+8), `,"`+name+`":[`...)
	for i, id := range ids {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(id), 10)
	}
	return string(append(b, ']'))
}
