package scheduler_test

import (
	"fmt"
	"testing"

	"github.com/holdfast-run/holdfast/kvcache"
	"github.com/holdfast-run/holdfast/scheduler"
)

// decoding returns a scheduler with n sequences that decode, and room for as
// many tokens each.
func decoding(t testing.TB, n, room int) (*scheduler.Scheduler, scheduler.Budget) {
	s := scheduler.New(kvcache.NewPool(n*(room/32+2)), scheduler.Limits{Rows: n})
	payers := make([]scheduler.Principal, 10)
	for i := range n {
		q := &scheduler.Sequence{
			Tokens: make([]int32, 10, room), MaxLen: room, Blocks: make([]int32, 0, room/32+1), Stop: []int32{-2, -3},
			Root: int32(i), Principal: &payers[i%len(payers)], FinishBy: 1 << 60,
		}
		if err := s.Add(q); err != nil {
			t.Fatal(err)
		}
	}
	b := scheduler.Budget{Tokens: 20 * n, Logits: n, ITL: 1 << 40, Prefill: 1 << 40}
	s.Apply(s.Schedule(b), make([]int32, n))
	return s, b
}

// TestSteadyStateAllocatesNothing pins the hot path: decode steps of a full batch.
func TestSteadyStateAllocatesNothing(t *testing.T) {
	s, b := decoding(t, 64, 500)
	drawn := make([]int32, 64)
	if n := testing.AllocsPerRun(300, func() {
		batch := s.Schedule(b)
		s.Apply(batch, drawn)
		s.Learn(batch, 1e6)
	}); n != 0 {
		t.Errorf("a decode step allocates %v times", n)
	}
	if s.Running() != 64 {
		t.Errorf("%d sequences run", s.Running())
	}
}

// BenchmarkDecode is a step of schedule, apply and learn for sequences that all
// decode, into a new block every 32nd token.
func BenchmarkDecode(b *testing.B) {
	for _, n := range []int{256, 1024, 4096} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			const room = 1024
			s, budget := decoding(b, n, room)
			drawn := make([]int32, n)
			b.ReportAllocs()
			steps := 0
			for b.Loop() {
				batch := s.Schedule(budget)
				s.Apply(batch, drawn)
				s.Learn(batch, 1e6)
				if steps++; steps == room-20 {
					b.StopTimer()
					s, budget = decoding(b, n, room)
					steps = 0
					b.StartTimer()
				}
			}
		})
	}
}
