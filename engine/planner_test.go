package engine

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestPlannerRegret: on disks of any speed, constant or changing, and prompts of
// any price, what the planner chooses takes at most 1.15 times what the best
// choice each time would have, over a worker's life.
func TestPlannerRegret(t *testing.T) {
	rng := rand.New(rand.NewPCG(12, 12))
	for _, slow := range []float64{0.05, 0.2, 1, 5, 20, 100, 1000} { // ns per byte
		for _, changes := range []bool{false, true} {
			p := &tier{pace: usualPace}
			took, best := 0.0, 0.0
			for i := range 2000 {
				disk := slow
				if changes && i/500%2 == 1 {
					disk = 1 / slow
				}
				disk *= 0.8 + 0.4*rng.Float64()
				bytes := 22_500 * 32 * (1 + rng.IntN(200))
				compute := float64(bytes) * 40 // 0.9 ms a token, of 22.5 KB
				read := float64(bytes) * disk
				best += min(read, compute)
				if p.faster(bytes, time.Duration(compute)) {
					took += read
					p.learnPace(bytes, time.Duration(read))
				} else {
					took += compute
				}
			}
			if regret := took / best; regret > 1.15 {
				t.Errorf("a disk of %g ns a byte, changing %v: regret %.2f", slow, changes, regret)
			}
		}
	}
}
