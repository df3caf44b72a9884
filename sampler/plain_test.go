package sampler

import (
	"cmp"
	"math"
	"math/bits"
	"slices"

	"github.com/holdfast-run/holdfast/internal/num"
)

// plain is the definition of the package read aloud: a full sort and one loop a
// step. Its weights are those of function weight, which has tests of its own.
type plain struct {
	order   []int    // of all tokens
	weights []uint64 // in that order, of those that are left
}

func newPlain(logits []float32, p Params) plain {
	order := make([]int, len(logits))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(float64(logits[b]), float64(logits[a])) })
	if p.Temperature == 0 {
		return plain{order, []uint64{1}}
	}
	sc := newScale(logits[order[0]], p.Temperature, 0)
	weights := make([]uint64, len(order))
	for i, id := range order {
		weights[i] = weight(sc.below(logits[id]))
	}
	if p.MinP > 0 {
		limit := -num.Log(p.MinP) * (1024 * math.Log2E)
		for len(weights) > 1 && sc.below(logits[order[len(weights)-1]]) > limit {
			weights = weights[:len(weights)-1]
		}
	}
	if p.TopK > 0 && p.TopK < len(weights) {
		weights = weights[:p.TopK]
	}
	if p.TopP < 1 {
		total := uint64(0)
		for _, w := range weights {
			total += w
		}
		need := uint64(math.Ceil(p.TopP * float64(total)))
		sum := uint64(0)
		for i, w := range weights {
			if sum += w; sum >= need {
				weights = weights[:i+1]
				break
			}
		}
	}
	return plain{order, weights}
}

func (p plain) sum() (sum uint64) {
	for _, w := range p.weights {
		sum += w
	}
	return sum
}

func (p plain) draw(u uint64) int32 {
	hi, lo := bits.Mul64(u, p.sum())
	r := hi<<11 | lo>>53
	sum := uint64(0)
	for i, w := range p.weights {
		if sum += w; sum > r {
			return int32(p.order[i])
		}
	}
	return -1
}
