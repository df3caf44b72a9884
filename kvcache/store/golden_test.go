package store

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/internal/testkit/vfstest"
	"github.com/holdfast-run/holdfast/internal/vfs"
)

// example is the store of docs/FORMATS.md: one segment with two batches of a block,
// closed behind them. testdata/kv.py, which shares no code with the store, writes it
// too: as it is, as 1.0, which had no index, and as a 1.2 to come.
var example = []Block{
	{
		Key: Key{Hash: ascending(0x40)}, Parent: ascending(0), Root: ascending(0),
		Tokens: []int32{1, 2, -1}, Payload: []byte("hello"),
	},
	{
		Key: Key{Hash: ascending(0x80), Kind: 1}, Parent: ascending(0x40), Root: ascending(0),
		Tokens: []int32{70000}, Payload: []byte(strings.Repeat("world", 100)),
	},
}

func ascending(from byte) (h [32]byte) {
	for i := range h {
		h[i] = from + byte(i)
	}
	return h
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

func golden(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	file := make([]byte, minSegment)
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		var at int
		place, digits, _ := strings.Cut(lines.Text(), ": ")
		_, err := fmt.Sscanf(place, "%x", &at)
		line, err2 := hex.DecodeString(strings.ReplaceAll(digits, " ", ""))
		if err := errors.Join(err, err2); err != nil || at+len(line) > len(file) {
			t.Fatalf("%q: %v", lines.Text(), err)
		}
		copy(file[at:], line)
	}
	return file
}

func diskWith(t testing.TB, file []byte) *vfstest.Disk {
	t.Helper()
	disk := vfstest.NewDisk()
	f, err := disk.Open("kv/00000001.seg", vfs.Create)
	if err == nil {
		_, err = f.WriteAt(file, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	return disk
}

var tiny = Options{SegmentBytes: minSegment, MaxBytes: 8 * minSegment}

// TestGoldenRead reads segments of this minor version, an older and a newer one, and
// goes on with them.
func TestGoldenRead(t *testing.T) {
	for m := range minor + 2 {
		disk := diskWith(t, golden(t, fmt.Sprintf("kv-1.%d.hex", m)))
		s := mustOpen(t, disk, tiny)
		mustRead(t, s, example)
		if st := s.Stats(); st.Blocks != 2 || st.Damaged != 0 || st.Corrupt != 0 {
			t.Errorf("1.%d: %+v", m, st)
		}
		mustPut(t, s, span(1, 3))
		mustClose(t, s)
		s = mustOpen(t, disk, tiny)
		mustRead(t, s, append(span(1, 3), example...))
		mustClose(t, s)
	}
}

// TestGoldenWrite: this program writes the bytes of the golden file, but for what is
// random.
func TestGoldenWrite(t *testing.T) {
	disk := vfstest.NewDisk()
	s := mustOpen(t, disk, tiny)
	if err := s.begin(spare(t, s)); err != nil {
		t.Fatal(err)
	}
	s.w.current.salt = 0x1122334455667788
	mustPut(t, s, example[:1])
	mustPut(t, s, example[1:])
	head := s.w.current.append(nil)
	mustClose(t, s)
	f, err := disk.Open("kv/00000001.seg", 0)
	if err != nil {
		t.Fatal(err)
	}
	file := make([]byte, minSegment)
	if _, err := f.ReadAt(file, 0); err != nil {
		t.Fatal(err)
	}
	copy(file, head)
	if want := golden(t, fmt.Sprintf("kv-%d.%d.hex", major, minor)); !bytes.Equal(file, want) {
		t.Errorf("wrote\n%swant\n%s", dump(file), dump(want))
	}
}

func spare(t *testing.T, s *Store) string {
	name, err := s.takeSpare()
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// TestNewerVersion: a store of a later major version is refused and not touched.
func TestNewerVersion(t *testing.T) {
	file := golden(t, "kv-1.1.hex")
	file[8] = major + 1
	appendDigest(file[:segmentHeaderSize-digestSize], file[:segmentHeaderSize-digestSize])
	disk := diskWith(t, file)
	ops := disk.Ops()
	var version *VersionError
	if _, err := Open(disk, "kv", tiny); !errors.As(err, &version) || version.Major != major+1 || version.File != "kv/00000001.seg" {
		t.Errorf("open: %v", err)
	}
	if disk.Ops() != ops {
		t.Error("the store was touched")
	}
	// A flipped bit in the version of a header is damage, not a later version.
	file = golden(t, "kv-1.1.hex")
	file[8] ^= 4
	s := mustOpen(t, diskWith(t, file), tiny)
	if st := s.Stats(); st.Damaged != 1 || st.Blocks != 0 || st.Spares != 1 {
		t.Errorf("%+v", st)
	}
	mustClose(t, s)
}

// TestFormatsExample: the bytes in docs/FORMATS.md are those of the golden file.
func TestFormatsExample(t *testing.T) {
	page, err := os.ReadFile("../../docs/FORMATS.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(page), "## KV blocks")
	_, code, ok2 := strings.Cut(section, "```hex\n")
	code, _, ok3 := strings.Cut(code, "```")
	if !ok || !ok2 || !ok3 {
		t.Fatal("docs/FORMATS.md has no hex example in its section on KV blocks")
	}
	var lines strings.Builder
	for line := range strings.Lines(code) {
		line, _, _ = strings.Cut(line, " #")
		lines.WriteString(strings.TrimSpace(line) + "\n")
	}
	file := golden(t, "kv-1.1.hex")
	clear(file[4*pageSize : 7*pageSize]) // the second batch is left out
	if want := dump(file); lines.String() != want {
		t.Errorf("the example is\n%swant\n%s", lines.String(), want)
	}
}
