package tokenlog

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/internal/testkit/vfstest"
	"github.com/holdfast-run/holdfast/internal/vfs"
)

// example is the log of docs/FORMATS.md: one segment of 5 pages with two batches,
// of which the second marks that the log was closed.
type example struct{ major, minor uint16 }

var (
	exampleOwner  = Owner{0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf}
	exampleHeader = segmentHeader{
		store: [16]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, number: 1, salt: 0x1122334455667788,
		first: firstLSN, size: 5 * pageSize, free: firstLSN,
	}
)

// file returns the segment's bytes. Version 1.0 had no copy of the header; 1.2, which
// nobody has written yet, has bytes where 1.1 has zeros.
func (e example) file() []byte {
	h := exampleHeader
	h.major, h.minor = e.major, e.minor
	file := make([]byte, h.size)
	head := h.append(nil)
	if e.minor > minor {
		copy(head[200:], "a field of a later version")
		head = appendDigest(head[:headerSize-16], head[:headerSize-16])
	}
	copy(file, head)
	if e.minor > 0 {
		copy(file[h.size-pageSize:], head)
	}
	b := &batch{buf: make([]byte, pageSize)}
	b.reset(firstLSN)
	b.free = firstLSN
	one := recordHeader{owner: exampleOwner, seq: 1, group: 1, typ: 1, version: 1}
	b.add(&one, []byte("hello"))
	two := recordHeader{owner: exampleOwner, seq: 2, link: one.check, prev: firstLSN + batchSize, typ: 200, version: 9, flags: flagSkippable}
	b.add(&two, []byte("from the future"))
	copy(file[pageSize:], b.sealed(h.salt))
	b.reset(b.end())
	b.free, b.closing = firstLSN, true
	copy(file[2*pageSize:], b.sealed(h.salt))
	return file
}

// dump writes a file as lines of 16 bytes, without lines of zeros.
func dump(file []byte) string {
	var s strings.Builder
	for at := 0; at < len(file); at += 16 {
		if line := file[at : at+16]; !bytes.Equal(line, make([]byte, 16)) {
			fmt.Fprintf(&s, "%05x: % x\n", at, line)
		}
	}
	return s.String()
}

// undump reads what dump wrote, into a file of n bytes.
func undump(t testing.TB, s string, n int) []byte {
	file := make([]byte, n)
	for lines := bufio.NewScanner(strings.NewReader(s)); lines.Scan(); {
		var at int
		place, digits, _ := strings.Cut(lines.Text(), ": ")
		_, err := fmt.Sscanf(place, "%x", &at)
		line, err2 := hex.DecodeString(strings.ReplaceAll(digits, " ", ""))
		if err := errors.Join(err, err2); err != nil || at+len(line) > n {
			t.Fatalf("%q: %v", lines.Text(), err)
		}
		copy(file[at:], line)
	}
	return file
}

func diskWith(t testing.TB, name string, file []byte) *vfstest.Disk {
	disk := vfstest.NewDisk()
	f, err := disk.Open("log/"+name, vfs.Create)
	if err == nil {
		_, err = f.WriteAt(file, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	return disk
}

// TestGolden reads files of this minor version, an older and a newer one. They are
// made by testdata/log.py, which shares no code with the log.
func TestGolden(t *testing.T) {
	for m := range uint16(minor + 2) {
		e := example{major, m}
		name := fmt.Sprintf("testdata/log-1.%d.hex", m)
		golden, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if dump(e.file()) != string(golden) {
			t.Errorf("%s: this program writes other bytes", name)
		}
		disk := diskWith(t, "00000001.seg", undump(t, string(golden), int(exampleHeader.size)))
		l, got := mustOpen(t, disk, small)
		if len(got) != 2 || string(got[0].Payload) != "hello" || got[0].Kind != (Kind{Type: 1, Version: 1}) || !got[0].Base ||
			string(got[1].Payload) != "from the future" || got[1].Kind != (Kind{Type: 200, Version: 9, Skippable: true}) || got[1].Owner != exampleOwner {
			t.Errorf("%s: %+v", name, got)
		}
		if r := l.Recovery(); len(r.Damage)+len(r.Owners) != 0 {
			t.Errorf("%s: %+v", name, r)
		}
		// What is skippable survives a compaction by a program that knows type 1 only.
		// The old file is full, so the history moves to a new one, of this version.
		put(t, l, exampleOwner, strings.Repeat("x", 9000))
		if more, err := l.Compact(context.Background(), func(r Record) bool { return r.Kind.Type == 1 || r.Kind.Skippable }); !more || err != nil {
			t.Fatalf("compact: %v, %v", more, err)
		}
		mustClose(t, l)
		l, got = mustOpen(t, disk, small)
		if l.Status().Segments != 1 || len(got) < 2 || !got[len(got)-2].Base || string(got[len(got)-1].Payload) != "from the future" {
			t.Errorf("%s: after compaction %d segments, %+v", name, l.Status().Segments, got)
		}
		equal(t, "history", history(t, l, exampleOwner), "160.1* hello", "160.2 from the future")
		mustClose(t, l)
	}
}

// TestNewerVersion: a log of a later major version is refused and not touched.
func TestNewerVersion(t *testing.T) {
	file := example{major + 1, 0}.file()
	disk := diskWith(t, "00000001.seg", file)
	ops := disk.Ops()
	var version *VersionError
	if _, err := Open(disk, "log", small, nil); !errors.As(err, &version) || version.Major != major+1 || version.File != "log/00000001.seg" {
		t.Errorf("open: %v", err)
	}
	if disk.Ops() != ops {
		t.Error("the log was touched")
	}
	// A flipped bit in the version of a header is damage, not a later version.
	file = example{major, minor}.file()
	file[8] ^= 4
	l, got := mustOpen(t, diskWith(t, "00000001.seg", file), small)
	if len(got) != 2 {
		t.Errorf("%d records behind a damaged header", len(got))
	}
	mustClose(t, l)
}

// TestFormatsExample: the bytes in docs/FORMATS.md are those of the golden file.
func TestFormatsExample(t *testing.T) {
	page, err := os.ReadFile("../docs/FORMATS.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(page), "## Token log")
	_, code, ok2 := strings.Cut(section, "```hex\n")
	code, _, ok3 := strings.Cut(code, "```")
	if !ok || !ok2 || !ok3 {
		t.Fatal("docs/FORMATS.md has no hex example in its section on the token log")
	}
	var lines strings.Builder
	for line := range strings.Lines(code) {
		line, _, _ = strings.Cut(line, " #")
		lines.WriteString(strings.TrimSpace(line) + "\n")
	}
	if want := dump(example{major, minor}.file()[:2*pageSize]); lines.String() != want {
		t.Errorf("the example is\n%swant\n%s", lines.String(), want)
	}
}
