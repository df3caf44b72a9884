package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/internal/testkit/vfstest"
	"github.com/holdfast-run/holdfast/internal/vfs"
)

// The power-cut test uses a store on a disk that remembers every operation, has
// some of them fail and the process die in others, cuts the power after many of
// them, opens what is left, and goes on from one of the wrecks. What must hold:
//
//   - a block that Put acknowledged before the cut, and that nothing dropped since,
//     is there with the same bytes;
//   - any other block is missing or whole;
//   - nothing is reported as damage, and nothing that is found fails to verify.

// TestPowerCuts does 5,000 cuts, 200,000 with HOLDFAST_LONG=1.
func TestPowerCuts(t *testing.T) {
	cuts := 5_000
	if os.Getenv("HOLDFAST_LONG") != "" {
		cuts = 200_000
	}
	if testing.Short() {
		cuts = 1_000
	}
	total := map[string]int{}
	for seed := uint64(1); total["cuts"] < cuts; seed++ {
		w := newWorld(t, seed)
		// Every 16th world is a real file system, whose operations are recorded.
		if seed%16 == 0 {
			w.dir = t.TempDir() + "/kv"
			w.under = vfs.OS{}
			w.life()
		} else {
			for lives := 4; lives > 0 && !t.Failed(); lives-- {
				w.life()
			}
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
		for what, n := range w.counts {
			total[what] += n
		}
	}
	t.Log(total)
	for _, what := range []string{"puts", "skipped", "faults", "kills", "closes", "moved", "evicted", "collected", "rescued", "must", "segments reused"} {
		if total[what] == 0 {
			t.Errorf("no %s: the test does not test what it says", what)
		}
	}
}

// world is a store, its disk, and what must be in it.
type world struct {
	t      *testing.T
	rng    *rand.Rand
	dir    string
	under  vfs.FS // a real file system under the disk, or nil
	disk   *vfstest.Disk
	s      *Store
	opts   Options
	known  map[int][]stored
	counts map[string]int
	faulty int // one call in so many fails; 0: none
	kill   int // calls of the file system until the process dies; below 1: it lives
	since  int // operations before this step
	before Stats
}

// stored is the time, in operations of the disk, from the acknowledgement of a block
// to the beginning of what dropped it.
type stored struct{ acked, dropped int }

// numbers is how many blocks there are in a world.
const numbers = 120

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{
		t: t, rng: rand.New(rand.NewPCG(seed, 19)), dir: "kv", disk: vfstest.NewDisk(),
		known: map[int][]stored{}, counts: map[string]int{},
	}
	w.opts = Options{SegmentBytes: int64(16+w.rng.IntN(16)) * pageSize, RetryEvery: time.Nanosecond}
	w.opts.MaxBytes = w.opts.SegmentBytes * int64(4+w.rng.IntN(40))
	if w.rng.IntN(3) == 0 {
		w.faulty = 20 + w.rng.IntN(80)
	}
	return w
}

func (w *world) fs() vfs.FS {
	var fsys vfs.FS = w.disk
	if w.under != nil {
		fsys = vfstest.Record(w.under, w.disk)
	}
	return vfstest.Fault(fsys, func(c vfstest.Call) error {

		if w.kill--; w.kill == 0 {
			panic(killed{})
		}
		if w.faulty == 0 || w.s == nil || w.rng.IntN(w.faulty) != 0 || c.Op == "read" || c.Op == "open" || c.Op == "size" {
			return nil
		}
		w.counts["faults"]++
		return []error{syscall.EIO, syscall.ENOSPC}[w.rng.IntN(2)]
	})
}

// life opens the store, uses it, cuts the power many times, and leaves one of the
// wrecks as the disk.
func (w *world) life() {
	w.since = 0
	w.start()
	for range 10 + w.rng.IntN(30) {
		if w.step(); w.t.Failed() {
			return
		}
	}
	ops := w.disk.Ops()
	for range 50 {
		op := w.rng.IntN(ops + 1)
		w.check(w.crash(op), op, fmt.Sprintf("after operation %d of %d", op, ops))
		w.counts["cuts"]++
	}
	op := w.rng.IntN(ops + 1)
	next := w.crash(op)
	w.s.release()
	w.s, w.disk = nil, next
	// What was there at the cut is there now, until something drops it.
	for n, list := range w.known {
		if i := slices.IndexFunc(list, func(a stored) bool { return a.acked <= op && op <= a.dropped }); i >= 0 {
			w.known[n] = []stored{{-1, math.MaxInt}}
		} else {
			delete(w.known, n)
		}
	}
}

func (w *world) crash(op int) *vfstest.Disk {
	return w.disk.Crash(op, vfstest.Policy(w.rng.IntN(int(vfstest.Policies))), w.rng)
}

// start opens the store on the disk. Opening may drop something, to make room.
func (w *world) start() {
	before := w.disk.Ops()
	w.s = nil
	s, err := Open(w.fs(), w.dir, w.opts)
	if err != nil {
		w.t.Fatal(err)
	}
	w.s, w.before = s, Stats{}
	w.verify(s, before, "at the start")
	w.note(w.since)
}

// check opens a wreck and compares it with what must be there.
func (w *world) check(disk *vfstest.Disk, op int, when string) {
	s, err := Open(disk, w.dir, w.opts)
	if err != nil {
		w.t.Errorf("%s: %v", when, err)
		return
	}
	w.verify(s, op, when)
	s.release()
}

func (w *world) verify(s *Store, op int, when string) {
	w.t.Helper()
	evicted := s.Stats().Evicted
	for n := range numbers {
		must := slices.ContainsFunc(w.known[n], func(a stored) bool { return a.acked <= op && op <= a.dropped })
		has := s.Has(key(n))
		err := read(w.t, s, block(n))
		switch {
		case err == nil && has:
			if must {
				w.counts["must"]++
			}
		case err != ErrMissing || has:
			w.t.Errorf("%s: block %d: %v, has %v", when, n, err, has)
		case must && evicted == 0: // opening rescues a batch, and may drop others for it
			w.t.Errorf("%s: block %d, which was acknowledged, is lost %v", when, n, w.known[n])
		}
	}
	if st := s.Stats(); st.Corrupt != 0 || st.Damaged != 0 {
		w.t.Errorf("%s: %+v", when, st)
	}
	check(w.t, s)
}

// note looks what was dropped by what began after operation op.
func (w *world) note(op int) {
	for n, list := range w.known {
		if last := &list[len(list)-1]; last.dropped == math.MaxInt && !w.s.Has(key(n)) {
			last.dropped = op
		}
	}
	st := w.s.Stats()
	w.counts["moved"] += int(st.Moved - w.before.Moved)
	w.counts["evicted"] += int(st.Evicted - w.before.Evicted)
	w.counts["collected"] += int(st.Collected - w.before.Collected)
	w.counts["skipped"] += int(st.Skipped - w.before.Skipped)
	w.before = st
	if w.s.w.number > uint64(st.Segments+st.Spares) {
		w.counts["segments reused"]++
	}
}

type killed struct{}

// step does something with the store. Now and then the process dies in it.
func (w *world) step() {
	w.since = w.disk.Ops()
	if w.rng.IntN(12) == 0 {
		w.kill = 1 + w.rng.IntN(12)
	}
	died := func() (died bool) {
		defer func() {
			if v := recover(); v == (killed{}) {
				died = true
			} else if v != nil {
				panic(v)
			}
		}()
		w.do()
		return false
	}()
	w.kill = 0
	if died { // what it wrote is in the page cache
		w.counts["kills"]++
		w.s.release()
		w.start()
		w.counts["rescued"] += int(w.s.Stats().Moved)
	}
	w.note(w.since)
	for n := range numbers { // what it has it promises
		w.acknowledge(n)
	}
}

func (w *world) do() {
	switch n := w.rng.IntN(20); {
	case n < 13:
		w.put()
	case n < 16:
		for range 10 {
			_ = read(w.t, w.s, block(w.rng.IntN(numbers)))
		}
	case n < 18:
		keep := w.rng.IntN(7)
		_, err := w.s.Collect(context.Background(), func(k Key) bool { return int(k.Hash[0])%7 != keep })
		w.harmless(err)
	default:
		failures := w.s.Stats().Failures
		err := w.s.Close()
		w.harmless(err)
		if err == nil && failures == 0 {
			w.counts["closes"]++
		}
		w.kill = 0
		w.start()
	}
}

func (w *world) put() {
	var put []int
	for range 1 + w.rng.IntN(12) {
		put = append(put, w.rng.IntN(numbers))
	}
	old, evicted := w.s, w.s.Stats().Evicted
	defer func() {
		for _, n := range put { // one that is found then may be another one than before
			if list := w.known[n]; len(list) > 0 && old.Stats().Evicted != evicted {
				list[len(list)-1].dropped = min(list[len(list)-1].dropped, w.since)
			}
		}
	}()
	err := w.s.Put(blocks(put...))
	w.harmless(err)
	w.counts["puts"]++
}

// acknowledge notes that a block is stored: what can be found is durable.
func (w *world) acknowledge(n int) {
	list := w.known[n]
	if w.s.Has(key(n)) && (len(list) == 0 || list[len(list)-1].dropped != math.MaxInt) {
		w.known[n] = append(list, stored{w.disk.Ops(), math.MaxInt})
	}
}

// harmless checks that an error is of the faults that were made.
func (w *world) harmless(err error) {
	var paused *PausedError
	if err != nil && !errors.Is(err, syscall.EIO) && !errors.Is(err, syscall.ENOSPC) && !errors.As(err, &paused) && !errors.Is(err, fs.ErrNotExist) {
		w.t.Errorf("%v", err)
	}
}
