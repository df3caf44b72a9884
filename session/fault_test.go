package session

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-run/holdfast/internal/testkit/vfstest"
	"github.com/holdfast-run/holdfast/tokenlog"
)

// TestFailTheNth fails each call of the file system in turn, once, a few times and for long,
// under a script of all verbs. The process lives, no turn fails, Durable says what is
// so, and once the disk is well the sessions are on it as they are in memory.
func TestFailTheNth(t *testing.T) {
	for _, failure := range []error{syscall.EIO, syscall.ENOSPC} {
		for _, times := range []int{1, 5, 60} {
			n, dropped := 1, 0
			for ; ; n++ {
				failed := 0
				synctest.Test(t, func(t *testing.T) {
					var d int
					failed, d = failNth(t, n, times, failure)
					dropped += d
				})
				if t.Failed() {
					t.Fatalf("%v at call %d, %d times", failure, n, times)
				}
				if failed == 0 {
					break
				}
			}
			if n < 40 || times == 60 && dropped == 0 {
				t.Errorf("%d calls, durability dropped %d times: the script does too little", n, dropped)
			}
		}
	}
}

// failNth runs the script with calls n to n+times-1 failing. It returns how many of them
// there were, and how often the sessions said that they were not durable.
func failNth(t *testing.T, n, times int, failure error) (failed, dropped int) {
	disk, calls := vfstest.NewDisk(), 0
	var mu sync.Mutex
	fs := vfstest.Fault(disk, func(c vfstest.Call) error {
		mu.Lock()
		defer mu.Unlock()
		if calls++; calls >= n && calls < n+times && c.Op != "read" {
			failed++
			return failure
		}
		return nil
	})
	o := Options{Log: small}
	var m *Manager
	var err error
	for range 100 {
		if m, err = Open(fs, "store", o); err == nil {
			break
		}
		if !errors.Is(err, failure) {
			t.Fatal(err)
		}
	}
	note := func(info Info, err error) ID {
		if err != nil {
			t.Fatal(err)
		}
		if !info.Durable {
			dropped++
		}
		return info.ID
	}
	ctx := t.Context()
	id := note(m.Create(ctx, Spec{Principal: "alice", Durability: LevelStep, Model: testModel}))
	oneTurn(t, m, id, make([]int32, 500), []int32{1, 2, 3})
	turn := begin(t, m, id, make([]int32, 2000)...)
	draw(t, turn, 4, 5)
	if !turn.Durable() {
		dropped++
	}
	turn.Abandon()
	s := acquire(t, m, id)
	if turn, err = s.Resume("turn_2"); err != nil {
		t.Fatal(err)
	}
	draw(t, turn, 6)
	commit(t, turn, 3)
	forks, err := m.Fork(ctx, "alice", id, "turn_1", 1)
	if err != nil {
		t.Fatal(err)
	}
	note(forks[0], nil)
	doomed := note(m.Create(ctx, Spec{Principal: "alice", Durability: LevelTurn, Model: testModel}))
	s = acquire(t, m, id)
	if err := s.Rewind(ctx, "turn_1"); err != nil {
		t.Fatal(err)
	}
	s.Release()
	parked := true
	note(m.Update(ctx, "alice", id, Change{Parked: &parked}))
	if err := m.Delete(ctx, "alice", doomed); err != nil && !errors.Is(err, ErrNotDurable) {
		t.Fatal(err)
	}
	if err := m.Compact(ctx); err != nil && !errors.Is(err, failure) && !errors.Is(err, tokenlog.ErrNotDurable) {
		t.Fatal(err)
	}
	time.Sleep(3 * time.Minute) // the disk is well again
	synctest.Wait()
	for _, id := range []ID{id, forks[0].ID} {
		if info, err := m.Get("alice", id); err != nil || !info.Durable {
			t.Errorf("not durable after the outage: %+v, %v", info, err)
		}
		if _, err := m.Verify(ctx, "alice", id); err != nil {
			t.Errorf("verify: %v", err)
		}
	}
	if m.Status().Behind != 0 {
		t.Error("something is still behind")
	}
	one, two := text(t, m, id), text(t, m, forks[0].ID)
	left := disk.Crash(disk.Ops(), vfstest.KeepNone, nil)
	_ = m.Close()
	m, err = Open(left, "store", o)
	if err != nil {
		t.Fatal(err)
	}
	if got := text(t, m, id); got != one {
		t.Errorf("after a power cut\n%s, want\n%s", got, one)
	}
	if got := text(t, m, forks[0].ID); got != two {
		t.Errorf("after a power cut the fork is\n%s, want\n%s", got, two)
	}
	if got := text(t, m, doomed); got != "" {
		t.Error("a deleted session is back")
	}
	closeIt(t, m)
	return failed, dropped
}

func text(t testing.TB, m *Manager, id ID) string {
	t.Helper()
	s, err := found(m, id)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestOutage: while nothing can be written, sessions go on past what the log's buffer takes, and say
// so; when the disk is back they are written, and say so.
func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, broken := vfstest.NewDisk(), false
		var mu sync.Mutex
		fs := vfstest.Fault(disk, func(c vfstest.Call) error {
			mu.Lock()
			defer mu.Unlock()
			if broken && c.Op != "read" {
				return syscall.EIO
			}
			return nil
		})
		set := func(is bool) { mu.Lock(); broken = is; mu.Unlock() }
		m := open(t, fs, Options{Log: small})
		var ids []ID
		for range 3 {
			id := create(t, m, LevelStep).ID
			oneTurn(t, m, id, []int32{1}, []int32{2})
			ids = append(ids, id)
		}
		set(true)
		for range 4 {
			for _, id := range ids {
				oneTurn(t, m, id, make([]int32, 900), []int32{3, 4, 5})
			}
		}
		for behind := m.Status().Behind; m.Status().Behind == behind && len(ids) < 500; { // one that the log never saw
			ids = append(ids, create(t, m, LevelTurn).ID)
		}
		if m.Status().Behind == 0 {
			t.Error("nothing is behind: the outage is too short for the buffer")
		}
		for _, id := range ids {
			if info, _ := m.Get("alice", id); info.Durable {
				t.Errorf("durable without a disk: %+v", info)
			}
		}
		gone := ids[0]
		wantErr(t, "delete", m.Delete(t.Context(), "alice", gone), ErrNotDurable)
		turn := begin(t, m, ids[1], 7)
		draw(t, turn, 8)
		set(false)
		time.Sleep(time.Minute)
		synctest.Wait()
		draw(t, turn, 9) // the turn goes on where the log now is
		if !turn.Durable() {
			t.Error("a turn is not durable after the outage")
		}
		cut := open(t, disk.Crash(disk.Ops(), vfstest.KeepNone, nil), Options{Log: small})
		if turns, err := cut.Turns(t.Context(), "alice", ids[1]); err != nil || !slices.Equal(turns[len(turns)-1].Drawn, []int32{8, 9}) {
			t.Errorf("%v, %v", turns, err)
		}
		if got := text(t, cut, gone); got != "" {
			t.Error("a deleted session is back")
		}
		for _, id := range ids[1:] {
			if got, want := text(t, cut, id), text(t, m, id); got != want {
				t.Errorf("after a power cut\n%.300s, want\n%.300s", got, want)
			}
			if info, _ := m.Get("alice", id); !info.Durable {
				t.Errorf("not durable after the outage: %+v", info)
			}
		}
		closeIt(t, cut)
		commit(t, turn, 2)
		closeIt(t, m)
	})
}

// TestDamage flips bytes of the log, all over it: each session is whole, or usable up to a turn that
// it names; it goes on after a rewind, and forks below the damage.
func TestDamage(t *testing.T) {
	wide := tokenlog.Options{SegmentBytes: 256 << 10, BufferBytes: 32 << 10}
	build := func() (*vfstest.Disk, []ID, []string) {
		disk := vfstest.NewDisk()
		m := open(t, disk, Options{Log: wide})
		var ids []ID
		for range 3 {
			ids = append(ids, create(t, m, LevelStep).ID)
		}
		var texts []string
		for range 3 {
			for _, id := range ids {
				oneTurn(t, m, id, []int32{1, 2}, []int32{3, 4})
			}
		}
		for _, id := range ids {
			texts = append(texts, text(t, m, id))
		}
		closeIt(t, m)
		return disk, ids, texts
	}
	whole, damaged, turns := 0, 0, map[string]int{}
	for at := int64(4096); at < 4096*60; at += 777 {
		disk, ids, texts := build()
		flip(t, disk, at)
		m := open(t, disk, Options{Log: wide})
		for i, id := range ids {
			info, err := m.Get("alice", id)
			if err != nil || info.State != Damaged {
				if got, err := found(m, id); err != nil || got != texts[i] && got != "" {
					t.Errorf("byte %d: %v, %s", at, err, got)
				}
				whole++
				continue
			}
			damaged++
			s := acquire(t, m, id)
			_, err = s.Begin(t.Context(), Begin{Input: []int32{1}})
			lost := wantType[*DamagedError](t, "a turn behind damage", err)
			turns[lost.Turn]++
			n := turnNumber(lost.Turn)
			if n < 1 || n > 4 || len(s.Turns()) != n-1 {
				t.Errorf("byte %d: damaged from %s on, with %d turns", at, lost.Turn, len(s.Turns()))
			}
			fork, err := m.Fork(t.Context(), "alice", id, "", 1)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Rewind(t.Context(), s.Info().Head); err != nil {
				t.Fatal(err)
			}
			s.Release()
			head := oneTurn(t, m, id, []int32{9}, []int32{9})
			if turnNumber(head) < 8192 {
				t.Errorf("the number of a lost turn may have been given again: %s", head)
			}
			oneTurn(t, m, fork[0].ID, []int32{9}, []int32{9})
			texts[i] = text(t, m, id)
		}
		closeIt(t, m)
		m = open(t, disk, Options{Log: wide})
		for i, id := range ids {
			if got := text(t, m, id); got != texts[i] && got != "" {
				t.Errorf("byte %d: after a restart\n%s, want\n%s", at, got, texts[i])
			}
		}
		closeIt(t, m)
	}
	if whole == 0 || damaged == 0 || len(turns) < 3 {
		t.Errorf("%d whole, %d damaged, from %v on", whole, damaged, turns)
	}
}

// flip flips a byte of the only segment in use.
func flip(t testing.TB, disk *vfstest.Disk, at int64) {
	t.Helper()
	f, err := disk.Open("store/00000001.seg", 0)
	if err != nil {
		t.Fatal(err)
	}
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0x40
	if _, err := f.WriteAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	f.Close()
}

// TestDamageFoundLate: a record that goes bad while the sessions are open is found when the
// session is read back, and costs it the turns from there on.
func TestDamageFoundLate(t *testing.T) {
	disk := vfstest.NewDisk()
	m := open(t, disk, Options{Log: small, MaxOpen: 1})
	id := create(t, m, LevelTurn).ID
	var places []uint64
	for range 3 {
		oneTurn(t, m, id, []int32{1, 2}, []int32{3, 4})
		places = append(places, m.sessions[id].lsn.Load())
	}
	if err := func() error { _, err := m.Verify(t.Context(), "alice", id); return err }(); err != nil {
		t.Fatal(err)
	}
	flip(t, disk, int64(places[1])+10)  // the commit of the second turn; the first segment begins at LSN 4096
	other := create(t, m, LevelTurn).ID // the first one leaves the memory
	oneTurn(t, m, other, []int32{1}, []int32{2})
	s := acquire(t, m, id)
	info := s.Info()
	if info.State != Damaged || info.Head != "turn_1" || info.Tokens != 4 {
		t.Errorf("%+v", info)
	}
	_, err := s.Begin(t.Context(), Begin{Input: []int32{1}})
	if lost := wantType[*DamagedError](t, "begin", err); lost != nil && lost.Turn != "turn_2" {
		t.Error(lost)
	}
	if err := s.Rewind(t.Context(), "turn_1"); err != nil {
		t.Fatal(err)
	}
	s.Release()
	oneTurn(t, m, id, []int32{5}, []int32{6})
	closeIt(t, m)
	m = open(t, disk, Options{Log: small})
	equalTokens(t, "mended", tokens(t, m, id), 1, 2, 3, 4, 5, 6)
	if got := fmt.Sprint(m.Status().States); got != "map[idle:2]" {
		t.Error(got)
	}
	closeIt(t, m)
}
