package session

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/internal/testkit/vfstest"
	"github.com/holdfast-run/holdfast/internal/vfs"
)

// TestPrincipals: to another principal a session does not exist, on any verb.
func TestPrincipals(t *testing.T) {
	m := open(t, vfstest.NewDisk(), Options{Log: small})
	defer closeIt(t, m)
	info, err := m.Create(t.Context(), Spec{Principal: "alice", Durability: LevelTurn, Model: testModel, Key: "k"})
	if err != nil {
		t.Fatal(err)
	}
	id := info.ID
	oneTurn(t, m, id, []int32{1}, []int32{2})
	for _, who := range []string{"bob", "", "alice2"} {
		_, err := m.Get(who, id)
		wantErr(t, "get", err, ErrNotFound)
		_, err = m.Acquire(t.Context(), who, id)
		wantErr(t, "acquire", err, ErrNotFound)
		_, err = m.Fork(t.Context(), who, id, "", 1)
		wantErr(t, "fork", err, ErrNotFound)
		_, err = m.Update(t.Context(), who, id, Change{Pin: new(bool)})
		wantErr(t, "update", err, ErrNotFound)
		_, err = m.Turns(t.Context(), who, id)
		wantErr(t, "turns", err, ErrNotFound)
		_, err = m.Verify(t.Context(), who, id)
		wantErr(t, "verify", err, ErrNotFound)
		var w bytes.Buffer
		wantErr(t, "export", m.Export(t.Context(), who, id, &w), ErrNotFound)
		wantErr(t, "delete", m.Delete(t.Context(), who, id), ErrNotFound)
		if page, more := m.List(who, ID{}, 10); len(page) != 0 || more || w.Len() != 0 {
			t.Errorf("%q lists %v", who, page)
		}
		other, err := m.Create(t.Context(), Spec{Principal: who, Durability: LevelTurn, Key: "k"})
		if err != nil || other.ID == id || other.Principal != who {
			t.Errorf("another's key: %+v, %v", other, err)
		}
		page, _ := m.List(who, ID{}, 10)
		if len(page) != 1 || page[0].ID != other.ID {
			t.Errorf("%q lists %v", who, page)
		}
	}
}

// TestLimits: what is refused, with which error, and that a refusal changes nothing.
func TestLimits(t *testing.T) {
	m := open(t, vfstest.NewDisk(), Options{Log: small, MaxSessions: 4, MaxOfPrincipal: 3, MaxTurns: 3, MaxTokens: 20, MaxForks: 2, MaxBody: 100})
	defer closeIt(t, m)
	ctx := t.Context()
	id := create(t, m, LevelTurn).ID
	for what, c := range map[string]struct {
		spec Spec
		want error
	}{
		"no durability":    {Spec{Principal: "alice"}, ErrInvalid},
		"a long principal": {Spec{Principal: strings.Repeat("x", 300), Durability: LevelTurn}, ErrTooLarge},
		"a long key":       {Spec{Key: strings.Repeat("x", 300), Durability: LevelTurn}, ErrTooLarge},
		"a negative TTL":   {Spec{TTL: -1, Durability: LevelTurn}, ErrInvalid},
	} {
		_, err := m.Create(ctx, c.spec)
		wantErr(t, what, err, c.want)
	}
	s := acquire(t, m, id)
	for what, c := range map[string]struct {
		b    Begin
		want error
	}{
		"a long body":       {Begin{Body: make([]byte, 101)}, ErrTooLarge},
		"a long key":        {Begin{Key: strings.Repeat("x", 300)}, ErrTooLarge},
		"too much kept":     {Begin{Keep: 1}, ErrInvalid},
		"less than nothing": {Begin{Keep: -1}, ErrInvalid},
		"a long prompt":     {Begin{Input: make([]int32, 21)}, ErrTooMany},
	} {
		_, err := s.Begin(ctx, c.b)
		wantErr(t, what, err, c.want)
	}
	_, err := s.Begin(ctx, Begin{Head: "turn_1", Input: []int32{1}})
	if e := wantType[*StaleHeadError](t, "another head", err); e != nil && e.Head != "" {
		t.Errorf("head %q", e.Head)
	}
	_, err = m.Acquire(ctx, "alice", id)
	wantType[*BusyError](t, "acquired twice", err)
	wantType[*BusyError](t, "deleted in use", m.Delete(ctx, "alice", id))
	_, err = m.Update(ctx, "alice", id, Change{Parked: new(bool)})
	wantType[*BusyError](t, "parked in use", err)
	wantErr(t, "rewind", s.Rewind(ctx, "turn_9"), ErrNoTurn)
	wantErr(t, "rewind", s.Rewind(ctx, "turn_01"), ErrNoTurn)
	_, err = s.Resume("turn_1")
	wantErr(t, "resume", err, ErrNoTurn)
	_, err = s.Turn("turn_1")
	wantErr(t, "turn", err, ErrNoTurn)
	s.Release()
	s.Release()
	wantErr(t, "rewind after release", s.Rewind(ctx, ""), ErrReleased)
	_, err = s.Begin(ctx, Begin{})
	wantErr(t, "begin after release", err, ErrReleased)
	if info, err := m.Get("alice", id); err != nil || info.State != Idle || len(acquireAll(t, m, id)) != 0 {
		t.Errorf("refusals left %+v, %v", info, err)
	}
	turn := begin(t, m, id, 1)
	draw(t, turn, 2, 3)
	for what, c := range map[string]struct {
		c    Commit
		want error
	}{
		"a long result":     {Commit{Result: make([]byte, 101)}, ErrTooLarge},
		"a long finish":     {Commit{Finish: strings.Repeat("x", 65)}, ErrTooLarge},
		"more than drawn":   {Commit{Tokens: 3}, ErrInvalid},
		"less than nothing": {Commit{Tokens: -1}, ErrInvalid},
	} {
		_, err := turn.Commit(ctx, c.c)
		wantErr(t, what, err, c.want)
	}
	commit(t, turn, 2)
	_, err = turn.Commit(ctx, Commit{})
	wantErr(t, "a second commit", err, ErrReleased)
	turn.Append(9)
	turn.Flush()
	turn.Write()
	turn.Abandon()
	oneTurn(t, m, id, []int32{4}, nil)
	oneTurn(t, m, id, []int32{5}, nil)
	s = acquire(t, m, id)
	_, err = s.Begin(ctx, Begin{Input: []int32{1}})
	wantErr(t, "a fourth turn", err, ErrTooMany)
	s.Release()
	for _, n := range []int{0, 3} {
		_, err = m.Fork(ctx, "alice", id, "", n)
		wantErr(t, "forks", err, ErrTooMany)
	}
	_, err = m.Fork(ctx, "alice", id, "turn_4", 1)
	wantErr(t, "a fork of nothing", err, ErrNoTurn)
	if _, err = m.Fork(ctx, "alice", id, "", 2); err != nil {
		t.Error(err)
	}
	_, err = m.Create(ctx, Spec{Principal: "alice", Durability: LevelTurn})
	wantErr(t, "a fourth session of one", err, ErrTooMany)
	if _, err := m.Create(ctx, Spec{Principal: "bob", Durability: LevelTurn}); err != nil {
		t.Error(err)
	}
	_, err = m.Create(ctx, Spec{Principal: "carol", Durability: LevelTurn})
	wantErr(t, "a fifth session", err, ErrTooMany)
	page, more := m.List("alice", ID{}, 2)
	rest, end := m.List("alice", page[1].ID, 2)
	if len(page) != 2 || !more || len(rest) != 1 || end || rest[0].ID == page[0].ID {
		t.Errorf("pages %v, %v", page, rest)
	}
}

func acquireAll(t testing.TB, m *Manager, id ID) []TurnInfo {
	s := acquire(t, m, id)
	defer s.Release()
	return s.All()
}

// TestKeys: a repeated request gives what the first gave, after a restart as well.
func TestKeys(t *testing.T) {
	disk := vfstest.NewDisk()
	now := time.Unix(1_800_000_000, 0)
	o := Options{Log: small, Now: func() time.Time { return now }}
	m := open(t, disk, o)
	spec := Spec{Principal: "alice", Durability: LevelTurn, Model: testModel, Key: "create-1"}
	first, err := m.Create(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	b := Begin{Input: []int32{1}, Key: "turn-a", Digest: [16]byte{1}}
	s := acquire(t, m, first.ID)
	turn, err := s.Begin(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	draw(t, turn, 2)
	commit(t, turn, 1)
	for round := range 2 {
		again, err := m.Create(t.Context(), spec)
		if err != nil || again.ID != first.ID {
			t.Errorf("round %d: %+v, %v", round, again, err)
		}
		s := acquire(t, m, first.ID)
		stale := b
		stale.Head = "turn_7" // a retry knows an old head
		_, err = s.Begin(t.Context(), stale)
		if e := wantType[*RepeatError](t, "a repeated turn", err); e != nil && (e.Turn.ID != "turn_1" || e.Turn.State != TurnCommitted || !slices.Equal(e.Turn.Drawn, []int32{2})) {
			t.Errorf("repeat of %+v", e.Turn)
		}
		other := b
		other.Digest[0]++
		_, err = s.Begin(t.Context(), other)
		wantErr(t, "the key with another request", err, ErrKeyReused)
		s.Release()
		closeIt(t, m)
		m = open(t, disk, o)
	}
	now = now.Add(25 * time.Hour)
	again, err := m.Create(t.Context(), spec)
	if err != nil || again.ID == first.ID {
		t.Errorf("a day later: %+v, %v", again, err)
	}
	if err := m.Delete(t.Context(), "alice", again.ID); err != nil {
		t.Fatal(err)
	}
	third, err := m.Create(t.Context(), spec)
	if err != nil || third.ID == again.ID {
		t.Errorf("after a delete: %+v, %v", third, err)
	}
	closeIt(t, m)
}

// TestExpiry: a session past its TTL is gone at once, and for good after Compact; a
// pinned or busy one stays, and a pinned one's interrupted turn is closed.
func TestExpiry(t *testing.T) {
	disk := vfstest.NewDisk()
	now := time.Unix(1_800_000_000, 0)
	o := Options{Log: small, Now: func() time.Time { return now }}
	m := open(t, disk, o)
	make := func(ttl time.Duration, pin bool) ID {
		info, err := m.Create(t.Context(), Spec{Principal: "alice", Durability: LevelTurn, TTL: ttl, Pin: pin, Model: testModel})
		if err != nil {
			t.Fatal(err)
		}
		turn := begin(t, m, info.ID, 1)
		turn.Abandon()
		return info.ID
	}
	short, pinned, long, forever := make(time.Hour, false), make(time.Hour, true), make(3*time.Hour, false), make(0, false)
	busy := make(time.Hour, false)
	s := acquire(t, m, busy)
	now = now.Add(2 * time.Hour)
	_, err := m.Get("alice", short)
	wantErr(t, "expired", err, ErrGone)
	_, err = m.Acquire(t.Context(), "alice", short)
	wantErr(t, "expired", err, ErrGone)
	for range 2 {
		if err := m.Compact(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []ID{pinned, long, forever, busy} {
		info, err := m.Get("alice", id)
		if err != nil || id == long && !info.Expires.Equal(now.Add(time.Hour)) || id != long && id != busy && !info.Expires.IsZero() {
			t.Errorf("%+v, %v", info, err)
		}
	}
	s.Release()
	states := func(id ID) TurnState { return acquireAll(t, m, id)[0].State }
	if states(pinned) != TurnIncomplete || states(long) != TurnInterrupted {
		t.Errorf("turns %v, %v", states(pinned), states(long))
	}
	closeIt(t, m)
	m = open(t, disk, o)
	_, err = m.Get("alice", short)
	wantErr(t, "expired, after a restart", err, ErrGone)
	if states(pinned) != TurnIncomplete {
		t.Error("the closed turn is open again")
	}
	if n := len(m.sessions); n != 4 {
		t.Errorf("%d sessions, want 4", n)
	}
	closeIt(t, m)
}

// TestArchive: a session goes through an archive as it is; a damaged archive does not.
func TestArchive(t *testing.T) {
	disk := vfstest.NewDisk()
	m := open(t, disk, Options{Log: small})
	defer func() { closeIt(t, m) }()
	id := create(t, m, LevelTurn).ID
	oneTurn(t, m, id, []int32{1, 2}, []int32{3})
	oneTurn(t, m, id, []int32{4}, []int32{5})
	s := acquire(t, m, id)
	if err := s.Rewind(t.Context(), "turn_1"); err != nil {
		t.Fatal(err)
	}
	s.Release()
	turn := begin(t, m, id, 6)
	draw(t, turn, 7)
	turn.Abandon()
	var w bytes.Buffer
	if err := m.Export(t.Context(), "alice", id, &w); err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(w.Bytes(), []byte("alice")) {
		t.Error("the archive names its principal")
	}
	archive := w.Bytes()
	info, err := m.Import(t.Context(), "bob", bytes.NewReader(archive), Spec{Principal: "alice", Durability: LevelStep, TTL: time.Hour})
	if err != nil || info.Principal != "bob" || info.Head != "turn_1" || info.State != Interrupted || info.Model != testModel || info.Durability != LevelStep || info.TTL != time.Hour {
		t.Fatalf("%+v, %v", info, err)
	}
	closeIt(t, m)
	m = open(t, disk, Options{Log: small})
	a, err1 := m.Turns(t.Context(), "alice", id)
	b, err2 := m.Turns(t.Context(), "bob", info.ID)
	if pa, pb := (&plain{turns: a, head: "turn_1"}).String(), (&plain{turns: b, head: "turn_1"}).String(); pa != pb || err1 != nil || err2 != nil {
		t.Errorf("imported\n%s, want\n%s", pb, pa)
	}
	_, err = m.Get("alice", info.ID)
	wantErr(t, "the import is another's", err, ErrNotFound)
	other := testModel
	other.Weights[0]++
	_, err = m.Import(t.Context(), "bob", bytes.NewReader(archive), Spec{Durability: LevelTurn, Model: other})
	if e := wantType[*ModelError](t, "another model", err); e != nil && !slices.Equal(e.Differs, []string{"weights"}) {
		t.Error(e)
	}
	sessions := len(m.sessions)
	refused := func(what string, b []byte) {
		t.Helper()
		_, err := m.Import(t.Context(), "bob", bytes.NewReader(b), Spec{Durability: LevelTurn})
		wantType[*ArchiveError](t, what, err)
	}
	for i := range archive {
		flipped := bytes.Clone(archive)
		flipped[i] ^= 1 << (i % 8)
		refused("a flipped bit", flipped)
		refused("cut short", archive[:i])
	}
	refused("more behind it", append(bytes.Clone(archive), 0))
	refused("too large", make([]byte, 4*m.limit))
	if len(m.sessions) != sessions {
		t.Error("something of a bad archive was taken")
	}
}

// TestNoDisk: without a folder everything is in memory, and works.
func TestNoDisk(t *testing.T) {
	m, err := Open(nil, "", Options{})
	if err != nil {
		t.Fatal(err)
	}
	info, err := m.Create(t.Context(), Spec{Principal: "alice", Durability: LevelStep, Model: testModel})
	if err != nil || info.Durable || info.Durability != LevelMemory {
		t.Errorf("%+v, %v", info, err)
	}
	oneTurn(t, m, info.ID, []int32{1}, []int32{2})
	forks, err := m.Fork(t.Context(), "alice", info.ID, "", 1)
	if err != nil {
		t.Fatal(err)
	}
	equalTokens(t, "fork", tokens(t, m, forks[0].ID), 1, 2)
	parked := true
	if info, err := m.Update(t.Context(), "alice", info.ID, Change{Parked: &parked}); err != nil || info.State != Parked {
		t.Errorf("%+v, %v", info, err)
	}
	equalTokens(t, "parked", tokens(t, m, info.ID), 1, 2)
	for _, f := range []func() error{
		func() error { _, err := m.Verify(t.Context(), "alice", info.ID); return err },
		func() error { return m.Delete(t.Context(), "alice", info.ID) },
		func() error { return m.Compact(t.Context()) },
		m.Close,
	} {
		if err := f(); err != nil {
			t.Error(err)
		}
	}
	wantErr(t, "closed twice", m.Close(), ErrClosed)
	_, err = m.Create(t.Context(), Spec{Durability: LevelTurn})
	wantErr(t, "create after close", err, ErrClosed)
}

// TestMemoryLevel: nothing of a session at LevelMemory is in the log.
func TestMemoryLevel(t *testing.T) {
	disk := vfstest.NewDisk()
	m := open(t, disk, Options{Log: small, MaxOpen: 1})
	id := create(t, m, LevelMemory).ID
	create(t, m, LevelTurn)
	oneTurn(t, m, id, []int32{1}, []int32{2})
	if m.log.Status().Owners != 1 {
		t.Error("it is in the log")
	}
	equalTokens(t, "in memory", tokens(t, m, id), 1, 2)
	closeIt(t, m)
	m = open(t, disk, Options{Log: small})
	defer closeIt(t, m)
	_, err := m.Get("alice", id)
	wantErr(t, "after a restart", err, ErrNotFound)
}

// TestLocked: a store that is open cannot be opened again.
func TestLocked(t *testing.T) {
	disk := vfstest.NewDisk()
	m := open(t, disk, Options{Log: small})
	defer closeIt(t, m)
	_, err := Open(disk, "store", Options{Log: small})
	wantType[*vfs.LockedError](t, "a second open", err)
}

// TestIDs: what String writes is what ParseID reads.
func TestIDs(t *testing.T) {
	id := newID()
	if got, err := ParseID(id.String()); err != nil || got != id {
		t.Errorf("%v, %v", got, err)
	}
	for _, s := range []string{"", "sess_", id.String()[:36], id.String() + "0", strings.ToUpper(id.String()), "turn_1", "sess_" + strings.Repeat("g", 32)} {
		if _, err := ParseID(s); err == nil {
			t.Errorf("%q is an ID", s)
		}
	}
	for _, s := range []string{"turn_", "turn_0", "turn_-1", "turn_1 ", "1", "turn_4294967296"} {
		if _, err := parseTurn(s); !errors.Is(err, ErrNoTurn) {
			t.Errorf("%q is a turn", s)
		}
	}
	for d := LevelMemory; d <= LevelStep; d++ {
		if got, err := ParseDurability(d.String()); err != nil || got != d {
			t.Errorf("%v: %v, %v", d, got, err)
		}
	}
}
