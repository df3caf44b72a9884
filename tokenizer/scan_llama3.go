package tokenizer

// nextLlama3 scans as the regular expression of Llama 3 (tokenizer.json of
// meta-llama/Meta-Llama-3-8B):
//
//	(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|
//	 ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
func nextLlama3(s string) int { return nextCL100K(s, 3) }

// nextQwen2 scans as Qwen2's: Llama 3's with numbers one by one (tokenizer.json
// of Qwen/Qwen2-7B).
func nextQwen2(s string) int { return nextCL100K(s, 1) }

func nextCL100K(s string, maxDigits int) int {
	if s[0] == '\'' {
		if n := contraction(s, true); n > 0 {
			return n
		}
	}
	c, n := classAt(s, 0)
	if c&letter != 0 {
		return skip(s, n, letter)
	}
	if c&number != 0 {
		return digits(s, n, maxDigits)
	}
	if n < len(s) && c&newline == 0 {
		next, m := classAt(s, n)
		if next&letter != 0 {
			return skip(s, n+m, letter)
		}
		if s[0] == ' ' && next&(number|space) == 0 {
			return skip(s, skipOther(s, n+m, 0), newline)
		}
	}
	if c&space == 0 {
		return skip(s, skipOther(s, n, 0), newline)
	}
	return nextLines(s)
}

// nextLines scans as `\s*[\r\n]+|\s+(?!\S)|\s+`; s begins with whitespace.
func nextLines(s string) int {
	// `\s*[\r\n]+` ends after the last line break of the run.
	end, last, lines := 0, 0, 0
	for end < len(s) {
		c, n := classAt(s, end)
		if c&space == 0 {
			break
		}
		last = end
		end += n
		if c&newline != 0 {
			lines = end
		}
	}
	switch {
	case lines > 0:
		return lines
	case end < len(s) && last > 0:
		return last
	}
	return end
}

// digits returns the end of `\p{N}{1,most}` at the start of s, whose first
// rune, a number, has n bytes.
func digits(s string, n, most int) int {
	end := n
	for count := 1; count < most && end < len(s); count++ {
		c, n := classAt(s, end)
		if c&number == 0 {
			break
		}
		end += n
	}
	return end
}
