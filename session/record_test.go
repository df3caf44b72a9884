package session

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/internal/testkit/vfstest"
	"github.com/holdfast-run/holdfast/tokenlog"
)

func golden(t testing.TB, name string) (records []tokenlog.Record) {
	t.Helper()
	text, err := os.ReadFile("testdata/records-" + name + ".txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var r tokenlog.Record
		var skippable int
		var digits string
		if _, err := fmt.Sscanf(line, "%d %d %d %s", &r.Kind.Type, &r.Kind.Version, &skippable, &digits); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		r.Kind.Skippable = skippable == 1
		if r.Payload, err = hex.DecodeString(digits); err != nil {
			t.Fatal(err)
		}
		records = append(records, r)
	}
	return records
}

func treeOf(t testing.TB, records []tokenlog.Record) *tree {
	t.Helper()
	tr := new(tree)
	var sum summary
	for i, r := range records {
		if err := tr.apply(r.Kind, r.Payload); err != nil {
			t.Fatalf("record %d: %v", i, err)
		}
		if err := sum.replay(r.Kind, r.Payload); err != nil || sum != tr.sum {
			t.Fatalf("record %d: the summary is %+v, the tree's %+v; %v", i, sum, tr.sum, err)
		}
	}
	return tr
}

// TestGolden reads records of this minor version, of an older one with shorter heads and
// of a newer one with longer heads. They are made by testdata/records.py, which
// shares no code with the program.
func TestGolden(t *testing.T) {
	const second = 1_000_000_000
	for _, name := range []string{"1.0", "older", "newer"} {
		tr := treeOf(t, golden(t, name))
		c := &tr.create
		if c.principal != "alice" || c.model.Class != "cpu-1" || c.model.Weights[5] != 'w' || c.model.Tokenizer[0] != 't' || c.model.Template[31] != 'p' ||
			c.key[0] != 'k' || c.parent[15] != 15 || c.parentHead != 7 || !c.pinned || c.durability != LevelTurn {
			t.Errorf("%s: %+v", name, c)
		}
		want := summary{head: 1, next: 5, open: 4, tokens: 5, depth: 1, used: 1_800_000_005 * second, ttl: 7200 * second, pinned: true, parked: true}
		if tr.sum != want {
			t.Errorf("%s: %+v, want %+v", name, tr.sum, want)
		}
		if len(tr.nodes) != 4 || len(tr.extras) != 1 || string(tr.extras[0].payload) != "from the future" {
			t.Fatalf("%s: %d turns, %d records of the future", name, len(tr.nodes), len(tr.extras))
		}
		one, two := tr.nodes[0], tr.nodes[1]
		equalTokens(t, "head", tr.tokens(1), 1, 2, 3, 4, 5)
		if string(one.body) != "hello" || string(one.result) != "answer" || one.finish != "stop" || one.seed != 42 || one.key[0] != 'K' || one.digest[0] != 'D' {
			t.Errorf("%s: %+v", name, one)
		}
		if string(two.body) != "long body" || two.state != nodeIncomplete || two.keep != 4 {
			t.Errorf("%s: %+v", name, two)
		}
		equalTokens(t, "input behind parts", two.input, 7, 8)
		equalTokens(t, "a negative ID", tr.nodes[2].input, -1)
		// Written again it says the same, and what is not known here is kept, at the end as well.
		if err := tr.apply(tokenlog.Kind{Type: 201, Skippable: true}, []byte("last")); err != nil {
			t.Error(err)
		}
		again := treeOf(t, tr.records(1<<10))
		if !again.equals(tr) || len(again.extras) != 2 || string(again.extras[1].payload) != "last" || again.extras[0].kind != tr.extras[0].kind || again.extras[0].after != 1 {
			t.Errorf("%s: written again it is %+v, want %+v", name, again, tr)
		}
		if name == "1.0" {
			writesTheSame(t, golden(t, name))
		}
	}
}

// writesTheSame: this program writes the golden records' bytes.
func writesTheSame(t *testing.T, records []tokenlog.Record) {
	for i, r := range records {
		var got []byte
		var err error
		write := func(rec interface {
			parse([]byte) error
			append([]byte) []byte
		}) {
			err = rec.parse(r.Payload)
			got = rec.append(nil)
		}
		switch r.Kind.Type {
		case typeCreate:
			write(new(createRecord))
		case typeOpen:
			write(new(openRecord))
		case typeStep:
			write(new(stepRecord))
		case typeCommit:
			write(new(commitRecord))
		case typeClose:
			write(new(closeRecord))
		case typeRewind:
			write(new(rewindRecord))
		case typeMeta:
			write(new(metaRecord))
		case typePart:
			write(new(partRecord))
		default:
			continue
		}
		if err != nil || !bytes.Equal(got, r.Payload) {
			t.Errorf("record %d, type %d: %v\n%x, want\n%x", i, r.Kind.Type, err, got, r.Payload)
		}
	}
}

// put gives a log records of a session by hand.
func put(t testing.TB, disk *vfstest.Disk, records ...tokenlog.Record) ID {
	t.Helper()
	l, err := tokenlog.Open(disk, "store", small, func(tokenlog.Record) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	id := newID()
	for _, r := range records {
		if _, err := l.Append(tokenlog.Owner(id), r.Kind, r.Payload); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return id
}

// TestFuture: what is skippable survives compaction; what is not makes one session
// unreadable, which stays as it is, and can be deleted.
func TestFuture(t *testing.T) {
	disk := vfstest.NewDisk()
	records := golden(t, "1.0")
	good := put(t, disk, records...)
	bad := put(t, disk, append(records, tokenlog.Record{Kind: tokenlog.Kind{Type: 77, Version: 1}, Payload: []byte("?")})...)
	newer := put(t, disk, append(records, tokenlog.Record{Kind: tokenlog.Kind{Type: typeMeta, Version: version + 1}, Payload: []byte("?")})...)
	broken := put(t, disk, append(records, tokenlog.Record{Kind: kindOf(typeCommit), Payload: []byte{200, 1}})...)
	for round := range 2 {
		m := open(t, disk, Options{Log: small})
		for _, id := range []ID{bad, newer, broken} {
			info, err := m.Get("alice", id)
			if err != nil || info.State != Damaged {
				t.Errorf("unreadable: %+v, %v", info, err)
			}
			_, err = m.Acquire(t.Context(), "alice", id)
			wantType[*UnreadableError](t, "acquire", err)
			_, err = m.Fork(t.Context(), "alice", id, "", 1)
			wantType[*UnreadableError](t, "fork", err)
			_, err = m.Update(t.Context(), "alice", id, Change{Parked: new(bool)})
			wantType[*UnreadableError](t, "update", err)
		}
		if n := len(m.Status().Damaged); n != 3 {
			t.Errorf("%d damaged, want 3", n)
		}
		equalTokens(t, "readable", tokens(t, m, good), 1, 2, 3, 4, 5)
		e := m.sessions[good]
		if len(e.tree.extras) != 1 {
			t.Errorf("round %d: a record of the future is lost", round)
		}
		// Fill a segment, so that compaction moves all of them.
		filler := create(t, m, LevelTurn)
		for range 60 {
			turn := begin(t, m, filler.ID, make([]int32, 500)...)
			turn.Abandon()
			s := acquire(t, m, filler.ID)
			if err := s.Rewind(t.Context(), ""); err != nil {
				t.Fatal(err)
			}
			s.Release()
			if m.sessions[filler.ID].tree.size > 8000 {
				if err := m.Delete(t.Context(), "alice", filler.ID); err != nil {
					t.Fatal(err)
				}
				filler = create(t, m, LevelTurn)
			}
		}
		before := e.lsn.Load()
		if err := m.Compact(t.Context()); err != nil {
			t.Fatal(err)
		}
		if e.lsn.Load() == before {
			t.Errorf("round %d: compaction moved nothing; %d segments", round, m.log.Status().Segments)
		}
		closeIt(t, m)
	}
	m := open(t, disk, Options{Log: small})
	if err := m.Delete(t.Context(), "alice", bad); err != nil {
		t.Errorf("delete of an unreadable session: %v", err)
	}
	closeIt(t, m)
}

// FuzzRecords: no list of records makes a tree panic, and what a tree took it gives again.
func FuzzRecords(f *testing.F) {
	for _, name := range []string{"1.0", "older", "newer"} {
		var b []byte
		for _, r := range golden(f, name) {
			b = append(append(b, r.Kind.Type, byte(len(r.Payload))), r.Payload...)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		tr := new(tree)
		var sum summary
		for len(b) >= 2 {
			typ, n := b[0], min(int(b[1]), len(b)-2)
			payload := b[2 : 2+n]
			b = b[2+n:]
			kind := tokenlog.Kind{Type: typ, Version: version, Skippable: typ > 100}
			_ = sum.replay(kind, payload)
			var unreadable *UnreadableError
			if err := tr.apply(kind, payload); errors.As(err, &unreadable) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			new(endRecord).parse(payload)
		}
		if tr.create.durability == 0 {
			return
		}
		if again := treeOf(t, tr.records(16)); !again.equals(tr) {
			t.Errorf("written again it is %+v, want %+v", again.sum, tr.sum)
		}
		// Short records make turns and bytes beyond any limit.
		m := &Manager{limit: math.MaxInt, o: Options{MaxTurns: math.MaxInt, MaxTokens: math.MaxInt, MaxBody: math.MaxInt}}
		if _, err := m.unpack(tr.archive(16)); err != nil {
			t.Errorf("its archive: %v", err)
		}
	})
}

// TestFormatsExample: the bytes in docs/FORMATS.md are those of the golden record.
func TestFormatsExample(t *testing.T) {
	page, err := os.ReadFile("../docs/FORMATS.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(page), "## Sessions")
	_, code, ok2 := strings.Cut(section, "```hex\n")
	code, _, ok3 := strings.Cut(code, "```")
	if !ok || !ok2 || !ok3 {
		t.Fatal("docs/FORMATS.md has no hex example in its section on sessions")
	}
	var digits string
	for line := range strings.Lines(code) {
		line, _, _ = strings.Cut(line, "#")
		digits += strings.ReplaceAll(strings.TrimSpace(line), " ", "")
	}
	if want := hex.EncodeToString(golden(t, "1.0")[3].Payload); digits != want {
		t.Errorf("the example is %s, want %s", digits, want)
	}
}

// TestFlippedRecords: a record with flipped or missing bytes is refused, or gives a tree
// that can be written again; nothing panics.
func TestFlippedRecords(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, name := range []string{"1.0", "older", "newer"} {
		records := golden(t, name)
		for range 3000 {
			tr := new(tree)
			for _, r := range records {
				p := bytes.Clone(r.Payload)
				for range rng.IntN(3) {
					p[rng.IntN(len(p))] ^= 1 << rng.IntN(8)
				}
				p = p[:len(p)-rng.IntN(2)*rng.IntN(len(p))]
				if tr.apply(r.Kind, p) != nil && rng.IntN(2) == 0 {
					break
				}
			}
			if tr.create.durability == 0 {
				continue
			}
			if again := treeOf(t, tr.records(16)); !again.equals(tr) {
				t.Fatalf("written again it is %+v, want %+v", again.sum, tr.sum)
			}
		}
	}
}

// TestFirstRecord: nothing comes before what makes a session, not even what may be
// passed over: turns that did would not be found again.
func TestFirstRecord(t *testing.T) {
	for _, r := range golden(t, "1.0")[1:] {
		var bad *UnreadableError
		if err := new(tree).apply(r.Kind, r.Payload); !errors.As(err, &bad) {
			t.Errorf("type %d: %v", r.Kind.Type, err)
		}
	}
	var bad *UnreadableError
	if err := new(tree).apply(tokenlog.Kind{Type: 200, Skippable: true}, nil); !errors.As(err, &bad) {
		t.Errorf("skippable: %v", err)
	}
}

// TestLostParts: parts of a record that was never written are not another's.
func TestLostParts(t *testing.T) {
	records := golden(t, "1.0")
	var again []tokenlog.Record
	for i, r := range records {
		if r.Kind.Type == typePart && len(again) == i { // the first two twice
			again = append(again, records[i], records[i+1])
		}
		again = append(again, r)
	}
	if len(again) == len(records) || !treeOf(t, again).equals(treeOf(t, records)) {
		t.Error("parts that nothing followed changed the session")
	}
}
