package tokenizer

// nextCL100KBase scans as cl100k_base (openai/tiktoken, openai_public.py): as
// Llama 3's, but whitespace that ends the text is one piece, line breaks or no.
//
//	'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+|
//	 ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s
func nextCL100KBase(s string) int {
	if end, _ := spaceRun(s); end == len(s) {
		return end
	}
	return nextLlama3(s)
}

// nextO200K scans as o200k_base (openai/tiktoken, openai_public.py), with
//
//	U = [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]  L = [\p{Ll}\p{Lm}\p{Lo}\p{M}]
//	C = (?i:'s|'t|'re|'ve|'m|'ll|'d)
//	[^\r\n\p{L}\p{N}]?U*L+C?|[^\r\n\p{L}\p{N}]?U+L*C?|\p{N}{1,3}|
//	 ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+
func nextO200K(s string) int { return nextCased(s, 3, true) }

// nextTekken scans as Mistral's Tekken (tokenizer.json of
// mistralai/Mistral-Nemo-Instruct-2407): o200k_base without contractions and
// with numbers one by one.
func nextTekken(s string) int { return nextCased(s, 1, false) }

func nextCased(s string, maxDigits int, contractions bool) int {
	c, n := classAt(s, 0)
	if end := casedWord(s, c, n); end > 0 {
		if contractions && end < len(s) && s[end] == '\'' {
			end += contraction(s[end:], true)
		}
		return end
	}
	if c&number != 0 {
		return digits(s, n, maxDigits)
	}
	at := 0
	if s[0] == ' ' && len(s) > 1 {
		at, n = 1, 0
		c, _ = classAt(s, at)
	}
	if c&(space|letter|number) == 0 {
		end := skipOther(s, at+n, 0)
		for end < len(s) && (s[end] == '\r' || s[end] == '\n' || s[end] == '/') {
			end++
		}
		return end
	}
	return nextLines(s)
}

// casedWord returns the end of `[^\r\n\p{L}\p{N}]?U*L+|[^\r\n\p{L}\p{N}]?U+L*`
// at the start of s, whose first rune has class c and n bytes; 0 if there is no
// match.
func casedWord(s string, c class, n int) int {
	if c&(number|newline) != 0 {
		return 0
	}
	if c&letter != 0 {
		n = 0
	}
	low, any := casedRun(s, n)
	if low == 0 && c&mark != 0 {
		low, _ = casedRun(s, 0) // the mark is no rune before the word but its first
	}
	if low > 0 {
		return low
	}
	return any
}

// casedRun returns the ends of the matches of `U*L+` and of `U+` in s from at
// on; 0 where there is none.
func casedRun(s string, at int) (low, any int) {
	end, both := at, 0
	for end < len(s) {
		c, n := classAt(s, end)
		if c&(letter|mark) == 0 || c&lower != 0 {
			break
		}
		end += n
		if c&upper == 0 {
			both = end
		}
	}
	if end > at {
		any = end
	}
	for end < len(s) {
		c, n := classAt(s, end)
		if c&(letter|mark) == 0 || c&upper != 0 {
			break
		}
		end += n
		low = end
	}
	if low == 0 {
		low = both // U* gives back what follows the last rune that is an L too
	}
	return low, any
}
