package sampler

import "math"

const (
	stepsInBucket = 64 // 1/16 of an octave
	buckets       = lastStep/stepsInBucket + 1
	noBucket      = math.MaxUint16 // of a token without weight, or dropped by min-p
)

// Scratch is the working memory of Pick, for one goroutine at a time. The zero
// value is ready; it grows to 18 bytes a token of the largest vocabulary seen, and by 4
// more where a row's logits are adjusted.
//
// Nothing is sorted but single buckets. A bucket is 1/16 of an octave of weight,
// hence a stretch of the order; sums and counts of buckets tell in which one
// top-k ends, in which one top-p ends and from which one the token comes, and
// only those are put in order.
type Scratch struct {
	logits []float32 // of the call
	scale  scale

	bucket []uint16        // of each token
	count  [buckets]int    // tokens
	sum    [buckets]uint64 // weights of the tokens that top-k keeps

	ordered   []uint64 // one bucket's tokens in order; see members
	orderedOf int      // that bucket, or -1
	spare     []uint64 // for sorting them

	adjusted  []float32 // the row as biases, bans and penalties left it
	forbidden []int32
	kept      [MaxLogprobs]uint64
	likeliest [MaxLogprobs]Logprob
}

// begin takes a row.
func (s *Scratch) begin(logits []float32, sc scale) {
	s.logits, s.scale, s.orderedOf = logits, sc, -1
	if n := len(logits); cap(s.bucket) < n {
		s.bucket = make([]uint16, n)
		s.ordered, s.spare = make([]uint64, n), make([]uint64, n)
	}
	s.bucket = s.bucket[:len(logits)]
	clear(s.count[:])
	clear(s.sum[:])
}

// place puts every token into its bucket and counts.
func (s *Scratch) place() {
	bucket := s.bucket[:len(s.logits)]
	for i, l := range s.logits {
		b := s.scale.bucket(s.scale.below(l))
		bucket[i] = b
		if b < buckets {
			s.count[b]++
		}
	}
}

// weigh sums the weights of all placed tokens in buckets below end.
func (s *Scratch) weigh(end int) {
	bucket := s.bucket[:len(s.logits)]
	for i, l := range s.logits {
		if b := int(bucket[i]); b < end && b < buckets {
			s.sum[b] += weight(s.scale.below(l))
		}
	}
}

// placeAndWeigh puts every token into its bucket and sums all weights.
func (s *Scratch) placeAndWeigh() {
	bucket := s.bucket[:len(s.logits)]
	for i, l := range s.logits {
		y := s.scale.below(l)
		b := s.scale.bucket(y)
		bucket[i] = b
		if b < buckets {
			s.sum[b] += weight(y)
		}
	}
}

// bucket returns the bucket of a token y below the top, or noBucket.
func (s scale) bucket(y float64) uint16 {
	if !(y <= s.last) {
		return noBucket
	}
	return uint16(math.Float64bits(y+toInteger)) / stepsInBucket
}

// members returns the tokens of bucket b in order, each as its rank above its ID
// (see rank). It is valid until the next call.
func (s *Scratch) members(b int) []uint64 {
	if b == s.orderedOf {
		return s.ordered
	}
	s.orderedOf = b
	s.ordered = s.ordered[:0]
	for i, of := range s.bucket {
		if of == uint16(b) {
			s.ordered = append(s.ordered, uint64(rank(s.logits[i]))<<32|uint64(i))
		}
	}
	s.ordered, s.spare = sortByRank(s.ordered, s.spare)
	return s.ordered
}

// weightOf returns the weight of a member.
func (s *Scratch) weightOf(member uint64) uint64 {
	return weight(s.scale.below(unrank(uint32(member >> 32))))
}
