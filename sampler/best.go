package sampler

// best returns the first n tokens of the order that are possible, n being held
// in [0, MaxLogprobs], each as its rank above its ID.
func (s *Scratch) best(logits []float32, n int) []uint64 {
	n = min(max(n, 0), MaxLogprobs)
	kept := s.kept[:0]
	if n == 0 {
		return kept
	}
	least := negInf // no later token of this logit, or below, gets in
	for i := 0; i < len(logits); {
		for ; i+8 <= len(logits); i += 8 {
			v := logits[i : i+8 : i+8]
			if !(v[0] <= least && v[1] <= least && v[2] <= least && v[3] <= least &&
				v[4] <= least && v[5] <= least && v[6] <= least && v[7] <= least) {
				break
			}
		}
		for end := min(i+8, len(logits)); i < end; i++ {
			if logits[i] <= least {
				continue
			}
			if len(kept) == n {
				kept = kept[:n-1]
			}
			kept = insert(kept, uint64(rank(logits[i]))<<32|uint64(i))
			if len(kept) == n {
				least = unrank(uint32(kept[n-1] >> 32))
			}
		}
	}
	return kept
}

// insert puts m into sorted, which has room.
func insert(sorted []uint64, m uint64) []uint64 {
	at := len(sorted)
	sorted = append(sorted, m)
	for ; at > 0 && sorted[at-1] > m; at-- {
		sorted[at] = sorted[at-1]
	}
	sorted[at] = m
	return sorted
}
