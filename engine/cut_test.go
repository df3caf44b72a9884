package engine

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/holdfast-run/holdfast/internal/testkit/golden"
	"github.com/holdfast-run/holdfast/internal/testkit/vfstest"
	"github.com/holdfast-run/holdfast/internal/vfs"
	"github.com/holdfast-run/holdfast/sampler"
	"github.com/holdfast-run/holdfast/session"
	"github.com/holdfast-run/holdfast/tokenlog"
)

// phase is what a worker does when the power is cut.
type phase string

const (
	prefill     phase = "prefill"
	decode      phase = "decode"
	commit      phase = "commit"
	writeBehind phase = "write-behind"
	compaction  phase = "compaction"
)

// recording is a session that was led to its end on a disk that remembers, and
// what was promised on the way.
type recording struct {
	disk  *vfstest.Disk
	id    session.ID
	level session.Durability
	*conversation

	created   int             // operations done when the session was there
	shown     [][]int         // operations done when its client had seen so many tokens
	committed []int           // operations done when its end was acknowledged
	during    map[phase][]int // operations that began in a phase
	mu        sync.Mutex
}

const cutStore = "store"

// small are a log's sizes for tests.
var small = session.Options{Log: tokenlog.Options{SegmentBytes: 128 << 10, BufferBytes: 32 << 10}}

// config is that of an engine over a disk in memory.
func cutConfig(disk vfs.FS, rng *rand.Rand) Config {
	return Config{
		fs: disk, Store: cutStore, StoreBytes: 8 << 20, Restore: RestoreLoad,
		MaxSequences: 1 + rng.IntN(4), Threads: 1 + rng.IntN(3),
	}
}

// openOn starts an engine whose blocks are on a disk in memory.
func openOn(t *testing.T, path string, cfg Config) *Engine {
	t.Helper()
	cfg.ModelPath = path
	l, err := load(cfg)
	if err != nil {
		t.Fatal(err)
	}
	store := cfg.Store
	cfg.Store = "" // no digests on the real disk
	e := &Engine{info: l.info, plan: l.plan, file: l.file}
	if err := e.assemble(t.Context(), l, cfg); err != nil {
		t.Fatal(err)
	}
	cfg.Store = store
	if err := e.loop.openTier(cfg); err != nil {
		t.Fatal(err)
	}
	e.run()
	return e
}

// record leads a session of some turns on a disk in memory.
func record(t *testing.T, path string, rng *rand.Rand, turns, longest int) *recording {
	r := &recording{
		disk: vfstest.NewDisk(), conversation: &conversation{want: &traces{of: map[string]*trace{}}}, during: map[phase][]int{},
		level: []session.Durability{session.LevelTurn, session.LevelStep}[rng.IntN(2)],
	}
	now := phase("")
	fs := vfstest.Fault(r.disk, func(c vfstest.Call) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		p := now
		if strings.Contains(c.Name, "/kv/") {
			p = writeBehind
		}
		r.during[p] = append(r.during[p], r.disk.Ops())
		return nil
	})
	set := func(p phase) {
		r.mu.Lock()
		defer r.mu.Unlock()
		now = p
		r.during[p] = append(r.during[p], r.disk.Ops())
	}
	m, err := session.Open(fs, filepath.Join(cutStore, "log"), small)
	if err != nil {
		t.Fatal(err)
	}
	e := openOn(t, path, cutConfig(fs, rng))
	e.loop.tap = r.want.tap
	info, err := m.Create(t.Context(), session.Spec{Principal: "p", Durability: r.level})
	if err != nil {
		t.Fatal(err)
	}
	r.id, r.created = info.ID, r.disk.Ops()
	for i := range turns {
		set(prefill)
		turn, request := r.begin(t, e, m, rng, i, longest)
		g, err := e.Generate(t.Context(), request)
		if err != nil {
			t.Fatal(err)
		}
		var last Delta
		for last.Finish == "" {
			if last, err = g.Next(); err != nil {
				t.Fatal(err)
			}
			for len(r.shown[i]) < last.Tokens {
				r.shown[i] = append(r.shown[i], r.disk.Ops())
			}
			set(decode)
		}
		g.Close()
		set(commit)
		if _, err := turn.Commit(t.Context(), session.Commit{Tokens: last.Tokens, Finish: string(last.Finish)}); err != nil {
			t.Fatal(err)
		}
		r.committed = append(r.committed, r.disk.Ops())
		r.drawn = append(r.drawn, slices.Clone(turn.Info().Drawn[:last.Tokens]))
		waitIdle(t, e)
		if rng.IntN(2) == 0 {
			set(compaction)
			if err := m.Compact(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		set("")
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	return r
}

// begin makes turn i, with tokens and parameters at random.
func (r *recording) begin(t *testing.T, e *Engine, m *session.Manager, rng *rand.Rand, i, longest int) (*session.Turn, Request) {
	s, err := m.Acquire(t.Context(), "p", r.id)
	if err != nil {
		t.Fatal(err)
	}
	var input []int32
	for range 1 + rng.IntN(longest) {
		input = append(input, int32(rng.IntN(e.info.VocabSize)))
	}
	turn, err := s.Begin(t.Context(), session.Begin{Keep: len(s.Tokens()), Input: input, Seed: uint64(i)})
	if err != nil {
		t.Fatal(err)
	}
	q := Request{
		ID: fmt.Sprint(i), Tokens: turn.Prompt(), MaxTokens: 1 + rng.IntN(50), IgnoreEOS: true, Principal: "p", Journal: turn, Keep: true,
		Params: []sampler.Params{
			greedy,
			{Temperature: 1, TopP: 0.9, TopK: 40, Seed: turn.Seed()},
			{Temperature: 0.8, TopP: 1, MinP: 0.02, Seed: turn.Seed(), RepetitionPenalty: 1.3, FrequencyPenalty: 0.4, PresencePenalty: 0.2, MinTokens: 5},
		}[rng.IntN(3)],
	}
	if rng.IntN(2) == 0 {
		q.Stop = []string{string(rune('a' + rng.IntN(26))), "the "}
	}
	r.turns, r.shown = append(r.turns, q), append(r.shown, nil)
	return turn, q
}

// resume finds the session on a disk that lost its power after an operation,
// checks what it was promised, and leads it to its end.
func (r *recording) resume(t *testing.T, path string, disk vfs.FS, op int, rng *rand.Rand) (loaded, interrupted int) {
	t.Helper()
	m, err := session.Open(disk, filepath.Join(cutStore, "log"), small)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	cfg := cutConfig(disk, rng)
	if rng.IntN(5) == 0 {
		cfg.Restore = RestoreRecompute
	}
	e := openOn(t, path, cfg)
	defer e.Close()
	for i := range r.turns {
		s, err := m.Acquire(t.Context(), "p", r.id)
		if err != nil {
			t.Fatal(err)
		}
		turn, was := r.find(t, s, i, op)
		if turn == nil {
			s.Release()
			continue
		}
		at := len(turn.Drawn())
		if was {
			interrupted++
		}
		want := stored(t, e, r.turns[i], turn.Drawn())
		if at >= len(r.drawn[i]) {
			want = 0 // its end was drawn, and perhaps more: nothing is left to compute
		}
		got := r.generateFrom(t, e, turn, i)
		if cfg.Restore == RestoreLoad && want > 0 && got < want*32 {
			t.Errorf("turn %d from token %d: %d tokens came from a cache, %d blocks were stored", i, at, got, want)
		}
		loaded += got
	}
	return loaded, interrupted
}

// find returns turn i to be gone on with: interrupted, or begun anew; nil if it was
// committed.
func (r *recording) find(t *testing.T, s *session.Session, i, op int) (turn *session.Turn, interrupted bool) {
	t.Helper()
	id := fmt.Sprint("turn_", i+1)
	info, err := s.Turn(id)
	done := i < len(r.committed) && r.committed[i] <= op
	seen := 0
	for seen < len(r.shown[i]) && r.shown[i][seen] <= op {
		seen++
	}
	switch {
	case err != nil:
		if done || seen > 0 {
			t.Fatalf("turn %d: %v, with %d tokens seen, committed %v", i, err, seen, done)
		}
		turn, err = s.Begin(t.Context(), session.Begin{
			Keep: len(s.Tokens()), Input: r.turns[i].Tokens[len(s.Tokens()):], Seed: uint64(i)})
	case info.State == session.TurnCommitted:
		if !slices.Equal(info.Drawn, r.drawn[i]) {
			t.Fatalf("turn %d: committed with %v, want %v", i, info.Drawn, r.drawn[i])
		}
		return nil, false
	default:
		if done {
			t.Fatalf("turn %d: its end was acknowledged, and it is %s", i, info.State)
		}
		if r.level == session.LevelStep && len(info.Drawn) < seen {
			t.Fatalf("turn %d: %d tokens were seen, %d are there", i, seen, len(info.Drawn))
		}
		turn, err = s.Resume(id)
		interrupted = true
	}
	if err != nil {
		t.Fatalf("turn %d: %v", i, err)
	}
	if !slices.Equal(turn.Prompt(), r.turns[i].Tokens) {
		t.Fatalf("turn %d: prompt %v, want %v", i, turn.Prompt(), r.turns[i].Tokens)
	}
	return turn, interrupted
}

// generateFrom generates the rest of a turn, compares and commits it. It returns
// how many tokens came from a cache.
func (r *recording) generateFrom(t *testing.T, e *Engine, turn *session.Turn, i int) int {
	t.Helper()
	got := &traces{of: map[string]*trace{}}
	e.loop.tap = got.tap
	q := r.turns[i]
	q.Journal, q.Drawn = turn, turn.Drawn()
	g, err := e.Generate(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	var last Delta
	for last.Finish == "" {
		if last, err = g.Next(); err != nil {
			t.Fatal(err)
		}
	}
	waitIdle(t, e)
	for _, g := range got.of {
		for pos, h := range g.rows {
			if want, ok := r.want.of[traceNameOf(q.ID)].rows[pos]; ok && want != h {
				t.Errorf("turn %d from token %d: other logits before position %d", i, len(q.Drawn), pos)
			}
		}
	}
	if _, err := turn.Commit(context.WithoutCancel(t.Context()), session.Commit{Tokens: last.Tokens, Finish: string(last.Finish)}); err != nil {
		t.Errorf("turn %d: %v", i, err)
	}
	if drawn := turn.Info().Drawn; !slices.Equal(drawn, r.drawn[i]) {
		t.Errorf("turn %d from token %d: drew %v, want %v", i, len(q.Drawn), drawn, r.drawn[i])
	}
	return g.seq.Cached
}

func traceNameOf(id string) string { return id + "/0" }

// TestPowerCuts: a worker that loses its power in any phase, with whatever the
// disk makes of it, has lost nothing that it promised, and goes on as if it had
// not.
func TestPowerCuts(t *testing.T) {
	n := 120
	if long() {
		n = 1000
	}
	t.Run("full", func(t *testing.T) { powerCuts(t, golden.TinyChat(t), n, 4, 60) })
	t.Run("window", func(t *testing.T) {
		powerCuts(t, filepath.Join(filepath.Dir(golden.TinyChat(t)), "tiny-window.gguf"), n/5, 3, 60)
	})
}

func powerCuts(t *testing.T, path string, n, turns, longest int) {
	rng := rand.New(rand.NewPCG(10, 10))
	phases := []phase{prefill, decode, commit, writeBehind, compaction, ""}
	count := map[phase]int{}
	loaded, interrupted := 0, 0
	for k := 0; k < n && !t.Failed(); {
		r := record(t, path, rng, turns, longest)
		for range 24 {
			p := phases[k%len(phases)]
			op := rng.IntN(r.disk.Ops() + 1)
			if ops := r.during[p]; p != "" && len(ops) > 0 {
				op = ops[rng.IntN(len(ops))]
			} else if p != "" {
				p = ""
			}
			op = max(op, r.created)
			crashed := r.disk.Crash(op, vfstest.Policy(k)%vfstest.Policies, rng)
			l, i := r.resume(t, path, crashed, op, rng)
			loaded, interrupted = loaded+l, interrupted+i
			count[p]++
			if k++; t.Failed() {
				t.Fatalf("cut %d, in %q", k, p)
			}
		}
	}
	t.Logf("%d cuts: %v; %d turns went on, %d tokens came from a cache", n, count, interrupted, loaded)
	for _, p := range phases {
		if count[p]*20 < n {
			t.Errorf("%d of %d cuts were in %q, wanted one in twenty", count[p], n, p)
		}
	}
	if loaded == 0 || interrupted == 0 {
		t.Error("something never happened")
	}
}
