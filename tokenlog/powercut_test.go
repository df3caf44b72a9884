package tokenlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/zeebo/xxh3"

	"github.com/holdfast-run/holdfast/internal/testkit/vfstest"
	"github.com/holdfast-run/holdfast/internal/vfs"
)

// The power-cut test runs a log by hand, in one goroutine, on a disk that
// remembers every operation; cuts the power after many of them; opens what is left;
// and goes on from some of the wrecks. What must hold after each cut:
//
//   - everything that was acknowledged before the cut is there, with the same bytes;
//   - what is there is a state that the log was in after some append, not a mix;
//   - nothing is reported as damage.

// TestPowerCuts does 20,000 cuts, a million with HOLDFAST_LONG=1.
func TestPowerCuts(t *testing.T) {
	cuts := 20_000
	if os.Getenv("HOLDFAST_LONG") != "" {
		cuts = 1_000_000
	}
	if testing.Short() {
		cuts = 2_000
	}
	total := counts{}
	for seed := uint64(1); total.cuts < cuts; seed++ {
		w := newWorld(t, seed)
		// Every 16th world is a real file system, whose operations are recorded.
		if seed%16 == 0 {
			dir := t.TempDir()
			w.dir, w.under = dir+"/log", vfs.OS{}
			w.life()
		} else {
			for lives := 4; lives > 0 && !t.Failed(); lives-- {
				w.life()
			}
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
		total.add(w.counts)
	}
	t.Logf("%+v", total)
	for what, n := range map[string]int{
		"acknowledged records": total.acked, "segments begun": total.segments, "rewrites": total.rewrites,
		"compactions": total.compactions, "failed calls": total.faults, "clean closes": total.closes, "kills": total.kills, "ends": total.ends,
	} {
		if n == 0 {
			t.Errorf("no %s: the test does not test what it says", what)
		}
	}
}

// TestLastBatchHasAHome: a process dies while it writes the last batch of the one
// before again, and so does the next, and the next. The only durable copy is in the
// first one's segment, which is empty by then, and must not be used again.
func TestLastBatchHasAHome(t *testing.T) {
	w := newWorld(t, 1)
	w.opts, w.faulty = small, 0
	disk := w.disk
	w.start()
	w.append(id(1))
	for w.work() {
	}
	w.floor = w.l.Durable()
	first := disk.Ops()
	w.l.abandon()
	w.l.release()
	for range 3 {
		found := replayed{}
		synced := false
		l, err := open(vfstest.Fault(disk, func(c vfstest.Call) error {
			if c.Op == "sync" {
				synced = true
				panic(killed{})
			}
			return nil
		}), w.dir, w.opts, found.record)
		if err != nil {
			t.Fatal(err)
		}
		w.l = l
		if died := w.workUntilKilled(); !died || !synced {
			t.Fatal("the process lives")
		}
		l.release()
		for op := first; op <= disk.Ops(); op++ {
			for range 20 {
				w.check(w.crash(op), op, fmt.Sprintf("after operation %d", op))
			}
		}
	}
}

type counts struct {
	cuts, acked, segments, rewrites, compactions, faults, closes, kills, ends int
}

func (c *counts) add(d counts) {
	c.cuts += d.cuts
	c.acked += d.acked
	c.segments += d.segments
	c.rewrites += d.rewrites
	c.compactions += d.compactions
	c.faults += d.faults
	c.closes += d.closes
	c.kills += d.kills
	c.ends += d.ends
}

// world is a log, its disk, and a model of what must be in it.
type world struct {
	t     *testing.T
	rng   *rand.Rand
	dir   string
	under vfs.FS // a real file system under the disk, or nil
	disk  *vfstest.Disk
	l     *Log
	opts  Options
	counts

	owners    map[Owner][]item // the model
	state     uint64           // a digest of owners
	events    []event          // state after each change, by LSN
	floor     LSN              // acknowledged in former lives
	acks      []ack            // in this life
	faulty    int              // one call in so many fails; 0: none
	serial    uint64           // numbers payloads
	untilKill int              // calls of the file system until the process dies; below 1: it lives
	over      bool             // the life has ended before its time
}

type item struct {
	seq  uint32
	hash uint64
}

type event struct {
	lsn             LSN
	state           uint64
	born, forgotten int // it may be on the disk after an operation behind born, up to forgotten
}

type ack struct {
	op  int
	end LSN
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{
		t: t, rng: rand.New(rand.NewPCG(seed, 17)), dir: "log", disk: vfstest.NewDisk(), owners: map[Owner][]item{},
	}
	pages := 2 + w.rng.IntN(6)
	w.opts = Options{SegmentBytes: int64(pages+2) * pageSize, BufferBytes: min(pages, 4) * pageSize, RetryEvery: time.Hour, Notify: w.notify}
	if w.rng.IntN(3) == 0 {
		w.faulty = 20 + w.rng.IntN(80)
	}
	return w
}

// digest is of one owner's history.
func digest(owner Owner, items []item) uint64 {
	h := xxh3.Hash(owner[:])
	for _, it := range items {
		h = chain(h, it.seq, it.hash)
	}
	return h
}

func chain(h uint64, seq uint32, payload uint64) uint64 {
	var b [20]byte
	binary.LittleEndian.PutUint64(b[:], h)
	binary.LittleEndian.PutUint32(b[8:], seq)
	binary.LittleEndian.PutUint64(b[12:], payload)
	return xxh3.Hash(b[:])
}

// set changes the model: owner has these items once the log holds lsn.
func (w *world) set(owner Owner, items []item, lsn LSN) {
	if old, ok := w.owners[owner]; ok {
		w.state ^= digest(owner, old)
	}
	if items == nil {
		delete(w.owners, owner)
	} else {
		w.owners[owner] = items
		w.state ^= digest(owner, items)
	}
	w.events = append(w.events, event{lsn, w.state, w.disk.Ops(), math.MaxInt})
}

// stateAt returns the model's digest of a log that a cut after operation op left
// with this end.
func (w *world) stateAt(end LSN, op int) uint64 {
	for i := len(w.events) - 1; i >= 0; i-- {
		if e := &w.events[i]; e.lsn < end && e.born < op && op <= e.forgotten {
			return e.state
		}
	}
	return 0
}

// forget takes back what a process had appended and the next one did not find. Cuts
// in the past may still show it.
func (w *world) forget(end LSN) {
	for i := range w.events {
		if e := &w.events[i]; e.lsn >= end {
			e.forgotten = min(e.forgotten, w.disk.Ops())
		}
	}
}

func (w *world) notify() {
	if w.l != nil {
		w.acks = append(w.acks, ack{w.disk.Ops(), w.l.Durable()})
		w.acked++
	}
}

// acknowledged returns the end of what was acknowledged before operation op.
func (w *world) acknowledged(op int) LSN {
	end := w.floor
	for _, a := range w.acks {
		if a.op <= op {
			end = max(end, a.end)
		}
	}
	return end
}

func (w *world) fs() vfs.FS {
	var fs vfs.FS = w.disk
	if w.under != nil {
		fs = vfstest.Record(w.under, w.disk)
	}
	return vfstest.Fault(fs, func(c vfstest.Call) error {
		if w.untilKill--; w.untilKill == 0 {
			panic(killed{})
		}
		if w.faulty == 0 || w.l == nil || w.rng.IntN(w.faulty) != 0 || c.Op == "read" || c.Op == "open" {
			return nil
		}
		w.faults++
		return []error{syscall.EIO, syscall.ENOSPC}[w.rng.IntN(2)]
	})
}

// life opens the log, uses it, cuts the power many times, and leaves one of the
// wrecks as the disk.
func (w *world) life() {
	w.acks, w.over = nil, false
	w.start()
	w.floor = max(w.floor, w.l.Durable()) // all that the wreck holds is durable
	steps := 10 + w.rng.IntN(40)
	for range steps {
		if w.step(); w.t.Failed() {
			return
		} else if w.over {
			break
		}
	}
	ops := w.disk.Ops()
	for range 100 {
		op := w.rng.IntN(ops + 1)
		w.check(w.crash(op), op, fmt.Sprintf("after operation %d of %d", op, ops))
		w.cuts++
	}
	op := w.rng.IntN(ops + 1)
	floor := w.acknowledged(op)
	w.segments += int(w.l.w.number)
	w.stop()
	w.disk, w.floor = w.crash(op), floor
	w.events = slices.DeleteFunc(w.events, func(e event) bool { return e.born >= op || e.forgotten < op })
	for i := range w.events {
		w.events[i].born, w.events[i].forgotten = -1, math.MaxInt
	}
}

func (w *world) crash(op int) *vfstest.Disk {
	return w.disk.Crash(op, vfstest.Policy(w.rng.IntN(int(vfstest.Policies))), w.rng)
}

// start opens the log on the disk, and makes the model what is found there.
func (w *world) start() {
	w.l = nil
	found := replayed{}
	l, err := open(w.fs(), w.dir, w.opts, found.record)
	if err != nil {
		w.t.Fatal(err)
	}
	w.verify(l, &found, w.disk.Ops(), "at the start")
	w.forget(l.fill.lsn)
	w.owners = found.owners
	w.state = found.state()
	w.l = l
}

// stop ends a life without a word to the disk.
func (w *world) stop() {
	if !w.over {
		w.l.abandon()
		w.l.release()
	}
	w.l = nil
}

// check opens a wreck and compares it with the model.
func (w *world) check(disk *vfstest.Disk, op int, when string) {
	found := replayed{}
	l, err := open(disk, w.dir, w.opts, found.record)
	if err != nil {
		w.t.Errorf("%s: %v", when, err)
		return
	}
	w.verify(l, &found, op, when)
	l.abandon()
	l.release()
}

func (w *world) verify(l *Log, found *replayed, op int, when string) {
	end, acked := l.fill.lsn, w.acknowledged(op)
	if end < acked {
		w.t.Errorf("%s: the log ends at %d, %d was acknowledged", when, end, acked)
	}
	if got, want := found.state(), w.stateAt(end, op); got != want {
		w.t.Errorf("%s: the log ends at %d with other records than it had there", when, end)
	}
	if r := l.Recovery(); len(r.Damage) != 0 || len(r.Owners) != 0 {
		w.t.Errorf("%s: damage %v, owners %v", when, r.Damage, r.Owners)
	}
}

// replayed is what a replay found.
type replayed struct{ owners map[Owner][]item }

func (f *replayed) record(r Record) error {
	if f.owners == nil {
		f.owners = map[Owner][]item{}
	}
	switch {
	case r.End:
		delete(f.owners, r.Owner)
	case r.Base:
		f.owners[r.Owner] = []item{{r.Seq, xxh3.Hash(r.Payload)}}
	default:
		f.owners[r.Owner] = append(f.owners[r.Owner], item{r.Seq, xxh3.Hash(r.Payload)})
	}
	return nil
}

func (f *replayed) state() (state uint64) {
	for owner, items := range f.owners {
		state ^= digest(owner, items)
	}
	if f.owners == nil {
		f.owners = map[Owner][]item{}
	}
	return state
}

// step does something to the log, and then some of what the writer should do.
func (w *world) step() {
	owner := id(w.rng.IntN(8))
	switch n := w.rng.IntN(40); {
	case n < 28:
		for range 1 + w.rng.IntN(3) {
			w.append(id(w.rng.IntN(8)))
		}
	case n < 32:
		w.end(owner)
	case n < 35:
		w.rewrite(owner)
	case n < 37:
		w.compact()
	case n < 38:
		w.restart()
	default:
		w.l.due, w.l.choreDue = true, true // time passes
	}
	if w.rng.IntN(12) == 0 {
		w.kill()
		return
	}
	for range w.rng.IntN(12) {
		if !w.work() {
			break
		}
	}
}

// killed is what the process dies of.
type killed struct{}

// kill has the process die at one of its next calls of the file system, and opens
// the log again: what the dead one wrote is in the page cache, synced or not.
func (w *world) kill() {
	w.untilKill = 1 + w.rng.IntN(10)
	if died := w.workUntilKilled(); !died {
		w.untilKill = 0
		return
	}
	w.kills++
	w.l.release()
	w.start()
	w.notify() // what it calls durable is a promise, too
}

func (w *world) workUntilKilled() (died bool) {
	defer func() {
		if v := recover(); v == (killed{}) {
			died = true
		} else if v != nil {
			panic(v)
		}
	}()
	for w.work() {
	}
	return false
}

// work lets the writer do one thing.
func (w *world) work() bool {
	job := w.l.pick()
	return job != idle && w.l.do(job)
}

func (w *world) append(owner Owner) {
	w.serial++
	payload := make([]byte, w.rng.IntN(2500))
	for i := range payload {
		payload[i] = byte(w.serial * uint64(i+1))
	}
	lsn, err := w.l.Append(owner, kind, payload)
	if err == nil {
		items := slices.Clone(w.owners[owner])
		w.set(owner, append(items, item{w.l.owners[owner].seq, xxh3.Hash(payload)}), lsn)
	} else if !errors.Is(err, ErrFull) {
		w.t.Errorf("append: %v", err)
	}
}

func (w *world) end(owner Owner) {
	lsn, err := w.l.End(owner, kind, nil)
	switch {
	case err == nil:
		w.ends++
		w.set(owner, nil, lsn)
	case !errors.Is(err, ErrFull) && !errors.Is(err, ErrNoOwner):
		w.t.Errorf("end: %v", err)
	}
}

// keep drops some records when an owner is rewritten.
func keep(seq uint32) bool { return seq%3 != 1 }

func (w *world) rewrite(owner Owner) {
	before := w.l.owners
	old, known := before[owner]
	err := w.l.rewriteKept(owner, func(r Record) bool { return keep(r.Seq) })
	switch {
	case err == nil && known:
		w.rewrites++
		w.kept(owner)
	case err == nil || errors.Is(err, ErrFull) || errors.Is(err, ErrNoOwner) || errors.Is(err, ErrTooLarge):
	default:
		w.t.Errorf("rewrite of %v, %+v: %v", owner, old, err)
	}
}

// kept does to the model what a rewrite did to the log.
func (w *world) kept(owner Owner) {
	var items []item
	for _, it := range w.owners[owner] {
		if keep(it.seq) {
			items = append(items, it)
		}
	}
	w.set(owner, items, w.l.fill.next()-1)
}

// compact does what Compact does, without waiting for room.
func (w *world) compact() {
	ids, _ := w.l.Oldest()
	for _, owner := range ids {
		w.rewrite(owner)
	}
	w.compactions += len(ids)
}

// restart closes the log and opens it again, with the same disk. If the disk fails
// meanwhile, the life is over: what the log did not keep was not in it.
func (w *world) restart() {
	failures := w.l.failures
	w.l.beginClose()
	for w.work() {
	}
	if err := w.l.release(); err != nil && !errors.Is(err, ErrNotDurable) {
		w.t.Errorf("close: %v", err)
	}
	if w.l.failures != failures || w.l.failed != nil {
		w.over = true
		return
	}
	w.closes++
	w.segments += int(w.l.w.number)
	w.start()
}
