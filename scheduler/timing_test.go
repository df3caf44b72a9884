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
	s := scheduler.New(kvcache.NewPool(n*(room/32+2)+1<<13), scheduler.Limits{Rows: n + 1})
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

// TestMixedStepAllocatesNothing pins steps with a prompt's chunk, and sequences
// that give way, are saved to the host and come back.
func TestMixedStepAllocatesNothing(t *testing.T) {
	s := scheduler.New(kvcache.NewPool(8), scheduler.Limits{Rows: 2, HostBlocks: 8, Preemptions: 1 << 30})
	low, high := &scheduler.Sequence{Tokens: make([]int32, 130, 1000), MaxLen: 200}, &scheduler.Sequence{Priority: 1}
	if err := s.Add(low); err != nil {
		t.Fatal(err)
	}
	b := scheduler.Budget{Tokens: 64, Logits: 2, ITL: 1 << 40, Prefill: 1 << 40}
	drawn, prompt := make([]int32, 2), make([]int32, 129, 200)
	turn := func() {
		*high = scheduler.Sequence{Tokens: prompt, MaxLen: 131, Priority: 1, Root: high.Root + 1, Blocks: high.Blocks[:0]}
		if err := s.Add(high); err != nil {
			t.Fatal(err)
		}
		for high.State != scheduler.Finished {
			s.Apply(s.Schedule(b), drawn)
		}
		s.Apply(s.Schedule(b), drawn)
	}
	turn()
	if n := testing.AllocsPerRun(20, turn); n != 0 {
		t.Errorf("a turn of two prompts allocates %v times", n)
	}
	if c := s.Counters(); c.Offloads < 20 || c.Splits == 0 {
		t.Errorf("nothing gave way: %+v", c)
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

// BenchmarkMixed is the same with 255 sequences that decode and chunks of a long
// prompt.
func BenchmarkMixed(b *testing.B) {
	const n, chunk, prompt = 256, 512, 128 * 1024
	var s *scheduler.Scheduler
	var budget scheduler.Budget
	left := 0
	restart := func() {
		s, budget = decoding(b, n-1, 1024)
		q := &scheduler.Sequence{Tokens: make([]int32, prompt), MaxLen: prompt + 1, Blocks: make([]int32, 0, prompt/32+1)}
		if err := s.Add(q); err != nil {
			b.Fatal(err)
		}
		budget.Tokens, budget.Logits = n+chunk, n
		left = prompt/chunk - 1
	}
	drawn := make([]int32, n)
	b.ReportAllocs()
	for b.Loop() {
		if left == 0 {
			b.StopTimer()
			restart()
			b.StartTimer()
		}
		batch := s.Schedule(budget)
		if len(batch.Items) != n {
			b.Fatalf("%d items", len(batch.Items))
		}
		s.Apply(batch, drawn)
		s.Learn(batch, 1e6)
		left--
	}
}

// BenchmarkCancelWaiting is the life of a request that gives up while ten
// thousand others of a hundred principals wait.
func BenchmarkCancelWaiting(b *testing.B) {
	s := scheduler.New(kvcache.NewPool(64), scheduler.Limits{Rows: 1})
	payers := make([]scheduler.Principal, 100)
	for i := range 10_000 {
		s.Add(&scheduler.Sequence{Tokens: make([]int32, 10), MaxLen: 20, Principal: &payers[i%len(payers)], Arrived: int64(i)})
	}
	q := &scheduler.Sequence{Tokens: make([]int32, 10), MaxLen: 20, Principal: &payers[50], FinishBy: 1 << 60}
	b.ReportAllocs()
	i := int64(10_000)
	for b.Loop() {
		i++
		*q = scheduler.Sequence{Tokens: q.Tokens, MaxLen: 20, Principal: q.Principal, FinishBy: 1 << 60, Arrived: i}
		s.Add(q)
		s.Cancel(q)
	}
}
