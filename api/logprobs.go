package api

import (
	"fmt"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// MinLogprob stands for the logarithm of a probability of zero, which JSON has
// no number for; vLLM sends the same.
const MinLogprob = -9999.0

// ChatLogprobs tells how likely the model found the tokens of a message, or of
// a piece of it.
type ChatLogprobs struct {
	Content []TokenLogprob `json:"content"`
	Refusal *struct{}      `json:"refusal"` // always null
}

// TokenLogprob is a token of a message.
type TokenLogprob struct {
	TopLogprob
	TopLogprobs []TopLogprob `json:"top_logprobs"` // the likeliest in its place, in falling order
}

// TopLogprob is a token with its bytes: numbers, as OpenAI sends them.
type TopLogprob struct {
	Token   string  `json:"token"` // as TokenName has it
	Logprob float64 `json:"logprob"`
	Bytes   []int   `json:"bytes"`
}

// TextLogprobs tells the same of a completion that is no chat, in four lists of
// equal length. The first token of a prompt has no probability, but null.
type TextLogprobs struct {
	Tokens        []string          `json:"tokens"` // as TokenName has them
	TokenLogprobs []*float64        `json:"token_logprobs"`
	TopLogprobs   []LogprobsByToken `json:"top_logprobs"` // the likeliest, and the token itself
	TextOffset    []int             `json:"text_offset"`  // characters of the choice's text before the token
}

// LogprobsByToken is an object that maps tokens to log-probabilities; nil is
// null. Of tokens with the same name the first counts.
type LogprobsByToken []NamedLogprob

// NamedLogprob is a member of a LogprobsByToken.
type NamedLogprob struct {
	Token   string
	Logprob float64
}

// MarshalJSONTo implements json.MarshalerTo.
func (l LogprobsByToken) MarshalJSONTo(enc *jsontext.Encoder) error {
	if l == nil {
		return enc.WriteToken(jsontext.Null)
	}
	if err := enc.WriteToken(jsontext.BeginObject); err != nil {
		return err
	}
	for i, one := range l {
		if l[:i].has(one.Token) {
			continue
		}
		if err := enc.WriteToken(jsontext.String(one.Token)); err != nil {
			return err
		}
		if err := enc.WriteToken(jsontext.Float(one.Logprob)); err != nil {
			return err
		}
	}
	return enc.WriteToken(jsontext.EndObject)
}

func (l LogprobsByToken) has(token string) bool {
	for _, one := range l {
		if one.Token == token {
			return true
		}
	}
	return false
}

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (l *LogprobsByToken) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	*l = nil
	if dec.PeekKind() == 'n' {
		return dec.SkipValue()
	}
	return readObject(dec, func(name string) error {
		one := NamedLogprob{Token: name}
		err := json.UnmarshalDecode(dec, &one.Logprob)
		*l = append(*l, one)
		return err
	})
}

// TokenRanks says, as vLLM does, how likely the model found a token of a prompt,
// which comes first, and the likeliest in its place. On the wire it is an object
// by token ID; nil, of a prompt's first token, is null.
type TokenRanks []TokenRank

// TokenRank is a member of TokenRanks.
type TokenRank struct {
	Token        int32   `json:"-"`
	Logprob      float64 `json:"logprob"`
	Rank         int     `json:"rank"` // among all tokens, from 1
	DecodedToken string  `json:"decoded_token"`
}

// MarshalJSONTo implements json.MarshalerTo. Of members with one token the first
// counts.
func (r TokenRanks) MarshalJSONTo(enc *jsontext.Encoder) error {
	if r == nil {
		return enc.WriteToken(jsontext.Null)
	}
	if err := enc.WriteToken(jsontext.BeginObject); err != nil {
		return err
	}
	for i, one := range r {
		if slices.ContainsFunc(r[:i], func(o TokenRank) bool { return o.Token == one.Token }) {
			continue
		}
		if err := enc.WriteToken(jsontext.String(strconv.Itoa(int(one.Token)))); err != nil {
			return err
		}
		if err := json.MarshalEncode(enc, one); err != nil {
			return err
		}
	}
	return enc.WriteToken(jsontext.EndObject)
}

// TokenName returns the text by which an answer names a token: its bytes where
// they are UTF-8, else bytes:\xe2\x98, as OpenAI writes them.
func TokenName(token []byte) string {
	if utf8.Valid(token) {
		return string(token)
	}
	name := []byte("bytes:")
	for _, b := range token {
		name = fmt.Appendf(name, `\x%02x`, b)
	}
	return string(name)
}
