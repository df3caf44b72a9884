package tokenlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/holdfast-run/holdfast/internal/testkit/vfstest"
	"github.com/holdfast-run/holdfast/internal/vfs"
)

// small makes segments of 16 batches, so that a short test sees many.
var small = Options{SegmentBytes: 18 * pageSize, BufferBytes: 4 * pageSize}

var kind = Kind{Type: 7, Version: 3}

func id(n int) Owner { return Owner{byte(n), byte(n >> 8), 0xee} }

func mustOpen(t testing.TB, fs vfs.FS, o Options) (*Log, []Record) {
	t.Helper()
	var got []Record
	l, err := Open(fs, "log", o, collect(&got))
	if err != nil {
		t.Fatal(err)
	}
	return l, got
}

func collect(got *[]Record) func(Record) error {
	return func(r Record) error {
		r.Payload = bytes.Clone(r.Payload)
		*got = append(*got, r)
		return nil
	}
}

func mustClose(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// put appends a record and waits until it is durable.
func put(t testing.TB, l *Log, owner Owner, payload string) LSN {
	t.Helper()
	lsn, err := l.Append(owner, kind, []byte(payload))
	if err == nil {
		err = l.Wait(context.Background(), lsn)
	}
	if err != nil {
		t.Fatal(err)
	}
	return lsn
}

// text writes records as "owner.seq payload", with * for a base and ! for an end.
func text(records []Record) (s []string) {
	for _, r := range records {
		mark := ""
		if r.Base {
			mark = "*"
		}
		if r.End {
			mark += "!"
		}
		s = append(s, fmt.Sprintf("%d.%d%s %s", r.Owner[0], r.Seq, mark, r.Payload))
	}
	return s
}

func history(t testing.TB, l *Log, owner Owner) []string {
	t.Helper()
	var got []Record
	for r, err := range l.History(owner) {
		if err != nil {
			t.Fatalf("history of %v: %v", owner, err)
		}
		r.Payload = bytes.Clone(r.Payload)
		got = append(got, r)
	}
	slices.Reverse(got)
	return text(got)
}

func equal(t testing.TB, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n got %q\nwant %q", what, got, want)
	}
}

func TestAppendAndReplay(t *testing.T) {
	disk := vfstest.NewDisk()
	l, got := mustOpen(t, disk, small)
	if len(got) != 0 || l.Durable() != firstLSN {
		t.Fatalf("a new log has %d records and ends at %d", len(got), l.Durable())
	}
	put(t, l, id(1), "a")
	put(t, l, id(2), "b")
	put(t, l, id(1), "")
	if _, err := l.End(id(2), kind, []byte("bye")); err != nil {
		t.Fatal(err)
	}
	last, err := l.Append(id(1), Kind{Type: 9, Version: 1, Skippable: true}, bytes.Repeat([]byte("x"), 5000))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := l.Last(id(1)); got != last || err != nil {
		t.Errorf("last is %d, %v", got, err)
	}
	if _, err := l.Append(id(1), kind, nil); err != nil {
		t.Fatal(err)
	}
	want := []string{"1.1* a", "1.2 ", "1.3 " + string(bytes.Repeat([]byte("x"), 5000)), "1.4 "}
	equal(t, "history before it is written", history(t, l, id(1)), want...)
	mustClose(t, l)
	if _, err := l.Append(id(1), kind, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("append after close: %v", err)
	}
	if err := l.Close(); !errors.Is(err, ErrClosed) {
		t.Errorf("a second close: %v", err)
	}
	for _, err := range l.History(id(1)) {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("history after close: %v", err)
		}
	}

	l, got = mustOpen(t, disk, small)
	equal(t, "replay", text(got), "1.1* a", "2.1* b", "1.2 ", "2.2! bye", want[2], "1.4 ")
	if k := got[4].Kind; k != (Kind{Type: 9, Version: 1, Skippable: true}) {
		t.Errorf("kind %+v", k)
	}
	equal(t, "history", history(t, l, id(1)), want...)
	if s := l.Status(); s.Owners != 1 || s.Segments != 1 || s.Err != nil || s.Failures != 0 || s.Batches != 0 {
		t.Errorf("status %+v", s)
	}
	if r := l.Recovery(); r.Records != 6 || len(r.Damage)+len(r.Owners) != 0 {
		t.Errorf("recovery %+v", r)
	}
	if _, err := l.End(id(2), kind, nil); !errors.Is(err, ErrNoOwner) {
		t.Errorf("a second end: %v", err)
	}
	mustClose(t, l)
}

// TestBatchesAreCounted: a record that was waited for was in a batch of its own.
func TestBatchesAreCounted(t *testing.T) {
	l, _ := mustOpen(t, vfstest.NewDisk(), small)
	defer mustClose(t, l)
	for n := range uint64(3) {
		if s := l.Status(); s.Batches != n {
			t.Errorf("%d batches, want %d", s.Batches, n)
		}
		lsn, err := l.Append(id(1), kind, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Wait(t.Context(), lsn); err != nil {
			t.Fatal(err)
		}
	}
}

// TestSegments: records over many segments, with a restart after each few.
func TestSegments(t *testing.T) {
	disk := vfstest.NewDisk()
	var want []string
	for range 10 {
		l, got := mustOpen(t, disk, small)
		equal(t, "replay", text(got), want...)
		for range 7 {
			n := len(want)
			payload := fmt.Sprintf("%d%s", n, bytes.Repeat([]byte{'.'}, n*97%9000))
			put(t, l, id(n%3), payload)
			mark := ""
			if n < 3 {
				mark = "*"
			}
			want = append(want, fmt.Sprintf("%d.%d%s %s", n%3, n/3+1, mark, payload))
		}
		if s, n := l.Status(), l.Status().Segments; n > 1 && s.Appended < LSN(n-1)*4*pageSize {
			t.Errorf("%d segments for %d bytes", n, s.Appended)
		}
		mustClose(t, l)
	}
	l, got := mustOpen(t, disk, small)
	equal(t, "replay", text(got), want...)
	if n := l.Status().Segments; n < 5 {
		t.Errorf("the test saw %d segments only", n)
	}
	mustClose(t, l)
}

// TestRewriteNew: a rewrite begins a history, and gives new numbers.
func TestRewriteNew(t *testing.T) {
	disk := vfstest.NewDisk()
	l, _ := mustOpen(t, disk, small)
	for round, want := range []uint32{2, 4} {
		last := LSN(0)
		if round > 0 {
			last, _ = l.Last(id(1))
		}
		if err := l.Rewrite(id(1), last, []Record{{Kind: kind, Payload: []byte("one")}, {Kind: kind, Payload: []byte("two")}}); err != nil {
			t.Fatal(err)
		}
		if got := l.owners[id(1)].seq; got != want {
			t.Errorf("round %d: number %d, want %d", round, got, want)
		}
	}
	mustClose(t, l)
	l, got := mustOpen(t, disk, small)
	if len(got) != 4 || !got[2].Base || got[3].Seq != 4 || string(got[3].Payload) != "two" {
		t.Errorf("%+v", got)
	}
	var forward []string
	if err := l.Salvage(id(1), func(r Record) error { forward = append(forward, string(r.Payload)); return nil }); err != nil || len(forward) != 4 {
		t.Errorf("salvage %v, %v", forward, err)
	}
	mustClose(t, l)
}
