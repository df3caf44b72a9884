package session

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/internal/testkit/vfstest"
	"github.com/holdfast-run/holdfast/internal/vfs"
)

// TestPowerCuts uses sessions on a disk that remembers every operation, cuts the power
// after many of them, and opens what is left: each session is one that it was, not older
// than what was acknowledged before the cut. Then it goes on from one of the
// wrecks. It does 2,000 cuts, 100,000 with HOLDFAST_LONG=1.
func TestPowerCuts(t *testing.T) {
	cuts := 2_000
	if os.Getenv("HOLDFAST_LONG") != "" {
		cuts = 100_000
	}
	seen := map[string]int{}
	unseen := func() (what []string) {
		for _, verb := range []string{"create", "begin", "draw", "await", "commit", "resume", "rewind", "fork", "update", "delete", "compact", "rewrite", "fault", "acknowledged", "lost"} {
			if seen[verb] == 0 {
				what = append(what, verb)
			}
		}
		return what
	}
	for seed := uint64(1); seen["cut"] < cuts || seen["cut"] < 20*cuts && len(unseen()) > 0; seed++ {
		rng := rand.New(rand.NewPCG(seed, 23))
		p := &cutter{world: world{t: t, choose: rng.IntN, verbs: seen}, rng: rng, disk: vfstest.NewDisk()}
		p.faulty = seed%3 == 0
		for lives := 3; lives > 0 && !t.Failed(); lives-- {
			p.life()
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	for _, what := range unseen() {
		t.Errorf("no %q: the test does not test what it says", what)
	}
	t.Log(seen)
}

type cutter struct {
	world
	rng  *rand.Rand
	disk *vfstest.Disk

	mu     sync.Mutex // guards what follows: the writers' goroutines use it too
	off    bool       // no more faults
	faults int
}

var cutOptions = Options{Log: small, MaxOpen: 2}

func (c *cutter) fs() vfs.FS {
	if !c.faulty {
		return c.disk
	}
	faults := rand.New(rand.NewPCG(c.rng.Uint64(), 5))
	return vfstest.Fault(c.disk, func(call vfstest.Call) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.off || call.Op == "read" || call.Op == "open" || faults.IntN(30) != 0 {
			return nil
		}
		c.faults++
		return []error{syscall.EIO, syscall.ENOSPC}[faults.IntN(2)]
	})
}

// life uses the sessions for a while, cuts the power often, and leaves a wreck.
func (c *cutter) life() {
	defer c.countFaults()
	disk := c.disk
	c.ops, c.off = disk.Ops, false
	o := cutOptions
	o.Log.RetryEvery = time.Millisecond
	var err error
	if c.m, err = Open(c.fs(), "store", o); err != nil {
		if c.faulty {
			return // the disk failed to open it
		}
		c.t.Fatal(err)
	}
	for range 20 + c.rng.IntN(60) {
		if c.step(); c.t.Failed() {
			return
		}
	}
	ops := disk.Ops()
	for range 60 {
		op := c.rng.IntN(ops + 1)
		c.verbs["cut"]++
		c.wreck(c.crash(op), op, fmt.Sprintf("after operation %d of %d", op, ops), false)
	}
	op := c.rng.IntN(ops + 1)
	left := c.crash(op)
	c.mu.Lock()
	c.off = true
	c.mu.Unlock()
	c.m.Close() // the process that goes on writes to a disk that nobody reads
	c.wreck(left, op, "the next life", true)
	c.disk = left
}

func (c *cutter) countFaults() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.verbs["fault"] += c.faults
	c.faults = 0
}

func (c *cutter) crash(op int) *vfstest.Disk {
	return c.disk.Crash(op, vfstest.Policy(c.rng.IntN(int(vfstest.Policies))), c.rng)
}

// wreck opens what a cut left, and compares. adopt makes it the world's state.
func (c *cutter) wreck(disk *vfstest.Disk, op int, when string, adopt bool) {
	m, err := Open(disk, "store", cutOptions)
	if err != nil {
		c.t.Errorf("%s: %v", when, err)
		return
	}
	if s := m.Status(); len(s.Damaged)+len(s.Recovery.Damage) > 0 {
		c.t.Errorf("%s: damage %+v, %v", when, s.Recovery, s.Damaged)
	}
	var left []*track
	for _, tr := range c.tracks {
		text, err := found(m, tr.id)
		if err != nil {
			c.t.Errorf("%s: %v: %v", when, tr.id, err)
			continue
		}
		least, which := 0, -1
		for _, a := range tr.acks {
			if a.op <= op {
				least = max(least, a.index)
				c.verbs["acknowledged"]++
			}
		}
		for i, s := range tr.states {
			if i >= least && s.born <= op && s.text == text {
				which = i
				break
			}
		}
		if which < 0 {
			c.t.Errorf("%s: %v (%v, %v of %v states acknowledged) is\n%sacknowledged was\n%s", when, tr.id, tr.level, least, len(tr.states), text, tr.states[least].text)
			continue
		}
		if which < len(tr.states)-1 {
			c.verbs["lost"]++
		}
		if adopt && text != "" {
			s := tr.states[which]
			s.born = -1
			left = append(left, &track{id: tr.id, level: tr.level, now: s.p.clone(), states: []state{s}, acks: []acked{{-1, 0}}})
		}
	}
	if err := m.Close(); err != nil {
		c.t.Errorf("%s: close: %v", when, err)
	}
	if adopt {
		c.tracks = slices.DeleteFunc(left, func(tr *track) bool { return tr.level == LevelMemory })
	}
}
