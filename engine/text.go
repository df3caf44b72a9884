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
	held     []byte // text not yet shown
	finished bool
}

// add takes one token. end says that it is the token that ended the sequence,
// which has no text of its own.
func (t *textStream) add(token int32, end bool) Delta {
	if end {
		return t.flush(FinishStop)
	}
	t.held = t.detok.Append(t.held, token)
	if at := t.stopAt(); at >= 0 {
		t.finished = true
		return Delta{Text: string(t.held[:at]), Finish: FinishStop}
	}
	show := len(t.held) - t.undecided()
	d := Delta{Text: string(t.held[:show])}
	t.held = append(t.held[:0], t.held[show:]...)
	return d
}

// flush ends the stream and returns what was held back.
func (t *textStream) flush(why FinishReason) Delta {
	t.finished = true
	t.held = t.detok.Flush(t.held)
	if at := t.stopAt(); at >= 0 {
		return Delta{Text: string(t.held[:at]), Finish: FinishStop}
	}
	return Delta{Text: string(t.held), Finish: why}
}

// stopAt returns where the first stop string begins in held, or -1.
func (t *textStream) stopAt() int {
	first := -1
	for _, s := range t.stops {
		if i := strings.Index(string(t.held), s); i >= 0 && (first < 0 || i < first) {
			first = i
		}
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
