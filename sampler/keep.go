package sampler

import "math"

// keep weighs the tokens of a row, cuts the order by min-p, top-k and top-p, and
// returns the sum of the weights that are left.
func (s *Scratch) keep(logits []float32, top float32, p *Params) uint64 {
	s.begin(logits, newScale(top, p.Temperature, p.MinP))
	end := buckets
	if p.TopK > 0 && p.TopK < len(logits) {
		end = s.topK(p.TopK)
	} else {
		s.placeAndWeigh()
	}
	var total uint64
	for _, w := range s.sum[:end] {
		total += w
	}
	if !(p.TopP < 1) {
		return total
	}
	return s.topP(uint64(max(1, math.Ceil(float64(p.TopP*float64(total))))), total)
}

// topK fills the sums with the weights of the first k tokens, k > 0, and returns
// the end of the buckets that have any.
func (s *Scratch) topK(k int) (end int) {
	s.place()
	before := 0
	for b, n := range s.count {
		if before+n >= k {
			s.weigh(b)
			for _, m := range s.members(b)[:k-before] {
				s.sum[b] += s.weightOf(m)
			}
			return b + 1
		}
		before += n
	}
	s.weigh(buckets)
	return buckets
}

// topP returns the sum of the shortest prefix of the order that reaches need, or
// total if none does.
func (s *Scratch) topP(need, total uint64) uint64 {
	var sum uint64
	for b, w := range s.sum {
		if sum+w < need {
			sum += w
			continue
		}
		for _, m := range s.members(b) {
			if sum += s.weightOf(m); sum >= need {
				return sum
			}
		}
	}
	return total
}

// at returns the first token of the order with which the sum of the weights is
// above r. There is one for every r below what keep returned.
func (s *Scratch) at(r uint64) int32 {
	var sum uint64
	for b, w := range s.sum {
		if sum+w <= r {
			sum += w
			continue
		}
		for _, m := range s.members(b) {
			if sum += s.weightOf(m); sum > r {
				return int32(uint32(m))
			}
		}
	}
	panic("BUG: sampler: a draw beyond the kept weights")
}
