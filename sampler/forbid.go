package sampler

// AppendForbidden appends to dst the tokens that the row forbids, in no order and
// perhaps more than once: the last tokens of bad words of which all others were
// just made, and, while fewer than MinTokens were made, those that end the
// sequence.
func (r *Row) AppendForbidden(dst []int32) []int32 {
	made := r.History.Output()
	for _, word := range r.Params.BadWords {
		if last := len(word) - 1; last >= 0 && endsWith(made, word[:last]) {
			dst = append(dst, word[last])
		}
	}
	if len(made) < r.Params.MinTokens {
		dst = append(dst, r.Stop...)
	}
	return dst
}

// endsWith looks at the last token first, which is rarely the one.
func endsWith(tokens, end []int32) bool {
	from := len(tokens) - len(end)
	if from < 0 {
		return false
	}
	for i := len(end) - 1; i >= 0; i-- {
		if tokens[from+i] != end[i] {
			return false
		}
	}
	return true
}
