package tokenizer

// nextGPT2 scans as the regular expression of GPT-2 (openai/gpt-2,
// src/encoder.py; ByteLevel with use_regex in huggingface/tokenizers):
//
//	's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
func nextGPT2(s string) int {
	if s[0] == '\'' {
		if n := contraction(s, false); n > 0 {
			return n
		}
	}
	at := 0
	if s[0] == ' ' && len(s) > 1 {
		at = 1
	}
	c, n := classAt(s, at)
	switch {
	case c&letter != 0:
		return skip(s, at+n, letter)
	case c&number != 0:
		return skip(s, at+n, number)
	case c&space == 0:
		return skipOther(s, at+n, 0)
	}
	return nextSpaces(s)
}
