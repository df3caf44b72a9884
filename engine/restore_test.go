package engine

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/holdfast-run/holdfast/device"
	"github.com/holdfast-run/holdfast/internal/testkit/golden"
	"github.com/holdfast-run/holdfast/internal/testkit/vfstest"
	"github.com/holdfast-run/holdfast/internal/vfs"
	"github.com/holdfast-run/holdfast/sampler"
)

// conversation is a session as a client leads it: turns that each continue what
// the ones before made.
type conversation struct {
	turns []Request
	want  *traces // of the run that never stopped
	drawn [][]int32
}

// converse makes a conversation of some turns and runs it without a stop.
func converse(t *testing.T, e *Engine, name string, rng *rand.Rand, turns, longest int) *conversation {
	c := &conversation{want: &traces{of: map[string]*trace{}}}
	e.loop.tap = c.want.tap
	var history []int32
	for i := range turns {
		for range 1 + rng.IntN(longest) {
			history = append(history, int32(rng.IntN(e.info.VocabSize)))
		}
		r := Request{
			ID: fmt.Sprint(name, i), Tokens: slices.Clone(history), MaxTokens: 1 + rng.IntN(60), IgnoreEOS: true, Principal: name,
			Params: []sampler.Params{
				greedy,
				{Temperature: 1, TopP: 0.9, TopK: 40, Seed: uint64(i)},
				{Temperature: 0.8, TopP: 1, MinP: 0.02, Seed: 6, RepetitionPenalty: 1.3, FrequencyPenalty: 0.4, PresencePenalty: 0.2, MinTokens: 5},
			}[rng.IntN(3)],
		}
		j := &memo{}
		r.Journal = j
		generate(t, e, r)
		history = append(history, j.tokens...)
		c.turns, c.drawn = append(c.turns, r), append(c.drawn, j.tokens)
	}
	return c
}

// goOn runs turn i from token cut on, and compares tokens and logits with the run
// that never stopped. It returns how many tokens of it came from a cache.
func (c *conversation) goOn(t *testing.T, e *Engine, i, cut int) int {
	t.Helper()
	got := &traces{of: map[string]*trace{}}
	e.loop.tap = got.tap
	j := &memo{}
	r := c.turns[i]
	r.Journal, r.Drawn, r.Keep = j, c.drawn[i][:cut], true
	g, err := e.Generate(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if _, _, err := result(g); err != nil {
		t.Fatal(err)
	}
	if all := slices.Concat(r.Drawn, j.tokens); !slices.Equal(all, c.drawn[i]) {
		t.Errorf("turn %d, cut after %d: drew %v, want %v", i, cut, all, c.drawn[i])
	}
	for name, g := range got.of {
		for pos, h := range g.rows {
			if c.want.of[name].rows[pos] != h {
				t.Errorf("turn %d, cut after %d: other logits before position %d", i, cut, pos)
			}
		}
	}
	waitIdle(t, e)
	return int(g.seq.Cached)
}

// stored returns how many blocks on disk a turn can start from, that is to go on
// from what it had drawn.
func stored(t *testing.T, e *Engine, r Request, drawn []int32) (blocks int) {
	root, err := e.diskRoot(r.Principal)
	if err != nil {
		t.Fatal(err)
	}
	tokens := slices.Concat(r.Tokens, drawn)
	chain := chainOf(nil, root, tokens[:len(tokens)-1])
	return e.loop.reach(0, len(chain), chain)
}

// cuts runs conversations that are cut somewhere, each time going on in an engine
// that knows the store only, with the whole history loaded or none of it.
func cuts(t *testing.T, n, turns, longest int, start func(Config, func(*loaded)) *Engine) {
	rng := rand.New(rand.NewPCG(8, 8))
	restored, tokens, recomputed := 0, 0, 0
	for k := 0; k < n && !t.Failed(); {
		name := fmt.Sprint("c", k, "/")
		e := start(Config{MaxSequences: 1, Threads: 1}, nil)
		c := converse(t, e, name, rng, turns, longest)
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		store := t.TempDir()
		for i := range c.turns { // each turn is cut, in an engine of its own
			cut := rng.IntN(len(c.drawn[i]) + 1)
			cfg := Config{Store: store, StoreBytes: 8 << 20, Restore: RestoreLoad, MaxSequences: 1 + rng.IntN(4), Threads: 1 + rng.IntN(3)}
			if rng.IntN(4) == 0 {
				cfg.Restore = RestoreRecompute
			}
			for _, at := range []int{0, cut} {
				e := start(cfg, func(l *loaded) { l.opts.MaxTokens = max(l.opts.MaxRows, []int{16, 33, 512}[rng.IntN(3)]) })
				want := stored(t, e, c.turns[i], c.drawn[i][:at])
				if at == len(c.drawn[i]) || cfg.Restore == RestoreRecompute {
					want = 0
				}
				got := c.goOn(t, e, i, at)
				if got != want*device.BlockTokens {
					t.Errorf("turn %d, cut after %d: started from %d tokens, %d blocks are stored", i, at, got, want)
				}
				if i > 0 && cfg.Restore == RestoreRecompute {
					recomputed++
				}
				if s := e.Stats(); s.MissedBlocks > 0 || s.StoreFailures > 0 || s.DroppedBlocks > 0 {
					t.Errorf("turn %d: %+v", i, s.TierStats)
				}
				restored, tokens = restored+got, tokens+len(c.turns[i].Tokens)+at
				if err := e.Close(); err != nil {
					t.Fatal(err)
				}
				if err := e.loop.pool.Check(); err != nil {
					t.Error(err)
				}
				k++
			}
		}
	}
	t.Logf("%d cuts; %d of %d tokens came from the disk, %d runs computed again", n, restored, tokens, recomputed)
	if restored == 0 || recomputed == 0 {
		t.Error("something never happened")
	}
}

// TestResumeIsExact: a conversation cut anywhere goes on with the same tokens and
// the same bits of logits, from the disk or from its tokens alone.
func TestResumeIsExact(t *testing.T) {
	n := 300
	if long() {
		n = 1000
	}
	t.Run("full", func(t *testing.T) {
		cuts(t, n, 4, 60, func(cfg Config, adjust func(*loaded)) *Engine { return open(t, cfg, adjust) })
	})
	t.Run("window", func(t *testing.T) {
		path := filepath.Join(filepath.Dir(golden.TinyChat(t)), "tiny-window.gguf")
		cuts(t, n/3, 3, 100, func(cfg Config, adjust func(*loaded)) *Engine { return openPath(t, path, cfg, adjust) })
	})
}

// TestDamagedBlocks: whatever happens to the blocks on disk, the answer is the
// same, and what was damaged is counted.
func TestDamagedBlocks(t *testing.T) {
	n := 40
	if long() {
		n = 1000
	}
	t.Run("full", func(t *testing.T) { damagedBlocks(t, golden.TinyChat(t), n) })
	t.Run("window", func(t *testing.T) {
		damagedBlocks(t, filepath.Join(filepath.Dir(golden.TinyChat(t)), "tiny-window.gguf"), n)
	})
}

func damagedBlocks(t *testing.T, path string, n int) {
	rng := rand.New(rand.NewPCG(9, 9))
	e := openPath(t, path, Config{MaxSequences: 1}, nil)
	c := converse(t, e, "d/", rng, 3, 100)
	var missed, corrupt uint64
	k := 0
	for ; k < n || k < 20*n && (missed == 0 || corrupt == 0); k++ {
		store := t.TempDir()
		cfg := Config{Store: store, StoreBytes: 8 << 20, Restore: RestoreLoad}
		first := openPath(t, path, cfg, nil)
		c.goOn(t, first, 1, 0)
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
		damage(t, rng, filepath.Join(store, "kv"))
		second := openPath(t, path, cfg, nil)
		c.goOn(t, second, 2, 0)
		missed += second.Stats().MissedBlocks
		corrupt += second.Stats().CorruptBlocks
		c.goOn(t, second, 1, len(c.drawn[1])/2) // and what was computed again is there
		if err := second.Close(); err != nil {
			t.Fatal(err)
		}
		if t.Failed() {
			t.Fatalf("fault %d", k)
		}
	}
	t.Logf("%d faults, %d blocks missed, %d corrupt", k, missed, corrupt)
	if missed == 0 || corrupt == 0 {
		t.Error("no fault was met")
	}
}

// TestEarlierPlace: a session that goes on from a place behind which the window
// pool's blocks were never stored starts where they were, and misses nothing.
func TestEarlierPlace(t *testing.T) {
	path := filepath.Join(filepath.Dir(golden.TinyChat(t)), "tiny-window.gguf")
	store := t.TempDir()
	cfg := Config{Store: store, StoreBytes: 8 << 20, Restore: RestoreLoad}
	tokens := make([]int32, 400)
	for i := range tokens {
		tokens[i] = int32(i * i % 290)
	}
	first := openPath(t, path, cfg, nil)
	r := Request{Tokens: tokens[:390], MaxTokens: 4, Params: greedy, IgnoreEOS: true, Journal: &memo{}, Keep: true}
	generate(t, first, r)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	alone := openPath(t, path, Config{}, nil)
	for _, n := range []int{40, 130, 200, 385, 390} {
		e := openPath(t, path, cfg, nil)
		r.Tokens = slices.Concat(tokens[:n], []int32{7, 8, 9})
		want, _ := generate(t, alone, r)
		if got, _ := generate(t, e, r); got != want {
			t.Errorf("behind %d tokens: %q, want %q", n, got, want)
		}
		if s := waitIdle(t, e); s.MissedBlocks > 0 || n == 390 && s.RestoredTokens == 0 {
			t.Errorf("behind %d tokens: %+v", n, s.TierStats)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// damage changes bytes of what is stored somewhere.
func damage(t *testing.T, rng *rand.Rand, dir string) {
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files in the store: %v", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		last := len(data)
		for last > 0 && data[last-1] == 0 {
			last--
		}
		if last < 4096 { // a lock
			continue
		}
		for range 1 + rng.IntN(8) {
			at := 4096 + rng.IntN(max(last-4096, 1))
			switch rng.IntN(3) {
			case 0:
				data[at] ^= 1 << rng.IntN(8)
			case 1:
				clear(data[at:min(at+512, last)])
			default:
				from := 4096 + rng.IntN(max(last-4096, 1))
				copy(data[at:last], data[from:min(from+4096, last)])
			}
		}
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// gated is a disk that cannot be read, once shut is set, until open is closed.
func gated(disk *vfstest.Disk, shut *atomic.Bool) (fs vfs.FS, asked chan struct{}, open chan struct{}) {
	asked, open = make(chan struct{}, 1000), make(chan struct{})
	fs = vfstest.Fault(disk, func(c vfstest.Call) error {
		if c.Op == "read" && shut.Load() {
			asked <- struct{}{}
			<-open
		}
		return nil
	})
	return fs, asked, open
}

// TestLeaveWhileRestoring: a client leaves, or the engine is closed, while blocks
// come from the disk. What was read is there for others, and nothing is freed
// before the last read is back.
func TestLeaveWhileRestoring(t *testing.T) {
	path := golden.TinyChat(t)
	disk := vfstest.NewDisk()
	cfg := Config{Store: cutStore, StoreBytes: 8 << 20, Restore: RestoreLoad, fs: disk}
	tokens := golden.TinyCase(t, "tiny-chat").Tokens[:100]
	r := Request{Tokens: tokens, MaxTokens: 4, Params: greedy, IgnoreEOS: true, Journal: &memo{}, Keep: true}
	first := openOn(t, path, cfg)
	want, _ := generate(t, first, r)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	for _, closes := range []bool{false, true} {
		var shut atomic.Bool
		fs, asked, open := gated(disk.Crash(disk.Ops(), vfstest.KeepAll, rand.New(rand.NewPCG(1, 1))), &shut)
		cfg.fs = fs
		e := openOn(t, path, cfg)
		shut.Store(true)
		g, err := e.Generate(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		<-asked
		if closes {
			closed := make(chan error)
			go func() { closed <- e.Close() }()
			if _, _, err := result(g); !errors.Is(err, ErrStopped) {
				t.Errorf("closed: %v", err)
			}
			select {
			case <-closed:
				t.Error("closed with a read under way")
			default:
			}
			close(open)
			if err := <-closed; err != nil {
				t.Error(err)
			}
			continue
		}
		g.Close()
		for e.Stats().Cancelled == 0 {
			runtime.Gosched()
		}
		close(open)
		s := waitIdle(t, e)
		for s.LoadedBlocks < 3 {
			s = e.Stats()
		}
		if got, _ := generate(t, e, r); got != want {
			t.Errorf("after one that left: %q, want %q", got, want)
		}
		if s := waitIdle(t, e); s.LoadedBlocks != 3 || s.Steps != uint64(r.MaxTokens) || s.BlocksUsed != 0 {
			t.Errorf("%+v", s)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		if err := e.loop.pool.Check(); err != nil {
			t.Error(err)
		}
	}
}
