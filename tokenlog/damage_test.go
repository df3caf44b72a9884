package tokenlog

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/internal/testkit/vfstest"
	"github.com/holdfast-run/holdfast/internal/vfs"
)

// written is a log that was closed, what is in it, and copies of its disk.
type written struct {
	disk   *vfstest.Disk
	owners map[Owner][]string // text of each owner's records
}

// write makes a log of some segments and owners, with batches of several records.
func write(t testing.TB) written {
	t.Helper()
	w := written{vfstest.NewDisk(), map[Owner][]string{}}
	l, err := open(w.disk, "log", small, func(Record) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(5, 5))
	for range 70 {
		for range 1 + rng.IntN(5) {
			owner := id(rng.IntN(6))
			payload := strings.Repeat(fmt.Sprint(rng.IntN(10)), rng.IntN(900))
			if _, err := l.Append(owner, kind, []byte(payload)); err != nil {
				t.Fatal(err)
			}
			mark := ""
			if w.owners[owner] == nil {
				mark = "*"
			}
			w.owners[owner] = append(w.owners[owner], fmt.Sprintf("%d.%d%s %s", owner[0], len(w.owners[owner])+1, mark, payload))
		}
		for job := l.pick(); job != idle; job = l.pick() {
			l.do(job)
		}
	}
	l.beginClose()
	for l.do(l.next()) {
	}
	if err := l.release(); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w written) copy() *vfstest.Disk { return w.disk.Crash(w.disk.Ops(), vfstest.KeepAll, nil) }

// reopen opens a damaged copy and checks what must hold whatever the damage: an
// owner has a beginning of its history, and if it is not the whole the loss is
// known. It returns the owners that lost something.
func (w written) reopen(t testing.TB, disk *vfstest.Disk, what string) (Recovery, []Owner) {
	t.Helper()
	got := map[Owner][]Record{}
	l, err := open(disk, "log", small, func(r Record) error {
		r.Payload = slices.Clone(r.Payload)
		if got[r.Owner] = append(got[r.Owner], r); r.Kind != kind {
			t.Errorf("%s: a record of kind %+v", what, r.Kind)
		}
		return nil
	})
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	r := l.Recovery()
	var short []Owner
	unknown := slices.ContainsFunc(r.Damage, func(d Damage) bool { return d.Unknown })
	for owner, want := range w.owners {
		have := text(got[owner])
		if len(have) > len(want) || !slices.Equal(have, want[:len(have)]) {
			t.Errorf("%s: owner %d has records that it never had", what, owner[0])
		}
		i := slices.IndexFunc(r.Owners, func(e DamagedError) bool { return e.Owner == owner })
		if len(have) < len(want) {
			short = append(short, owner)
			if i < 0 && !unknown {
				t.Errorf("%s: owner %d lost records and nobody knows; %+v", what, owner[0], r)
			}
		} else if i >= 0 {
			t.Errorf("%s: owner %d lost nothing and is called damaged", what, owner[0])
		}
		if i >= 0 {
			var damaged *DamagedError
			if r.Owners[i].Seq != uint32(len(have)+1) {
				t.Errorf("%s: owner %d is damaged from %d on, it has %d records", what, owner[0], r.Owners[i].Seq, len(have))
			}
			if _, err := l.Append(owner, kind, nil); !errors.As(err, &damaged) || *damaged != r.Owners[i] {
				t.Errorf("%s: append to a damaged owner: %v", what, err)
			}
		}
	}
	l.abandon()
	l.release()
	return r, short
}

// change applies f to a piece of a file.
func change(t testing.TB, disk *vfstest.Disk, name string, off int64, n int, f func([]byte)) {
	t.Helper()
	file, err := disk.Open("log/"+name, 0)
	b := make([]byte, n)
	if err == nil {
		_, err = file.ReadAt(b, off)
	}
	if err == nil {
		f(b)
		_, err = file.WriteAt(b, off)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// live returns the segments of a log in their order.
func (w written) live(t testing.TB) []*segment {
	l, err := open(w.copy(), "log", small, func(Record) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	defer l.release()
	l.abandon()
	return l.segments
}

// TestBitFlips: one flipped bit costs at most one owner, is noticed wherever
// something was written, and costs nothing where nothing hangs on it.
func TestBitFlips(t *testing.T) {
	w := write(t)
	rng := rand.New(rand.NewPCG(6, 6))
	segments := w.live(t)
	if len(segments) < 3 {
		t.Fatalf("%d segments", len(segments))
	}
	if _, short := w.reopen(t, w.copy(), "no damage"); short != nil {
		t.Fatalf("without damage %v lost records", short)
	}
	lost := 0
	n := 6000
	if testing.Short() {
		n = 1000
	}
	for range n {
		s := segments[rng.IntN(len(segments))]
		off := rng.Int64N(s.size)
		what := fmt.Sprintf("bit flip in %s at %d", s.name, off)
		disk := w.copy()
		bit := byte(1) << rng.IntN(8)
		change(t, disk, s.name, off, 1, func(b []byte) { b[0] ^= bit })
		r, short := w.reopen(t, disk, what)
		lost += len(short)
		inBatch := off >= pageSize && off < s.offset(s.end)
		closing := s == segments[len(segments)-1] && off >= s.offset(s.end)-pageSize
		switch {
		case len(short) > 1:
			t.Errorf("%s: %d owners lost records", what, len(short))
		case len(r.Damage) != 0 != (inBatch && !closing):
			t.Errorf("%s: damage %v", what, r.Damage)
		case slices.ContainsFunc(r.Damage, func(d Damage) bool { return d.Unknown }):
			t.Errorf("%s: nobody knows whose records are lost: %v", what, r.Damage)
		}
		if t.Failed() {
			return
		}
	}
	if lost < n/10 {
		t.Errorf("%d flips cost %d owners something: the test misses the records", n, lost)
	}
}

// TestLargerDamage: sectors and pages that are gone, swapped or of another time,
// and files that are cut short.
func TestLargerDamage(t *testing.T) {
	w := write(t)
	rng := rand.New(rand.NewPCG(7, 7))
	segments := w.live(t)
	n := 1500
	if testing.Short() {
		n = 300
	}
	for range n {
		disk := w.copy()
		s := segments[rng.IntN(len(segments))]
		pages := int(s.end-s.first)/pageSize + 1
		page := int64(rng.IntN(pages)) * pageSize
		what := fmt.Sprintf("%s page %d", s.name, page/pageSize)
		switch rng.IntN(6) {
		case 0:
			off := page + rng.Int64N(8)*512
			change(t, disk, s.name, off, 512, func(b []byte) { clear(b) })
		case 1:
			change(t, disk, s.name, page, pageSize, func(b []byte) { clear(b) })
		case 2:
			change(t, disk, s.name, page, pageSize, func(b []byte) {
				for i := range b {
					b[i] = byte(rng.Uint32())
				}
			})
		case 3: // the page of another place, or of another segment
			from, other := segments[rng.IntN(len(segments))], make([]byte, pageSize)
			off := int64(rng.IntN(int(from.end-from.first)/pageSize)+1) * pageSize
			what += fmt.Sprintf(" from %s at %d", from.name, off/pageSize)
			change(t, disk, from.name, off, pageSize, func(b []byte) { copy(other, b) })
			change(t, disk, s.name, page, pageSize, func(b []byte) { copy(b, other) })
		case 4:
			change(t, disk, s.name, 0, int(s.size), func(b []byte) { clear(b[page:]) })
		case 5:
			file, _ := disk.Open("log/"+s.name, 0)
			file.Truncate(page + 100)
			what += " cut"
		}
		w.reopenTail(t, disk, what)
		if t.Failed() {
			return
		}
	}
}

// reopenTail is reopen for damage that may take the end of the log away: then what
// was there is not known to have been.
func (w written) reopenTail(t testing.TB, disk *vfstest.Disk, what string) {
	t.Helper()
	end := w.end(t, w.copy())
	if w.end(t, disk) == end {
		w.reopen(t, disk, what)
		return
	}
	cut := written{disk, map[Owner][]string{}}
	l, err := open(disk, "log", small, func(r Record) error {
		cut.owners[r.Owner] = append(cut.owners[r.Owner], text([]Record{r})...)
		return nil
	})
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	l.abandon()
	l.release()
	for owner, have := range cut.owners {
		if want := w.owners[owner]; len(have) > len(want) || !slices.Equal(have, want[:len(have)]) {
			t.Errorf("%s: owner %d has records that it never had", what, owner[0])
		}
	}
}

func (w written) end(t testing.TB, disk *vfstest.Disk) LSN {
	l, err := open(disk, "log", small, func(Record) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	defer l.release()
	l.abandon()
	return l.fill.lsn
}

// TestStaleBatch: a good batch counts only in the life of the file that it was
// written in, and only where it was written.
func TestStaleBatch(t *testing.T) {
	former := example{major, minor}.file()
	h := exampleHeader
	h.major, h.minor, h.number, h.salt = major, minor, 2, h.salt+1
	copy(former, h.append(nil))
	l, got := mustOpen(t, diskWith(t, "00000001.seg", former), small)
	if len(got) != 0 || l.Status().Segments != 0 || len(l.Recovery().Damage) != 0 {
		t.Errorf("of a former life: %q, %+v", text(got), l.Recovery())
	}
	mustClose(t, l)

	moved := example{major, minor}.file()
	copy(moved[2*pageSize:], moved[pageSize:2*pageSize])
	l, got = mustOpen(t, diskWith(t, "00000001.seg", moved), small)
	equal(t, "a batch in two places", text(got), "160.1* hello", "160.2 from the future")
	mustClose(t, l)

	// Nor does salvage take a directory of another life or place.
	for name, at := range map[string]int{"salt": 16, "LSN": 8} {
		b := bytes.Clone(example{major, minor}.file()[pageSize : 2*pageSize])
		footer := b[pageSize-footerSize:]
		footer[at]++
		directory := b[pageSize-footerSize-2*entrySize : pageSize-footerSize]
		le.PutUint64(footer, directoryCheck(directory, footer))
		if _, _, ok := findDirectory(b, exampleHeader.salt, firstLSN); ok {
			t.Errorf("a directory with another %s was taken", name)
		}
	}
}

// TestDamagedOwner: what a caller can do with an owner that lost its end.
func TestDamagedOwner(t *testing.T) {
	disk := vfstest.NewDisk()
	l, _ := mustOpen(t, disk, small)
	put(t, l, id(1), "one")
	at := put(t, l, id(1), "two")
	put(t, l, id(1), "three")
	put(t, l, id(2), "other")
	name := l.segments[0].name
	off := l.segments[0].offset(at) + recordSize
	mustClose(t, l)
	change(t, disk, name, off, 1, func(b []byte) { b[0]++ })

	for range 2 { // also after a restart that saw the damage
		l, got := mustOpen(t, disk, small)
		equal(t, "replay", text(got), "1.1* one", "2.1* other")
		var damaged *DamagedError
		if _, err := l.Append(id(1), kind, nil); !errors.As(err, &damaged) || *damaged != (DamagedError{id(1), 2}) {
			t.Errorf("append: %v", err)
		}
		equal(t, "history", history(t, l, id(1)), "1.1* one")
		mustClose(t, l)
	}

	// Compaction keeps what is whole, and that it is not all.
	l, _ = mustOpen(t, disk, small)
	last, _ := l.Last(id(1))
	if err := l.Rewrite(id(1), last, []Record{{Seq: 1, Kind: kind, Payload: []byte("one")}}); err != nil {
		t.Fatal(err)
	}
	mustClose(t, l)
	l, got := mustOpen(t, disk, small)
	equal(t, "replay of a rewrite", text(got), "1.1* one", "2.1* other", "1.1* one")
	if _, err := l.Append(id(1), kind, nil); !errors.Is(err, &DamagedError{}) && err == nil {
		t.Error("a rewrite hid the damage")
	}

	// Mend accepts the loss.
	l.Mend(id(1))
	put(t, l, id(1), "two again")
	mustClose(t, l)
	l, got = mustOpen(t, disk, small)
	equal(t, "replay after mend", text(got), "1.1* one", "2.1* other", "1.1* one", "1.2 two again")
	if r := l.Recovery(); len(r.Owners) != 0 || len(r.Damage) != 1 {
		t.Errorf("recovery %+v", r)
	}
	mustClose(t, l)
}

// TestRewriteIsWhole: a rewrite of which a part is damaged leaves the history before
// it, and numbers that a rewrite dropped are not given again.
func TestRewriteIsWhole(t *testing.T) {
	disk := vfstest.NewDisk()
	l, _ := mustOpen(t, disk, small)
	for _, payload := range []string{"one", "two", "three"} {
		put(t, l, id(1), payload)
	}
	last, _ := l.Last(id(1))
	if err := l.Rewrite(id(1), last, []Record{{Seq: 1, Kind: kind, Payload: []byte("1")}, {Seq: 2, Kind: kind, Payload: []byte("2")}}); err != nil {
		t.Fatal(err)
	}
	put(t, l, id(1), "four")
	equal(t, "history", history(t, l, id(1)), "1.1* 1", "1.2 2", "1.4 four")
	name, prev := l.segments[0].name, int64(0)
	for r := range l.History(id(1)) {
		if r.Seq == 2 {
			prev = l.segments[0].offset(r.LSN)
		}
	}
	mustClose(t, l)
	change(t, disk, name, prev+recordSize, 1, func(b []byte) { b[0]++ })
	l, got := mustOpen(t, disk, small)
	equal(t, "replay", text(got), "1.1* one", "1.2 two", "1.3 three")
	if r := l.Recovery(); len(r.Owners) != 1 || r.Owners[0].Seq != 4 {
		t.Errorf("%+v", r)
	}
	mustClose(t, l)
}

// TestBegunSegmentEndsTheOneBefore: behind a log that was closed lies the header of a
// segment that a dead process began. What is written then must not lie in the one
// before, which ends where that header says.
func TestBegunSegmentEndsTheOneBefore(t *testing.T) {
	disk := diskWith(t, "00000001.seg", example{major, minor}.file())
	h := exampleHeader
	h.major, h.minor, h.number, h.first, h.size = major, minor, 2, firstLSN+2*pageSize, small.SegmentBytes
	f, err := disk.Open("log/00000002.seg", vfs.Create)
	if err == nil {
		_, err = f.WriteAt(h.append(nil), 0)
	}
	if err == nil {
		err = f.Allocate(h.size)
	}
	if err != nil {
		t.Fatal(err)
	}
	l, _ := mustOpen(t, disk, small)
	put(t, l, id(1), "x")
	if s := l.segments[len(l.segments)-1]; s.number < 3 {
		t.Errorf("the log went on in segment %d", s.number)
	}
	mustClose(t, l)
	l, got := mustOpen(t, disk, small)
	if len(got) != 3 || len(l.Recovery().Damage) != 0 {
		t.Errorf("%q, %+v", text(got), l.Recovery())
	}
	mustClose(t, l)
}

// TestMemoryFollowsTheFile: a header that claims more than its file has costs no memory;
// what the file has is read.
func TestMemoryFollowsTheFile(t *testing.T) {
	file := example{major, minor}.file()
	le.PutUint64(file[56:], maxSegment)
	reseal(file)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	l, records := mustOpen(t, diskWith(t, "00000001.seg", file), small)
	mustClose(t, l)
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 64<<20 {
		t.Errorf("a file of %d bytes took %d MiB", len(file), n>>20)
	}
	if len(records) != 2 {
		t.Errorf("replayed %q", text(records))
	}
}
