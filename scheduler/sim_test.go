package scheduler_test

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/kvcache"
	"github.com/holdfast-run/holdfast/scheduler"
)

// costs are the times of a simulated device, in ns.
type costs struct {
	Base  float64 `json:"base_ns"`  // a step
	Token float64 `json:"token_ns"` // each token in it
	Row   float64 `json:"row_ns"`   // each row of logits
	Pair  float64 `json:"pair_ns"`  // each (query, key) pair of attention, all layers
	Move  float64 `json:"move_ns"`  // each block copied, saved or loaded
}

func readCosts(t testing.TB) (c costs) {
	b, err := os.ReadFile("testdata/costs.json")
	if err == nil {
		err = json.Unmarshal(b, &c)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// of is the time of a batch.
func (c costs) of(b *scheduler.Batch) float64 {
	ns := c.Base + float64(len(b.Moves))*c.Move
	for _, it := range b.Items {
		n, start := float64(it.Tokens), float64(it.Start)
		ns += n*c.Token + float64(it.Logits)*c.Row + (n*start+n*(n+1)/2)*c.Pair
	}
	return ns
}

// sim is a worker in virtual time: the scheduler, a block pool, and a device
// that takes as long as costs says, give or take a tenth.
type sim struct {
	costs  costs
	pool   *kvcache.Pool
	sched  *scheduler.Scheduler
	budget scheduler.Budget
	rng    *rand.Rand
	now    int64
	drawn  []int32
	seed   uint64
	serial int32

	longest int           // queue
	busy    time.Duration // of the device
}

const (
	simRows  = 17 // about the engine's default; sixteen streams and one prompt
	simQueue = 64 // the caller's limit of what one source has waiting
)

func newSim(t testing.TB, seed uint64, blocks int) *sim {
	pool := kvcache.NewPool(blocks)
	return &sim{
		costs: readCosts(t), pool: pool,
		sched:  scheduler.New(pool, scheduler.Limits{Rows: simRows, HostBlocks: blocks / 4, Preemptions: 3}),
		budget: scheduler.Budget{Tokens: 2048, Logits: simRows, ITL: 50 * time.Millisecond, Prefill: 50 * time.Millisecond},
		rng:    rand.New(rand.NewPCG(seed, 1<<32)),
		seed:   seed,
		drawn:  make([]int32, simRows),
	}
}

// job is a request of the simulation, and what happened to it.
type job struct {
	scheduler.Sequence
	from   *source
	prompt int
	begun  bool
	first  int64   // ns: when its first token came
	last   int64   // ns: when its newest did
	gaps   []int64 // ns between its tokens
}

func (j *job) ttft() time.Duration { return time.Duration(j.first - j.Arrived) }

// tpot is the mean time of a token after the first.
func (j *job) tpot() time.Duration {
	return time.Duration((j.last - j.first) / max(1, int64(len(j.Tokens)-j.prompt-1)))
}

// done reports whether the job came to its end.
func (j *job) done() bool { return j.Reason == scheduler.Length }

// source sends requests as a Poisson process.
type source struct {
	rate        float64 // requests/s
	prompt, out int     // mean tokens; lengths are spread evenly over 1/2 to 3/2 of it
	until       int64   // ns: sends nothing after
	patience    time.Duration
	principal   scheduler.Principal

	rng      *rand.Rand // its own: the same requests whatever others send
	next     int64
	waiting  int
	jobs     []*job
	refused  int
	forgets  bool // keeps no jobs
	finished int
}

func (s *source) around(mean int) int { return max(1, mean/2+s.rng.IntN(mean+1)) }

// run lets the sources send until each one's end, and the worker work until all
// is done or the step limit is met.
func (s *sim) run(t testing.TB, steps int, sources ...*source) {
	for i, from := range sources {
		if from.rng == nil {
			from.rng = rand.New(rand.NewPCG(s.seed, uint64(i)))
		}
		from.next = s.now + int64(from.rng.ExpFloat64()/from.rate*1e9)
	}
	for ; steps > 0; steps-- {
		next := int64(math.MaxInt64)
		for _, from := range sources {
			for from.next <= s.now && from.next < from.until {
				s.submit(t, from)
				from.next += int64(from.rng.ExpFloat64() / from.rate * 1e9)
			}
			if from.next < from.until {
				next = min(next, from.next)
			}
		}
		s.longest = max(s.longest, s.sched.Waiting())
		if !s.step() {
			if next == math.MaxInt64 {
				return
			}
			s.now = next
		}
	}
}

// submit queues a request of a source, unless too many of it wait already.
func (s *sim) submit(t testing.TB, from *source) {
	if from.waiting >= simQueue {
		from.refused++
		return
	}
	from.waiting++
	s.serial++
	j := &job{from: from, prompt: from.around(from.prompt)}
	out := from.around(from.out)
	j.Tokens = slices.Repeat([]int32{s.serial}, j.prompt)
	j.Tokens = slices.Grow(j.Tokens, out)
	j.MaxLen, j.Owner, j.Principal, j.Arrived = j.prompt+out, j, &from.principal, from.next
	if from.patience > 0 {
		j.QueueBy = j.Arrived + int64(from.patience)
	}
	if err := s.sched.Add(&j.Sequence); err != nil {
		t.Fatal(err)
	}
	if !from.forgets {
		from.jobs = append(from.jobs, j)
	}
}

// step runs one batch; false: there was none.
func (s *sim) step() bool {
	s.budget.Now = s.now
	b := s.sched.Schedule(s.budget)
	for _, q := range b.Ended {
		if j := q.Owner.(*job); !j.begun {
			j.from.waiting--
		}
	}
	if len(b.Items) == 0 {
		return false
	}
	took := time.Duration(s.costs.of(b) * (0.9 + 0.2*s.rng.Float64()))
	s.now += int64(took)
	s.busy += took
	for i := range b.Items {
		if j := b.Items[i].Seq.Owner.(*job); !j.begun {
			j.begun = true
			j.from.waiting--
		}
	}
	s.sched.Apply(b, s.drawn)
	s.sched.Learn(b, took)
	for i := range b.Items {
		if !b.Items[i].Kept {
			continue
		}
		j := b.Items[i].Seq.Owner.(*job)
		if j.first == 0 {
			j.first = s.now
		} else if !j.from.forgets {
			j.gaps = append(j.gaps, s.now-j.last)
		}
		j.last = s.now
		if j.State == scheduler.Finished {
			j.from.finished++
		}
	}
	return true
}

// percentile returns the least value that p of all are not above.
func percentile[T int64 | time.Duration](p float64, values []T) T {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[min(len(values)-1, int(p*float64(len(values))))]
}

// The requests of the simulations: a prompt of 512 tokens and 128 more on average.
// One is in time if its first token comes within sixty times what its prompt takes
// alone, and the others come at the pace of the target.
const (
	simPrompt = 512
	simOut    = 128
	inTime    = 60
	sloTPOT   = 60 * time.Millisecond
)

// alone is how long the mean prompt takes by itself.
func (c costs) alone() time.Duration {
	return time.Duration(c.Base + simPrompt*c.Token + c.Row + simPrompt*simPrompt/2*c.Pair)
}

// capacity is about how many such requests a second the device can do when its
// rows are full.
func capacity(c costs) float64 {
	prompt := simPrompt*c.Token + simPrompt*simPrompt/2*c.Pair
	out := simOut * (c.Base/simRows + c.Token + c.Row + (simPrompt+simOut/2)*c.Pair)
	return 1e9 / (prompt + out)
}

// TestSimOverload: beyond what the worker can do, requests are refused or expire
// in the queue, and those that are answered are answered in time: the goodput is
// at least 95 % of the best.
func TestSimOverload(t *testing.T) {
	const requests = 1600 // at a load of 1
	best, over := 0.0, 0.0
	for _, load := range []float64{0.5, 0.75, 1, 1.25, 1.5, 2, 5} {
		s := newSim(t, 1, 2000)
		full := capacity(s.costs)
		from := &source{
			rate: load * full, prompt: simPrompt, out: simOut, until: int64(requests / full * 1e9),
			patience: inTime / 2 * s.costs.alone(),
		}
		s.run(t, math.MaxInt, from)
		good, prompt := 0, 0
		var waits []time.Duration
		for _, j := range from.jobs {
			if !j.done() {
				continue
			}
			waits = append(waits, j.ttft())
			if j.ttft() <= inTime*s.costs.alone() && j.tpot() <= sloTPOT {
				prompt++
				good += len(j.Tokens) - j.prompt
			}
		}
		goodput := float64(good) / (float64(s.now) / 1e9)
		t.Logf("load %.2f: %4d sent, %4d refused, %4d answered, %4d in time, goodput %4.0f tokens/s, p99 TTFT %4d ms, queue at most %d, %+v",
			load, len(from.jobs)+from.refused, from.refused, len(waits), prompt, goodput, percentile(0.99, waits).Milliseconds(), s.longest, s.sched.Counters())
		if s.longest > simQueue {
			t.Errorf("load %.2f: %d wait, the limit is %d", load, s.longest, simQueue)
		}
		if load <= 2 {
			best = max(best, goodput)
		} else {
			over = goodput
		}
	}
	if over < 0.95*best {
		t.Errorf("goodput at five times the load is %.0f %% of the best", 100*over/best)
	}
}

// TestSimGreedy: a principal that sends fifty times its share hardly delays the
// others.
func TestSimGreedy(t *testing.T) {
	const principals, requests, load = 10, 2000, 0.7
	wait := func(times float64) time.Duration {
		var waits []time.Duration
		for seed := range uint64(3) {
			s := newSim(t, seed, 2000)
			full := capacity(s.costs)
			sources := make([]*source, principals)
			for i := range sources {
				sources[i] = &source{rate: load / principals * full, prompt: simPrompt, out: simOut, until: int64(requests / full * 1e9)}
			}
			greedy := sources[0]
			greedy.rate *= times
			s.run(t, math.MaxInt, sources...)
			for _, from := range sources[1:] {
				if from.refused > 0 {
					t.Errorf("%d requests refused", from.refused)
				}
				for _, j := range from.jobs {
					waits = append(waits, j.ttft())
				}
			}
			t.Logf("greedy times %2.0f: it sent %d and had %d answered, %+v", times, len(greedy.jobs)+greedy.refused, greedy.finished, s.sched.Counters())
		}
		p99 := percentile(0.99, waits)
		t.Logf("greedy times %2.0f: %d others' requests, TTFT p50 %v, p99 %v", times, len(waits),
			percentile(0.5, waits).Round(time.Millisecond), p99.Round(time.Millisecond))
		return p99
	}
	fair, greedy := wait(1), wait(50)
	if float64(greedy) > 1.3*float64(fair) {
		t.Errorf("the others' p99 TTFT is %v beside a greedy principal, %v without", greedy, fair)
	}
}

// TestSimStreams: sixteen streams decode while prompts of 4,000 tokens come: the
// gaps between their tokens stay near the target.
func TestSimStreams(t *testing.T) {
	s := newSim(t, 3, 4000)
	alone := time.Duration(s.costs.Base + 4000*s.costs.Token + 4000*4000/2*s.costs.Pair)
	s.budget.ITL = 120 * time.Millisecond // sixteen rows and one tile behind 4,000 tokens take this device more than 50
	streams := &source{rng: s.rng, rate: 1e6, prompt: 20, out: max(200, int(16*alone/s.budget.ITL)), until: 1}
	for range 16 {
		streams.next = s.now
		s.submit(t, streams)
	}
	for len(streams.jobs[15].Tokens) < 50 {
		s.step()
	}
	for _, j := range streams.jobs {
		j.gaps = nil
	}
	prompts := &source{rate: 0.4 / alone.Seconds(), prompt: 4000, out: 1, until: s.now + int64(10*alone)}
	s.run(t, math.MaxInt, streams, prompts)
	var gaps []int64
	for _, j := range streams.jobs {
		gaps = append(gaps, j.gaps...)
	}
	p99 := time.Duration(percentile(0.99, gaps))
	t.Logf("%d prompts of 4,000 tokens in %v, %+v: ITL p50 %v, p99 %v", prompts.finished, time.Duration(s.now).Round(time.Second), s.sched.Counters(),
		time.Duration(percentile(0.5, gaps)).Round(time.Millisecond), p99.Round(time.Millisecond))
	if p99 > s.budget.ITL*3/2 {
		t.Errorf("p99 ITL is %v, the target %v", p99, s.budget.ITL)
	}
	var waits []time.Duration
	for _, j := range prompts.jobs {
		waits = append(waits, j.ttft())
	}
	if p50 := percentile(0.5, waits); p50 > 6*alone {
		t.Errorf("half of the prompts take more than %v, alone they take %v", p50, alone)
	}
}

// TestSimLong: hundreds of thousands of steps of overload, with a pool that is
// too small, leave nothing behind. HOLDFAST_LONG=1 runs a million.
func TestSimLong(t *testing.T) {
	steps := 100_000
	if os.Getenv("HOLDFAST_LONG") != "" {
		steps = 1_000_000
	}
	s := newSim(t, 4, 60)
	sources := make([]*source, 5)
	for i := range sources {
		sources[i] = &source{rate: 5 * capacity(s.costs), prompt: 60, out: 40, until: math.MaxInt64, patience: 2 * s.costs.alone(), forgets: true}
	}
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	s.run(t, steps/10, sources...)
	before := heap()
	s.run(t, steps-steps/10, sources...)
	grown := heap() - before
	for _, from := range sources {
		from.until = 0
	}
	s.run(t, math.MaxInt, sources...)
	if err := s.pool.Check(); err != nil {
		t.Fatal(err)
	}
	if err := s.sched.Check(nil); err != nil {
		t.Fatal(err)
	}
	if s.pool.Free() != s.pool.Total() || s.sched.Running()+s.sched.Waiting() > 0 {
		t.Errorf("%d of %d blocks free, %d run, %d wait", s.pool.Free(), s.pool.Total(), s.sched.Running(), s.sched.Waiting())
	}
	c := s.sched.Counters()
	if c.Preemptions == 0 || c.Offloads == 0 || c.Expired == 0 {
		t.Errorf("the pool was not too small: %+v", c)
	}
	t.Logf("%d requests, heap grew by %d kB, %+v", s.serial, grown/1024, c)
	if grown > 1<<20 {
		t.Errorf("the heap grew by %d bytes", grown)
	}
}
