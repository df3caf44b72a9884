package tokenizer

import "fmt"

// maxSpecialBytes bounds the text of a special token, and with it the cost of
// looking for one at each byte of a text.
const maxSpecialBytes = 256

// specialSet finds special tokens (control and user-defined) in a text: a trie
// over their bytes.
type specialSet struct {
	first [256]bool        // bytes that begin a special token
	edges map[uint64]int32 // node<<8 | byte -> node; the root is 0
	token []int32          // by node; -1 where no special token ends
}

func newSpecialSet() *specialSet {
	return &specialSet{edges: map[uint64]int32{}, token: []int32{-1}}
}

// add returns an error if the text is too long.
func (s *specialSet) add(text string, id int32) error {
	if len(text) > maxSpecialBytes {
		return fmt.Errorf("%w: %s[%d] is a special token of %d bytes, limit %d", ErrVocabulary, keyTokens, id, len(text), maxSpecialBytes)
	}
	node := int32(0)
	for i := 0; i < len(text); i++ {
		edge := uint64(node)<<8 | uint64(text[i])
		next, ok := s.edges[edge]
		if !ok {
			next = int32(len(s.token))
			s.token = append(s.token, -1)
			s.edges[edge] = next
		}
		node = next
	}
	s.token[node] = id
	s.first[text[0]] = true
	return nil
}

// find returns the first special token in text[from:to], the longest where
// several begin at one byte: its ID and its bounds in text. start is to if
// there is none.
func (s *specialSet) find(text string, from, to int) (id int32, start, end int) {
	for ; from < to; from++ {
		if !s.first[text[from]] {
			continue
		}
		id = -1
		node := int32(0)
		for i := from; i < to; i++ {
			next, ok := s.edges[uint64(node)<<8|uint64(text[i])]
			if !ok {
				break
			}
			node = next
			if s.token[node] >= 0 {
				id, end = s.token[node], i+1
			}
		}
		if id >= 0 {
			return id, from, end
		}
	}
	return -1, to, to
}
