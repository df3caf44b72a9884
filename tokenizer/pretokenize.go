package tokenizer

// A scanner returns the length of the first pre-token of s, which is not
// empty. It takes time linear in the pre-token and the run of whitespace that
// begins it, so a text costs linear time: a run is looked at no more than
// three times.
type scanner func(s string) int

// family is a pre-tokenizer with the settings that go with it.
type family struct {
	name string // as the digest spells it
	next scanner
	// wholeWords: a pre-token that is in the vocabulary is one token, whatever
	// the merges say (ignore_merges of Llama 3's tokenizer.json).
	wholeWords bool
	// addBOS is what llama.cpp assumes where tokenizer.ggml.add_bos_token is
	// missing.
	addBOS bool
}

// families holds the values of tokenizer.ggml.pre that we know.
var families = map[string]family{
	"gpt-2":     {name: "gpt-2", next: nextGPT2},
	"smollm":    {name: "smollm", next: nextSmolLM},
	"refact":    {name: "refact", next: nextSmolLM}, // Granite's; llama.cpp has one expression for both
	"llama-bpe": {name: "llama-bpe", next: nextLlama3, wholeWords: true, addBOS: true},
	"qwen2":     {name: "qwen2", next: nextQwen2},
	"gpt-4o":    {name: "gpt-4o", next: nextO200K},
	"tekken":    {name: "tekken", next: nextTekken, wholeWords: true, addBOS: true},
}

// nextSpaces returns the length of the match of `\s+(?!\S)|\s+` at the start
// of s, which begins with whitespace. A run at the end of the text is taken
// whole; one before something else leaves its last character, unless that is
// all there is.
func nextSpaces(s string) int {
	end, last := spaceRun(s)
	if end < len(s) && last > 0 {
		return last
	}
	return end
}

// spaceRun returns the end of the run of whitespace that begins s and the
// start of its last character.
func spaceRun(s string) (end, last int) {
	for end < len(s) {
		c, n := classAt(s, end)
		if c&space == 0 {
			break
		}
		last = end
		end += n
	}
	return end, last
}

// contraction returns the length of the match of `'s|'t|'re|'ve|'m|'ll|'d` at
// the start of s, which begins with an apostrophe; 0 if there is none. With
// fold, case does not matter; that lets U+017F (long s) pass for s.
func contraction(s string, fold bool) int {
	if len(s) < 2 {
		return 0
	}
	a := s[1]
	if fold {
		if a == 0xc5 && len(s) > 2 && s[2] == 0xbf {
			return 3
		}
		a = asciiLower(a)
	}
	switch a {
	case 's', 't', 'm', 'd':
		return 2
	}
	if len(s) < 3 {
		return 0
	}
	b := s[2]
	if fold {
		b = asciiLower(b)
	}
	if (a == 'r' || a == 'v') && b == 'e' || a == 'l' && b == 'l' {
		return 3
	}
	return 0
}

func asciiLower(b byte) byte {
	if b >= 'A' && b <= 'Z' {
		b += 'a' - 'A'
	}
	return b
}
