package tokenizer

// nextSmolLM scans as SmolLM's pre-tokenizers do: Digits(individual_digits),
// then ByteLevel's GPT-2 expression inside the pieces between the digits. So
// a digit is always alone, and whitespace before a digit is whitespace at the
// end of a text. Source: tokenizer.json of HuggingFaceTB/SmolLM2-135M.
func nextSmolLM(s string) int {
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
	case c&(number|newLater) != 0:
		if at == 0 {
			return n
		}
		return at // the space before a digit
	case c&space == 0:
		return skipOther(s, at+n, newLater)
	}
	end, last := spaceRun(s)
	if end == len(s) || last == 0 {
		return end
	}
	if c, _ := classAt(s, end); c&(number|newLater) != 0 {
		return end
	}
	return last
}
