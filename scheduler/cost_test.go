package scheduler

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// truth is a device for the cost model to learn.
type truth [features]float64

func (f truth) took(l load, noise float64) time.Duration {
	sum := 0.0
	for i, x := range l.features() {
		sum += x * f[i]
	}
	return time.Duration(sum * noise)
}

// someLoad is a step of decoding sequences, often with a prompt's chunk.
func someLoad(r *rand.Rand) (l load) {
	for range 1 + r.IntN(64) {
		l.add(r.IntN(4000), 1, 1)
	}
	if r.IntN(2) == 0 {
		l.add(r.IntN(4000), 1+r.IntN(512), r.IntN(2))
	}
	return l
}

// check reports predictions that are off by more than a part of the truth.
func (f truth) check(t *testing.T, c *cost, r *rand.Rand, most float64, when string) {
	t.Helper()
	worst := 0.0
	for range 200 {
		l := someLoad(r)
		want := float64(f.took(l, 1))
		worst = max(worst, math.Abs(c.predict(l)-want)/want)
	}
	if worst > most {
		t.Errorf("%s: a prediction is off by %.0f %%", when, 100*worst)
	}
}

// TestCostLearns: machines a thousand times apart, and one that becomes slower.
func TestCostLearns(t *testing.T) {
	slow := truth{5e6, 2e6, 5e5, 200}
	for name, f := range map[string]truth{
		"slow": slow, "a CPU": {4e5, 3e4, 3e4, 60}, "fast": {2e5, 2e3, 5e2, 0.05}, "no base": {0, 1e4, 0, 0},
	} {
		r := rand.New(rand.NewPCG(1, 2))
		c := newCost()
		for range 400 {
			l := someLoad(r)
			c.learn(l, f.took(l, 0.95+0.1*r.Float64()))
		}
		f.check(t, &c, r, 0.15, name)
		for i := range f {
			f[i] *= 3
		}
		for range 400 {
			l := someLoad(r)
			c.learn(l, f.took(l, 0.95+0.1*r.Float64()))
		}
		f.check(t, &c, r, 0.15, name+", three times slower")
	}
}

// TestCostRemembers: a thousand steps without a prompt say nothing about prompts,
// and do not make the model forget them.
func TestCostRemembers(t *testing.T) {
	f := truth{4e5, 2e3, 6e4, 5} // a decoded token is mostly its row of logits
	r := rand.New(rand.NewPCG(1, 3))
	c := newCost()
	for range 400 {
		l := someLoad(r)
		c.learn(l, f.took(l, 0.95+0.1*r.Float64()))
	}
	for range 1000 {
		var l load
		l.add(r.IntN(4000), 1, 1)
		c.learn(l, f.took(l, 0.95+0.1*r.Float64()))
	}
	var prompt load
	prompt.add(0, 512, 0)
	if got, want := c.predict(prompt), float64(f.took(prompt, 1)); got < want/1.5 || got > want*1.5 {
		t.Errorf("a prompt is predicted to take %.1f ms, it takes %.1f", got/1e6, want/1e6)
	}
}

// TestCostSurvives: whatever a clock says, no factor is negative or no number,
// and a chunk is within its bounds.
func TestCostSurvives(t *testing.T) {
	times := []time.Duration{0, -1, 1, 1000, time.Millisecond, time.Hour, math.MaxInt64, math.MinInt64}
	r := rand.New(rand.NewPCG(1, 4))
	c := newCost()
	for range 20000 {
		l := someLoad(r)
		if r.IntN(20) == 0 {
			l = load{}
		}
		c.learn(l, times[r.IntN(len(times))])
		for i, f := range c.factor {
			if !(f >= 0) || math.IsInf(f, 0) {
				t.Fatalf("factor %d is %v", i, f)
			}
		}
		most := 1 + r.IntN(5000)
		if n := c.chunk(r.IntN(1<<20), most, r.NormFloat64()*1e8); n < 0 || n > most {
			t.Fatalf("a chunk of %d tokens of %d", n, most)
		}
	}
}

// TestChunk: a chunk takes the time it may, and no more.
func TestChunk(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 5))
	for range 2000 {
		c := newCost()
		for i := range c.factor {
			c.factor[i] = r.ExpFloat64()
		}
		start, ns := r.IntN(10000), r.ExpFloat64()*1e9
		n := c.chunk(start, 1<<20, ns)
		var l, next load
		l.add(start, n, 0)
		next.add(start, n+1, 0)
		base := c.predict(load{})
		if c.predict(l)-base > ns*1.000001 || c.predict(next)-base < ns*0.999999 {
			t.Fatalf("%d tokens in %v ns take %v, one more %v", n, ns, c.predict(l)-base, c.predict(next)-base)
		}
	}
}
