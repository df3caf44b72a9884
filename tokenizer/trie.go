package tokenizer

import "slices"

// trie finds the keys that begin a text. Nodes are numbered breadth first, so a
// node's children are neighbours: node n has the children first[n] up to
// first[n+1], in ascending order of label. Node 0 is the root.
type trie struct {
	first []int32
	label []byte  // the byte that leads to a node
	value []int32 // index of the key that ends at a node; -1 if none
}

// newTrie returns the trie of keys, which must be distinct and not empty.
func newTrie(keys []string) *trie {
	order := make([]int32, len(keys))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int {
		switch x, y := keys[a], keys[b]; {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	})
	// A node stands for the keys order[from:to], which agree in depth bytes.
	type span struct{ from, to, depth int32 }
	queue := []span{{0, int32(len(keys)), 0}}
	t := &trie{label: []byte{0}}
	for n := 0; n < len(queue); n++ {
		s := queue[n]
		t.first = append(t.first, int32(len(queue)))
		value := int32(-1)
		if s.from < s.to && len(keys[order[s.from]]) == int(s.depth) {
			value = order[s.from]
			s.from++
		}
		t.value = append(t.value, value)
		for s.from < s.to {
			b := keys[order[s.from]][s.depth]
			to := s.from + 1
			for to < s.to && keys[order[to]][s.depth] == b {
				to++
			}
			t.label = append(t.label, b)
			queue = append(queue, span{s.from, to, s.depth + 1})
			s.from = to
		}
	}
	t.first = append(t.first, int32(len(queue)))
	return t
}

// child returns the node that b leads to from node n; -1 if there is none.
func (t *trie) child(n int32, b byte) int32 {
	low, high := t.first[n], t.first[n+1]
	for high-low > 4 {
		if mid := low + (high-low)/2; t.label[mid] <= b {
			low = mid
		} else {
			high = mid
		}
	}
	for ; low < high; low++ {
		if t.label[low] == b {
			return low
		}
	}
	return -1
}
