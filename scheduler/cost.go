package scheduler

import (
	"math"
	"time"
)

// load is what a step's time depends on.
type load struct {
	tokens, rows int
	pairs        int // (query, key) pairs of attention
}

// pairsOf is how many keys the positions [start, start+n) attend to, summed.
func pairsOf(start, n int) int { return n*start + n*(n+1)/2 }

func (l *load) add(start, tokens, rows int) {
	l.tokens += tokens
	l.rows += rows
	l.pairs += pairsOf(start, tokens)
}

func (l *load) remove(start, tokens, rows int) {
	l.tokens -= tokens
	l.rows -= rows
	l.pairs -= pairsOf(start, tokens)
}

func (l load) features() [features]float64 {
	return [features]float64{1, float64(l.tokens), float64(l.rows), float64(l.pairs)}
}

const (
	features = 4
	memory   = 0.98 // what a step's weight is multiplied with by each later step
	inertia  = 1e-3 // weight of the last estimate
	sweeps   = 4
)

// cautious is the time that a step is thought to take before one was measured:
// ns for the step, each token, each row of logits and each pair. A slow machine.
var cautious = [features]float64{1e6, 1e6, 1e5, 100}

// cost predicts a step's time as a sum of its features, each with a factor that
// is never negative. The factors are those of least squared relative error over
// the last steps (older ones fade), pulled a little to where they were, so that
// what the steps do not tell apart stays as it is. Relative, because a step of
// one token must count like one of a thousand; and a step that took far too long
// for what it did then weighs little.
type cost struct {
	factor [features]float64 // in units of cautious
	a      [features][features]float64
	b      [features]float64
}

func newCost() cost {
	var c cost
	for i := range c.factor {
		c.factor[i] = 1
	}
	return c
}

// ns is the predicted time of one unit of feature i.
func (c *cost) ns(i int) float64 { return c.factor[i] * cautious[i] }

// predict returns the time of a step in ns.
func (c *cost) predict(l load) float64 {
	sum := 0.0
	for i, x := range l.features() {
		sum += x * c.ns(i)
	}
	return sum
}

// chunk returns how many tokens of a prompt, from position start on, take at
// most ns, if not all of most.
func (c *cost) chunk(start, most int, ns float64) int {
	if ns <= 0 {
		return 0
	}
	square, linear := c.ns(3)/2, c.ns(1)+c.ns(3)*(float64(start)+0.5)
	n := 2 * ns / (linear + math.Sqrt(linear*linear+4*square*ns)) // of square·n² + linear·n = ns
	if n < float64(most) {
		return int(n)
	}
	return most
}

// learn takes note of a step. Coordinate descent from the last estimate solves
// the four equations near enough; the next steps go on with it.
func (c *cost) learn(l load, took time.Duration) {
	if took <= 0 || l.tokens == 0 {
		return
	}
	z := l.features()
	for i := range z {
		z[i] *= cautious[i] / float64(took)
	}
	for i := range z {
		for j := range z {
			c.a[i][j] = c.a[i][j]*memory + z[i]*z[j]
		}
		c.b[i] = c.b[i]*memory + z[i]
	}
	was := c.factor
	for range sweeps {
		for i := range c.factor {
			rest := c.b[i] + inertia*was[i]
			for j, f := range c.factor {
				if j != i {
					rest -= c.a[i][j] * f
				}
			}
			c.factor[i] = max(0, rest/(c.a[i][i]+inertia))
		}
	}
}
