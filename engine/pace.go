package engine

import (
	"time"

	"github.com/holdfast-run/holdfast/scheduler"
)

// pace learns how long a token of prompt takes and bounds the step with it.
type pace struct {
	nsPerToken float64 // of large steps, smoothed; 0 before the first
}

// budget returns the step's token budget: all that the program takes while one
// generation is alone, else what fits stepTime.
func (p *pace) budget(most, live int) scheduler.Budget {
	if live <= 1 || p.nsPerToken == 0 {
		return scheduler.Budget{Tokens: most}
	}
	return scheduler.Budget{Tokens: min(most, max(leastChunk, live, int(float64(stepTime)/p.nsPerToken)))}
}

// learn takes note of a step of n tokens. Small steps say little about prompts.
func (p *pace) learn(n int, took time.Duration) {
	if n < leastChunk {
		return
	}
	ns := float64(took) / float64(n)
	if p.nsPerToken == 0 {
		p.nsPerToken = ns
	}
	p.nsPerToken += (ns - p.nsPerToken) / 4
}
