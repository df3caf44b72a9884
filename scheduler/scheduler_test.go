package scheduler_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/holdfast-run/holdfast/kvcache"
	"github.com/holdfast-run/holdfast/scheduler"
)

// world is the state that a script of testdata works on.
type world struct {
	pool  *kvcache.Pool
	sched *scheduler.Scheduler
	seqs  map[string]*scheduler.Sequence
	names []string
}

func (w *world) name(q *scheduler.Sequence) string { return q.Owner.(string) }

// TestScripts runs the scripts of testdata; -rewrite writes their output anew.
//
//	new blocks=4 rows=2            a pool and a scheduler
//	add a prompt=5 max=10 [like=b] queue a sequence; token 9 stops it; its
//	                               prompt is its own, or begins like b's
//	step tokens=8 [draw=9]         schedule, print the batch, apply (token 1 is drawn, or draw)
//	cancel a
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		w := &world{}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			var out strings.Builder
			switch d.Cmd {
			case "new":
				var blocks, rows int
				d.ScanArgs(t, "blocks", &blocks)
				d.ScanArgs(t, "rows", &rows)
				pool := kvcache.NewPool(blocks)
				*w = world{pool: pool, sched: scheduler.New(pool, rows), seqs: map[string]*scheduler.Sequence{}}
				return ""
			case "add":
				name, prompt, most := d.CmdArgs[0].Key, 0, 0
				d.ScanArgs(t, "prompt", &prompt)
				d.ScanArgs(t, "max", &most)
				like := name
				d.MaybeScanArgs(t, "like", &like)
				tokens := make([]int32, prompt)
				for i := range tokens {
					tokens[i] = 100 + int32(like[0])
				}
				q := &scheduler.Sequence{Owner: name, Tokens: tokens, MaxLen: most, Stop: []int32{9}}
				if err := w.sched.Add(q); err != nil {
					return err.Error() + "\n"
				}
				w.seqs[name] = q
				w.names = append(w.names, name)
				return ""
			case "cancel":
				w.sched.Cancel(w.seqs[d.CmdArgs[0].Key])
			case "step":
				w.step(t, d, &out)
			}
			w.print(&out)
			if err := w.pool.Check(); err != nil {
				t.Fatal(err)
			}
			return out.String()
		})
	})
}

func (w *world) step(t *testing.T, d *datadriven.TestData, out *strings.Builder) {
	tokens, draw := 0, int32(1)
	d.ScanArgs(t, "tokens", &tokens)
	if d.HasArg("draw") {
		d.ScanArgs(t, "draw", &draw)
	}
	batch := w.sched.Schedule(scheduler.Budget{Tokens: tokens})
	var drawn []int32
	for _, it := range batch {
		fmt.Fprintf(out, "run %s: %d of %d", w.name(it.Seq), it.Tokens, len(it.Seq.Tokens)-it.Seq.Computed)
		if it.Logits {
			drawn = append(drawn, draw)
			fmt.Fprint(out, ", logits")
		}
		fmt.Fprintln(out)
	}
	w.sched.Apply(batch, drawn)
}

func (w *world) print(out *strings.Builder) {
	states := [...]string{"waiting", "running", "finished"}
	reasons := [...]string{"", " stopped", " length", " cancelled", " failed"}
	for _, n := range w.names {
		q := w.seqs[n]
		fmt.Fprintf(out, "%s: %s%s, %d of %d computed, blocks %v", n, states[q.State], reasons[q.Reason], q.Computed, len(q.Tokens), q.Blocks)
		if q.Cached > 0 {
			fmt.Fprintf(out, ", %d cached", q.Cached)
		}
		if q.Preempted > 0 {
			fmt.Fprintf(out, ", preempted %d", q.Preempted)
		}
		fmt.Fprintln(out)
	}
	fmt.Fprintf(out, "free %d of %d, %d of them cached; %d waiting, %d running\n", w.pool.Free(), w.pool.Total(), w.pool.Cached(), w.sched.Waiting(), w.sched.Running())
}

// TestSteadyStateAllocatesNothing pins the hot path: decode steps of a full batch.
func TestSteadyStateAllocatesNothing(t *testing.T) {
	pool := kvcache.NewPool(1024)
	s := scheduler.New(pool, 64)
	for range 64 {
		q := &scheduler.Sequence{Tokens: make([]int32, 10, 600), MaxLen: 500, Blocks: make([]int32, 0, 16)}
		if err := s.Add(q); err != nil {
			t.Fatal(err)
		}
	}
	s.Apply(s.Schedule(scheduler.Budget{Tokens: 1000}), make([]int32, 64))
	drawn := make([]int32, 64)
	if n := testing.AllocsPerRun(100, func() {
		s.Apply(s.Schedule(scheduler.Budget{Tokens: 1000}), drawn)
	}); n != 0 {
		t.Errorf("a decode step allocates %v times", n)
	}
}

func BenchmarkDecode256(b *testing.B) {
	pool := kvcache.NewPool(1 << 16)
	s := scheduler.New(pool, 256)
	seqs := make([]*scheduler.Sequence, 256)
	drawn := make([]int32, 256)
	for i := range seqs {
		seqs[i] = &scheduler.Sequence{Tokens: make([]int32, 10, 1<<13), MaxLen: 1 << 13}
		if err := s.Add(seqs[i]); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		s.Apply(s.Schedule(scheduler.Budget{Tokens: 4096}), drawn)
		if q := seqs[0]; len(q.Tokens) > 4096 { // start over without growing
			for _, q := range seqs {
				q.Tokens, q.Computed = q.Tokens[:10], 9
			}
		}
	}
}
