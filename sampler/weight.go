package sampler

import (
	"math"

	"github.com/holdfast-run/holdfast/internal/num"
)

const (
	topBits  = 43   // the weight of the top is 2^topBits
	steps    = 1024 // of y in an octave
	lastStep = topBits * steps

	// Adding toInteger rounds a number of [0, 2^16) to an integer, ties to even,
	// which the low bits of the sum then hold.
	toInteger = 0x1.8p52
)

// octave[j] is 2^topBits · 2^(-j/steps).
var octave = func() (t [steps]float64) {
	for j := range t {
		t[j] = num.Pow(2, topBits-float64(float64(j)/steps))
	}
	return t
}()

// scale turns logits of one row into steps below the top and weights.
type scale struct {
	top  float64 // the largest logit
	k    float64 // steps in a logit
	last float64 // a token further below the top has no weight, or min-p drops it
}

func newScale(top float32, temperature, minP float64) scale {
	s := scale{float64(top), min(steps*math.Log2E/temperature, math.MaxFloat64), lastStep}
	if minP > 0 {
		s.last = min(max(0, -float64(num.Log(minP)*(steps*math.Log2E))), lastStep)
	}
	return s
}

// below returns y: how far logit lies below the top. It never falls as logits
// fall, so that buckets of y are stretches of the order.
func (s scale) below(logit float32) float64 {
	return float64((s.top - float64(logit)) * s.k)
}

// weight returns 2^topBits · 2^(-y/steps), cut off at the binary point: y is a
// whole number n of steps plus r of [-1/2, 1/2], the former from a table, the
// latter by the Taylor polynomial of degree 3, whose remainder is below 2^-50.
func weight(y float64) uint64 {
	if !(y <= lastStep) {
		return 0
	}
	const (
		c1 = -math.Ln2 / steps
		c2 = c1 * c1 / 2
		c3 = c1 * c1 * c1 / 6
	)
	t := y + toInteger
	n := math.Float64bits(t) & 0xffff
	r := y - (t - toInteger)
	q := c2 + float64(r*c3)
	q = c1 + float64(r*q)
	q = float64(r * q)
	w := math.Float64frombits(math.Float64bits(octave[n%steps]) - n/steps<<52)
	return uint64(int64(w + float64(w*q)))
}
