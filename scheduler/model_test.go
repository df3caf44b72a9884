package scheduler_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast-run/holdfast/internal/testkit/until"
	"github.com/holdfast-run/holdfast/kvcache"
	"github.com/holdfast-run/holdfast/scheduler"
)

// machine runs random requests on a small pool and a shadow device, with one or
// two batches under way.
type machine struct {
	pool *kvcache.Pool
	// windowBlocks is the size of the window pool.
	windowBlocks int
	limits       scheduler.Limits
	sched        *scheduler.Scheduler
	device       *shadow
	principals   []*scheduler.Principal
	seqs         []*request
	flying       []flight
	now          int64
	total        scheduler.Counters
}

// request is a sequence and what is to become of it.
type request struct {
	scheduler.Sequence
	want    []int32 // its tokens when nothing interrupts it
	nan     int     // position at which the device draws nothing, as often as nans says
	nans    int
	told    []int32 // tokens handed to the client
	rows    []int   // how often the logits of each prompt position were computed since the last NaN
	expired bool
}

const (
	stopToken  = 7
	mostTokens = 100 // of a step
)

// drawn is what the model says at a position: a function of the tokens before it.
func drawn(q *request, position int) int32 {
	if position == q.nan && q.nans > 0 {
		q.nans--
		return -1
	}
	if position >= len(q.want) {
		return 99 // behind the end: a ghost
	}
	return q.want[position]
}

func newMachine(t *rapid.T) *machine {
	m := &machine{limits: scheduler.Limits{
		Rows:        rapid.IntRange(1, 6).Draw(t, "rows"),
		HostBlocks:  rapid.SampledFrom([]int{0, 1, 3, 8}).Draw(t, "host"),
		Preemptions: rapid.IntRange(0, 3).Draw(t, "preemptions"),
	}}
	blocks := rapid.IntRange(3, 12).Draw(t, "blocks")
	m.pool = kvcache.NewPool(blocks)
	window := rapid.SampledFrom([]int{0, 0, 1, 33, 70}).Draw(t, "window")
	if window > 0 {
		m.windowBlocks = scheduler.WindowBlocks(m.limits.Rows, mostTokens, window)
		m.pool = kvcache.NewWindowPool(blocks, m.windowBlocks, window)
	}
	m.sched = scheduler.New(m.pool, m.limits)
	m.device = newShadow(blocks, m.limits, func(q *scheduler.Sequence, p int) int32 { return drawn(q.Owner.(*request), p) })
	m.device.window = shadowWindow{window, make([][scheduler.BlockTokens]kv, m.windowBlocks), make([][]int32, m.limits.Rows)}
	m.principals = []*scheduler.Principal{nil, {}, {Weight: 4}}
	return m
}

func (m *machine) add(t *rapid.T) {
	r := &request{nan: -1}
	r.Owner = r
	prompt := rapid.IntRange(1, 80).Draw(t, "prompt")
	r.MaxLen = prompt + rapid.IntRange(1, 50).Draw(t, "most")
	r.Root = int32(rapid.IntRange(0, 1).Draw(t, "root"))
	r.Principal = rapid.SampledFrom(m.principals).Draw(t, "principal")
	r.Priority = rapid.IntRange(-1, 1).Draw(t, "priority")
	r.Arrived = m.now
	r.Stop = []int32{stopToken}
	r.PromptLogits = rapid.IntRange(0, 5).Draw(t, "prompt logits") == 0
	switch rapid.IntRange(0, 9).Draw(t, "deadline") {
	case 0:
		r.QueueBy = m.now + int64(rapid.IntRange(1, 20).Draw(t, "queue by"))
	case 1:
		r.FinishBy = m.now + int64(rapid.IntRange(1, 60).Draw(t, "finish by"))
	}
	if rapid.IntRange(0, 4).Draw(t, "NaN") == 0 {
		r.nan, r.nans = prompt+rapid.IntRange(0, 20).Draw(t, "NaN at"), rapid.IntRange(1, 2).Draw(t, "NaNs")
	}
	kind := int32(rapid.IntRange(0, 1).Draw(t, "kind"))
	for p := range prompt {
		r.Tokens = append(r.Tokens, 100+kind+int32(p/40))
	}
	m.push(t, r, kind)
	for range rapid.SampledFrom([]int{0, 0, 0, 1, 3}).Draw(t, "choices") {
		f := &request{nan: -1}
		f.Sequence = scheduler.Sequence{
			Tokens: append([]int32(nil), r.Tokens[:prompt]...), MaxLen: r.MaxLen, Root: r.Root, Principal: r.Principal,
			Priority: r.Priority, Arrived: r.Arrived, Stop: r.Stop, Owner: f, Leader: &r.Sequence,
		}
		m.push(t, f, kind+1)
	}
}

func (m *machine) push(t *rapid.T, r *request, salt int32) {
	r.rows = make([]int, len(r.Tokens))
	r.want = append([]int32(nil), r.Tokens...)
	for len(r.want) < r.MaxLen {
		token := 200 + (int32(len(r.want))*31+salt*17)%5
		if rapid.IntRange(0, 30).Draw(t, "stop here") == 0 {
			token = stopToken
		}
		r.want = append(r.want, token)
		if token == stopToken {
			break
		}
	}
	if err := m.sched.Add(&r.Sequence); err != nil {
		if (r.MaxLen+31)/32 <= m.pool.Total() {
			t.Fatalf("refused: %v", err)
		}
		return
	}
	m.seqs = append(m.seqs, r)
}

// schedule schedules a batch and launches it.
func (m *machine) schedule(t *rapid.T, b scheduler.Budget) (items int) {
	m.now += int64(rapid.IntRange(0, 3).Draw(t, "time"))
	b.Now = m.now
	batch := m.sched.Schedule(b)
	m.check(t, batch, b)
	for _, q := range batch.Ended {
		r := q.Owner.(*request)
		if q.State != scheduler.Finished || q.Reason != scheduler.Expired || r.expired {
			t.Fatalf("ended twice, or not at all")
		}
		r.expired = true
	}
	if len(batch.Items) == 0 {
		return 0
	}
	drawn, err := m.device.launch(batch)
	if err != nil {
		t.Fatal(err)
	}
	m.flying = append(m.flying, flight{batch, drawn})
	m.sched.Learn(batch, time.Millisecond)
	return len(batch.Items)
}

// check looks at a batch by what it promises.
func (m *machine) check(t *rapid.T, batch *scheduler.Batch, b scheduler.Budget) {
	tokens, logits, seen, prompts := 0, 0, map[*scheduler.Sequence]bool{}, false
	writers, windowWriters := map[int32]int{}, map[int32]int{}
	for _, r := range m.seqs {
		for _, block := range r.Blocks {
			writers[block]++
		}
		for _, block := range r.Window {
			windowWriters[block]++
		}
	}
	for _, it := range batch.Items {
		q := it.Seq
		if q.State != scheduler.Running || seen[q] || it.Tokens < 1 {
			t.Fatalf("a bad item: %+v", it)
		}
		seen[q] = true
		tokens += it.Tokens
		logits += it.Logits
		r := q.Owner.(*request)
		if prompts = prompts || it.Tokens > 1; prompts && it.Start == len(q.Tokens) {
			t.Fatal("a sequence decodes after a prompt")
		}
		for i := it.Start / 32; i <= (it.Start+it.Tokens-1)/32; i++ {
			if writers[q.Blocks[i]] != 1 || m.pool.Shared(q.Blocks[i]) {
				t.Fatalf("block %d is written and has %d owners", q.Blocks[i], writers[q.Blocks[i]])
			}
			if m.windowBlocks > 0 && windowWriters[q.Window[i-q.WindowFrom]] != 1 {
				t.Fatalf("window block %d is written and has %d owners", q.Window[i-q.WindowFrom], windowWriters[q.Window[i-q.WindowFrom]])
			}
		}
		if q.PromptLogits {
			for p := it.Start + it.Tokens - it.Logits; p < it.Start+it.Tokens; p++ {
				if p < len(r.rows) {
					r.rows[p]++
				}
			}
		}
	}
	if tokens > b.Tokens || logits > b.Logits {
		t.Fatalf("%d tokens and %d rows of logits, of %d and %d", tokens, logits, b.Tokens, b.Logits)
	}
}

// apply applies the oldest batch under way and hands its tokens out.
func (m *machine) apply(t *rapid.T) {
	f := m.flying[0]
	m.flying = m.flying[1:]
	m.sched.Apply(f.batch, f.drawn)
	n := 0
	for _, it := range f.batch.Items {
		r := it.Seq.Owner.(*request)
		if it.Draw {
			if f.drawn[n] < 0 && r.State != scheduler.Finished {
				clear(r.rows)
			}
			if it.Kept {
				r.told = append(r.told, f.drawn[n])
			}
			n++
		}
	}
}

// lose takes from the device all that it has, and the batches under way. It returns
// how many those were.
func (m *machine) lose(t *rapid.T) (batches int) {
	waiting := m.sched.Waiting()
	for _, f := range m.flying {
		for _, it := range f.batch.Items { // rows of logits that nobody will see
			r := it.Seq.Owner.(*request)
			for p := it.Start + it.Tokens - it.Logits; r.PromptLogits && p < min(it.Start+it.Tokens, len(r.rows)); p++ {
				r.rows[p]--
			}
		}
	}
	batches = len(m.flying)
	m.flying = nil
	m.device.lose()
	n := m.sched.Reset()
	m.pool.Clear()
	if m.sched.Running() != 0 || n > m.sched.Waiting() || m.sched.Waiting() < waiting || m.pool.Free() != m.pool.Total() {
		t.Fatalf("%d run, %d wait after %d did, of them %d again, %d of %d blocks are free",
			m.sched.Running(), m.sched.Waiting(), waiting, n, m.pool.Free(), m.pool.Total())
	}
	return batches
}

// books checks all invariants.
func (m *machine) books(t *rapid.T) {
	if err := m.pool.Check(); err != nil {
		t.Fatal(err)
	}
	all := make([]*scheduler.Sequence, len(m.seqs))
	for i, r := range m.seqs {
		all[i] = &r.Sequence
		if drawn := r.Tokens[len(r.rows):]; !slices.Equal(drawn, r.told) {
			t.Fatalf("sequence %d has drawn %v, its client has %v", i, drawn, r.told)
		}
		if len(r.Tokens) > len(r.want) || !slices.Equal(r.Tokens, r.want[:len(r.Tokens)]) {
			t.Fatalf("sequence %d is %v, not %v", i, r.Tokens, r.want)
		}
	}
	if err := m.sched.Check(all); err != nil {
		t.Fatal(err)
	}
}

// drain runs on until all have finished, and checks how.
func (m *machine) drain(t *rapid.T, deep bool) {
	for steps := 0; ; steps++ {
		n := m.schedule(t, scheduler.Budget{Tokens: 64, Logits: 16})
		if n == 0 && len(m.flying) == 0 {
			break
		}
		if n == 0 || !deep || len(m.flying) == 2 {
			m.apply(t)
		}
		m.books(t)
		if steps > 100*(len(m.seqs)+1)*10 {
			t.Fatalf("no end: %d wait, %d run", m.sched.Waiting(), m.sched.Running())
		}
	}
	for i, r := range m.seqs {
		complete := len(r.Tokens) == len(r.want)
		switch r.Reason {
		case scheduler.Stopped:
			complete = complete && r.want[len(r.want)-1] == stopToken
		case scheduler.Length:
			complete = complete && len(r.want) == r.MaxLen
		case scheduler.Failed:
			complete = len(r.Tokens) == r.nan && r.nans == 0
		case scheduler.Cancelled:
			complete = true
		case scheduler.Expired:
			complete = r.expired
		}
		if r.State != scheduler.Finished || !complete {
			t.Fatalf("sequence %d: state %d, reason %d, %d of %d tokens", i, r.State, r.Reason, len(r.Tokens), len(r.want))
		}
		if r.PromptLogits && (r.Reason == scheduler.Stopped || r.Reason == scheduler.Length) {
			for p, n := range r.rows {
				if n == 0 {
					t.Fatalf("sequence %d: no logits of prompt position %d", i, p)
				}
			}
		}
	}
	if m.pool.Free() != m.pool.Total() || m.sched.Running() != 0 || m.sched.Waiting() != 0 || m.sched.QueuedTokens() != 0 {
		t.Fatal("something is left")
	}
	for range m.windowBlocks {
		if _, ok := m.pool.AllocWindow(); !ok {
			t.Fatal("a window block is lost")
		}
	}
}

// TestModel runs random sequences of everything that can happen.
func TestModel(t *testing.T) {
	var total scheduler.Counters
	losses := 0 // with a step under way
	property := func(t *rapid.T) {
		m := newMachine(t)
		deep := rapid.Bool().Draw(t, "two under way")
		fragile := rapid.Bool().Draw(t, "the device may be lost")
		t.Repeat(map[string]func(*rapid.T){
			"add": m.add,
			"cancel": func(t *rapid.T) {
				if len(m.seqs) == 0 || rapid.IntRange(0, 3).Draw(t, "really") > 0 {
					t.Skip()
				}
				m.sched.Cancel(&rapid.SampledFrom(m.seqs).Draw(t, "which").Sequence)
			},
			"lose": func(t *rapid.T) {
				if !fragile || rapid.IntRange(0, 3).Draw(t, "really") > 0 {
					t.Skip()
				}
				losses += m.lose(t)
			},
			"step": func(t *rapid.T) {
				for range rapid.IntRange(1, 8).Draw(t, "steps") {
					n := m.schedule(t, scheduler.Budget{
						Tokens: rapid.IntRange(1, mostTokens).Draw(t, "tokens"), Logits: rapid.IntRange(1, 20).Draw(t, "logits"),
						ITL: 2 * time.Millisecond, Prefill: time.Millisecond,
					})
					if fragile && rapid.IntRange(0, 30).Draw(t, "lost at once") == 0 {
						losses += m.lose(t)
					}
					if len(m.flying) > 0 && (n == 0 || !deep || len(m.flying) == 2) {
						m.apply(t)
					}
					m.books(t)
				}
			},
			"": m.books,
		})
		m.drain(t, deep)
		c := m.sched.Counters()
		total.Preemptions += c.Preemptions
		total.Offloads += c.Offloads
		total.Copies += c.Copies
		total.Forks += c.Forks
		total.Splits += c.Splits
		total.Ghosts += c.Ghosts
		total.Expired += c.Expired
		total.Retries += c.Retries
	}
	until.Reached(t, property, func() bool {
		return total.Preemptions > 0 && total.Offloads > 0 && total.Copies > 0 && total.Forks > 0 &&
			total.Splits > 0 && total.Ghosts > 0 && total.Expired > 0 && total.Retries > 0 && losses > 0
	}, func() string { return fmt.Sprintf("%+v, %d losses", total, losses) })
}
