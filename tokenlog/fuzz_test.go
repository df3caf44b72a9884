package tokenlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
)

// FuzzOpen opens a segment with bytes changed, and uses the log then: nothing
// panics, what was replayed is replayed again after a restart, and appended records
// with it. The input is a list of edits: an offset of 2 bytes, a value of 1. If the
// first byte is odd, digests and checks are made right again behind them, so that
// what they guard is reached.
func FuzzOpen(f *testing.F) {
	f.Add([]byte{0})
	f.Add([]byte{1, 0x28, 0x10, 0xff})             // total, length
	f.Add([]byte{1, 0x64, 0x10, 0xff})             // length of a payload
	f.Add([]byte{1, 0x68, 0x10, 3})                // group
	f.Add([]byte{0, 0x30, 0x10, 1, 0xb4, 0x1f, 9}) // a check, an offset in the directory
	f.Add([]byte{1, 0x3b, 0, 0x1e})                // size of the file: 480 MiB more
	f.Add([]byte{1, 0xb6, 0x10, 3, 0x2c, 0x20, 0}) // an owner ends, and the log was not closed
	rng := rand.New(rand.NewPCG(1, 2))
	for range 8 {
		edits := []byte{byte(rng.Uint32())}
		for range 1 + rng.IntN(6) {
			edits = append(edits, byte(rng.Uint32()), byte(0x10+rng.IntN(0x20)), byte(rng.Uint32()))
		}
		f.Add(edits)
	}
	f.Fuzz(func(t *testing.T, edits []byte) {
		file := example{major, minor}.file()
		if len(edits) == 0 || len(edits) > 1+3*64 {
			return
		}
		for e := edits[1:]; len(e) >= 3; e = e[3:] {
			file[int(binary.LittleEndian.Uint16(e))%len(file)] = e[2]
		}
		if edits[0]&1 != 0 {
			reseal(file)
		}
		use(t, file)
	})
}

// reseal makes the digests of a segment's header and batches right, and the checks
// of records as far as their lengths lead to them.
func reseal(file []byte) {
	appendDigest(file[:headerSize-16], file[:headerSize-16])
	for at := pageSize; at < 3*pageSize; at += pageSize {
		b := file[at : at+pageSize]
		for off := batchSize; off+recordSize <= pageSize-footerSize; {
			h := parseRecordHeader(b[off:])
			n := h.size()
			if h.length > pageSize || off+n > pageSize-footerSize {
				break
			}
			h.put(b[off:], LSN(at+off))
			off += n
		}
		appendDigest(b[:pageSize-16], b[:pageSize-16])
	}
}

func use(t *testing.T, file []byte) {
	disk := diskWith(t, "00000001.seg", file)
	var first []Record
	l, err := open(disk, "log", small, collect(&first))
	var version *VersionError
	if errors.As(err, &version) {
		return
	} else if err != nil {
		t.Fatal(err)
	}
	for _, r := range first {
		for r, err := range l.History(r.Owner) {
			if err != nil && !errors.Is(err, ErrNoOwner) && !errors.As(err, new(*DamagedError)) && !errors.Is(err, ErrChanged) {
				t.Fatalf("history of %v: %v", r.Owner, err)
			}
		}
	}
	if _, err := l.Append(id(77), kind, []byte("after")); err != nil {
		t.Fatal(err)
	}
	l.beginClose()
	for l.do(l.next()) {
	}
	if err := l.release(); err != nil {
		t.Fatal(err)
	}
	l, second := mustOpen(t, disk, small)
	want := append(text(living(first)), "77.1* after")
	if got := text(living(second)); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("replayed %q, then %q", want, got)
	}
	mustClose(t, l)
}

// living returns the records that are somebody's: not those of an owner that ended, or
// began anew behind them. Of the others a log may keep some, and none for long.
func living(records []Record) (s []Record) {
	begins := map[Owner]int{}
	for i, r := range records {
		switch {
		case r.End:
			begins[r.Owner] = i + 1
		case r.Base:
			begins[r.Owner] = i
		}
	}
	for i, r := range records {
		if i >= begins[r.Owner] {
			s = append(s, r)
		}
	}
	return s
}
