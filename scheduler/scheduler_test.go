package scheduler_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/holdfast-run/holdfast/kvcache"
	"github.com/holdfast-run/holdfast/scheduler"
)

// world is the state that a script of testdata works on.
type world struct {
	pool       *kvcache.Pool
	sched      *scheduler.Scheduler
	device     *shadow
	seqs       map[string]*scheduler.Sequence
	all        []*scheduler.Sequence
	principals map[string]*scheduler.Principal
	flying     []flight
	drawing    func(name string) int32
}

// flight is a batch that was launched and not applied.
type flight struct {
	batch *scheduler.Batch
	drawn []int32
}

func (w *world) name(q *scheduler.Sequence) string { return q.Owner.(string) }

// TestScripts runs the scripts of testdata/scripts; -rewrite writes their output anew.
//
//	new blocks=4 rows=2 [host=4] [preemptions=9]
//	    a pool and a scheduler
//	add a prompt=5 max=10 [like=b] [principal=p] [weight=2] [priority=1] [arrived=1s]
//	      [queueby=2s] [finishby=3s] [leader=b] [promptlogits]
//	    queue a sequence; token 9 stops it; its prompt is its own, or begins like b's
//	schedule tokens=8 [logits=4] [now=1s] [itl=50ms] [prefill=50ms] [draw=9] [draw-a=-1]
//	    schedule, print the batch, launch it on the shadow device (token 1 is drawn, or draw)
//	apply
//	    apply the oldest launched batch
//	step …
//	    schedule and apply
//	learn base=1ms token=1ms row=1ms
//	    tell of many steps that took so long
//	cancel a
//	counters
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/scripts", func(t *testing.T, path string) {
		w := &world{}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			var out strings.Builder
			switch d.Cmd {
			case "new":
				w.reset(t, d)
				return ""
			case "add":
				if err := w.add(t, d); err != nil {
					return err.Error() + "\n"
				}
				return ""
			case "learn":
				w.learn(t, d)
				return ""
			case "counters":
				return strings.ReplaceAll(strings.Trim(fmt.Sprintf("%+v", w.sched.Counters()), "{}"), " ", "\n") + "\n"
			case "cancel":
				w.sched.Cancel(w.seqs[d.CmdArgs[0].Key])
			case "schedule":
				w.schedule(t, d, &out)
			case "apply":
				w.apply(&out)
			case "step":
				w.schedule(t, d, &out)
				w.apply(&out)
			default:
				t.Fatalf("no command %q", d.Cmd)
			}
			w.print(&out)
			if err := w.pool.Check(); err != nil {
				t.Fatal(err)
			}
			if err := w.sched.Check(w.all); err != nil {
				t.Fatal(err)
			}
			return out.String()
		})
	})
}

func (w *world) reset(t *testing.T, d *datadriven.TestData) {
	blocks, l := 0, scheduler.Limits{Preemptions: 9}
	d.ScanArgs(t, "blocks", &blocks)
	d.ScanArgs(t, "rows", &l.Rows)
	d.MaybeScanArgs(t, "host", &l.HostBlocks)
	d.MaybeScanArgs(t, "preemptions", &l.Preemptions)
	pool := kvcache.NewPool(blocks)
	*w = world{
		pool: pool, sched: scheduler.New(pool, l), seqs: map[string]*scheduler.Sequence{},
		principals: map[string]*scheduler.Principal{},
	}
	w.device = newShadow(blocks, l, func(q *scheduler.Sequence, _ int) int32 { return w.drawing(w.name(q)) })
}

// clock reads an argument that is a time.
func clock(t *testing.T, d *datadriven.TestData, key string) time.Duration {
	text := "0s"
	d.MaybeScanArgs(t, key, &text)
	v, err := time.ParseDuration(text)
	if err != nil {
		d.Fatalf(t, "%v", err)
	}
	return v
}

func (w *world) add(t *testing.T, d *datadriven.TestData) error {
	name, prompt := d.CmdArgs[0].Key, 0
	d.ScanArgs(t, "prompt", &prompt)
	like := name
	d.MaybeScanArgs(t, "like", &like)
	q := &scheduler.Sequence{
		Owner: name, Tokens: make([]int32, prompt), Stop: []int32{9},
		Arrived: int64(clock(t, d, "arrived")), QueueBy: int64(clock(t, d, "queueby")), FinishBy: int64(clock(t, d, "finishby")),
		PromptLogits: d.HasArg("promptlogits"),
	}
	for i := range q.Tokens {
		q.Tokens[i] = 100 + int32(like[0])
	}
	d.ScanArgs(t, "max", &q.MaxLen)
	d.MaybeScanArgs(t, "priority", &q.Priority)
	if d.HasArg("leader") {
		var leader string
		d.ScanArgs(t, "leader", &leader)
		q.Leader = w.seqs[leader]
	}
	if d.HasArg("principal") {
		var p string
		d.ScanArgs(t, "principal", &p)
		if w.principals[p] == nil {
			w.principals[p] = &scheduler.Principal{}
		}
		q.Principal = w.principals[p]
		weight := 0
		d.MaybeScanArgs(t, "weight", &weight)
		q.Principal.Weight = float64(weight)
	}
	if err := w.sched.Add(q); err != nil {
		return err
	}
	w.seqs[name] = q
	w.all = append(w.all, q)
	return nil
}

func (w *world) schedule(t *testing.T, d *datadriven.TestData, out *strings.Builder) {
	b := scheduler.Budget{Now: int64(clock(t, d, "now")), Logits: 1000, ITL: clock(t, d, "itl"), Prefill: clock(t, d, "prefill")}
	d.ScanArgs(t, "tokens", &b.Tokens)
	d.MaybeScanArgs(t, "logits", &b.Logits)
	w.drawing = func(name string) int32 {
		token := int32(1)
		d.MaybeScanArgs(t, "draw", &token)
		d.MaybeScanArgs(t, "draw-"+name, &token)
		return token
	}
	if len(w.flying) == 2 {
		d.Fatalf(t, "two batches are under way")
	}
	batch := w.sched.Schedule(b)
	for _, m := range batch.Moves {
		fmt.Fprintf(out, "%s %d to %d\n", [...]string{"copy", "save", "load"}[m.Kind], m.From, m.To)
	}
	for _, it := range batch.Items {
		fmt.Fprintf(out, "run %s: %d of %d", w.name(it.Seq), it.Tokens, max(len(it.Seq.Tokens), it.Start+it.Tokens)-it.Start)
		switch {
		case it.Draw && it.Logits == 1:
			fmt.Fprint(out, ", logits")
		case it.Logits > 0:
			fmt.Fprintf(out, ", %d logits", it.Logits)
		}
		if it.Start == len(it.Seq.Tokens) {
			fmt.Fprint(out, ", of a token not known yet")
		}
		fmt.Fprintln(out)
	}
	for _, q := range batch.Ended {
		fmt.Fprintf(out, "%s ended\n", w.name(q))
	}
	if len(batch.Items) == 0 {
		return
	}
	drawn, err := w.device.launch(batch)
	if err != nil {
		d.Fatalf(t, "%v", err)
	}
	w.flying = append(w.flying, flight{batch, drawn})
}

func (w *world) apply(out *strings.Builder) {
	if len(w.flying) == 0 {
		return
	}
	f := w.flying[0]
	w.flying = w.flying[1:]
	w.sched.Apply(f.batch, f.drawn)
	for _, it := range f.batch.Items {
		if it.Draw && !it.Kept {
			fmt.Fprintf(out, "nothing for %s\n", w.name(it.Seq))
		}
	}
}

func (w *world) learn(t *testing.T, d *datadriven.TestData) {
	base, token, row := clock(t, d, "base"), clock(t, d, "token"), clock(t, d, "row")
	for i := range 100 {
		pool := kvcache.NewPool(100)
		s := scheduler.New(pool, scheduler.Limits{Rows: 20})
		for range 1 + i%20 {
			s.Add(&scheduler.Sequence{Tokens: make([]int32, 1+i*7%50), MaxLen: 60})
		}
		b := s.Schedule(scheduler.Budget{Tokens: 1000, Logits: 1000})
		took := base
		for _, it := range b.Items {
			took += token*time.Duration(it.Tokens) + row*time.Duration(it.Logits)
		}
		w.sched.Learn(b, took)
	}
}

func (w *world) print(out *strings.Builder) {
	states := [...]string{"waiting", "running", "finished"}
	reasons := [...]string{"", " stopped", " length", " cancelled", " failed", " expired"}
	for _, q := range w.all {
		fmt.Fprintf(out, "%s: %s%s, %d of %d computed, blocks %v", w.name(q), states[q.State], reasons[q.Reason], q.Computed, len(q.Tokens), q.Blocks)
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
