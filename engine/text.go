package engine

import (
	"strings"

	"github.com/holdfast-run/holdfast/tokenizer"
)

// textStream turns drawn tokens into text that may be shown: never half a
// rune, and nothing that may yet turn out to be the start of a stop string.
type textStream struct {
	detok    *tokenizer.Detokenizer
	stops    []string
	keep     bool   // show what ended the completion, too
	held     []byte // text not yet shown
	finished bool

	behind []behind // tokens with log-probabilities, not yet shown
}

// behind is a token and where, in held, its text begins.
type behind struct {
	at int
	TokenLogprob
}

// add takes one token, with its log-probability if that was asked for. end says
// that it is the token that ended the sequence, which has no text of its own
// unless that is to be kept.
func (t *textStream) add(token int32, logprob *TokenLogprob, end bool) Delta {
	if end && !t.keep {
		return t.flush(FinishStop)
	}
	if logprob != nil {
		t.behind = append(t.behind, behind{len(t.held), *logprob})
	}
	t.held = t.detok.Append(t.held, token)
	if at := t.stopAt(); at >= 0 {
		return t.stop(at)
	}
	if end {
		return t.flush(FinishStop)
	}
	return t.show(len(t.held) - t.undecided())
}

// flush ends the stream and returns what was held back.
func (t *textStream) flush(why FinishReason) Delta {
	t.held = t.detok.Flush(t.held)
	if at := t.stopAt(); at >= 0 {
		return t.stop(at)
	}
	t.finished = true
	d := Delta{Text: string(t.held), Finish: why}
	d.Logprobs = t.shown(len(t.held) + 1)
	return d
}

// stop ends the stream at held[at], where a stop string begins, or ends if it is
// to be kept.
func (t *textStream) stop(at int) Delta {
	d := t.show(at)
	t.finished, d.Finish = true, FinishStop
	return d
}

// show gives out the first n bytes of held.
func (t *textStream) show(n int) Delta {
	d := Delta{Text: string(t.held[:n]), Logprobs: t.shown(n)}
	t.held = append(t.held[:0], t.held[n:]...)
	return d
}

// shown takes the tokens out whose text begins in the first n bytes of held.
func (t *textStream) shown(n int) (out []TokenLogprob) {
	k := 0
	for ; k < len(t.behind) && t.behind[k].at < n; k++ {
		out = append(out, t.behind[k].TokenLogprob)
	}
	t.behind = t.behind[:copy(t.behind, t.behind[k:])]
	for i := range t.behind {
		t.behind[i].at -= n
	}
	return out
}

// stopAt returns where the text ends for a stop string in held: before the one
// that begins first, or behind it if it is to be kept, the shortest where several
// begin; -1 for none.
func (t *textStream) stopAt() int {
	first, size := -1, 0
	for _, s := range t.stops {
		if i := strings.Index(string(t.held), s); i >= 0 && (first < 0 || i < first || i == first && len(s) < size) {
			first, size = i, len(s)
		}
	}
	if first >= 0 && t.keep {
		return first + size
	}
	return first
}

// undecided returns the length of the longest end of held that begins a stop
// string.
func (t *textStream) undecided() int {
	longest := 0
	for _, s := range t.stops {
		for n := min(len(s)-1, len(t.held)); n > longest; n-- {
			if strings.HasPrefix(s, string(t.held[len(t.held)-n:])) {
				longest = n
			}
		}
	}
	return longest
}
