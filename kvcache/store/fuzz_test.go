package store

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"
)

// FuzzOpen opens a segment with bytes changed, and uses the store then: nothing
// panics, a block is whole or missing or said to be corrupt, and what is put later
// is there after a restart. The input is a list of edits: a place of 2 bytes, a value
// of 1. If the first byte is odd, digests are made right again behind them, so that
// what they guard is reached.
func FuzzOpen(f *testing.F) {
	f.Add([]byte{0})
	f.Add([]byte{1, 0x14, 0x10, 0xff})             // pages of a directory
	f.Add([]byte{1, 0x18, 0x10, 0xff})             // its count
	f.Add([]byte{1, 0x40, 0x10, 0x09})             // page of a block
	f.Add([]byte{1, 0x16, 0x20, 1, 0x1a, 0x20, 1}) // length of a payload, of the tokens
	f.Add([]byte{1, 0xe4, 0xff, 0xff})             // count of an index
	rng := rand.New(rand.NewPCG(1, 2))
	for range 8 {
		edits := []byte{byte(rng.Uint32())}
		for range 1 + rng.IntN(6) {
			edits = append(edits, byte(rng.Uint32()), byte(0x10*(1+rng.IntN(6))), byte(rng.Uint32()))
		}
		f.Add(edits)
	}
	files := [][]byte{golden(f, "kv-1.0.hex"), golden(f, "kv-1.1.hex")}
	f.Fuzz(func(t *testing.T, edits []byte) {
		if len(edits) == 0 || len(edits) > 1+3*64 {
			return
		}
		file := append([]byte(nil), files[edits[0]>>1&1]...)
		for e := edits[1:]; len(e) >= 3; e = e[3:] {
			file[int(binary.LittleEndian.Uint16(e))%len(file)] = e[2]
		}
		if edits[0]&1 != 0 {
			reseal(file)
		}
		use(t, file)
	})
}

// reseal makes the digests of headers, directories and the index right, as far as
// their own lengths lead to them.
func reseal(file []byte) {
	seal := func(b []byte) { appendDigest(b[:len(b)-digestSize], b[:len(b)-digestSize]) }
	seal(file[:segmentHeaderSize])
	salt, pages := le.Uint64(file[24:]), uint32(len(file)/pageSize)
	for page := uint32(1); page < pages; page++ {
		b := file[page*pageSize:]
		if n := directoryBytes(b, salt, page, pages); n > 0 && n <= len(b) {
			seal(b[:n])
		}
		if n := headerBytes(int(le.Uint32(b[24:]) % (MaxTokens + 1))); string(b[:8]) == blockMagic && n <= len(b) {
			seal(b[:n])
		}
	}
	if n := indexBytes(file, salt, pages); n > 0 && n <= len(file) {
		seal(file[len(file)-n:])
	}
}

func use(t *testing.T, file []byte) {
	disk := diskWith(t, file)
	s, err := Open(disk, "kv", tiny)
	var version *VersionError
	if errors.As(err, &version) {
		return
	} else if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Fsck(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, b := range example {
		var corrupt *CorruptError
		if err := read(t, s, b); err != nil && err != ErrMissing && !errors.As(err, &corrupt) {
			t.Fatal(err)
		}
	}
	mustPut(t, s, span(1, 8))
	if _, err := s.Collect(t.Context(), func(k Key) bool { return k != example[0].Key }); err != nil {
		t.Fatal(err)
	}
	check(t, s)
	mustClose(t, s)
	s = mustOpen(t, disk, tiny)
	mustRead(t, s, span(1, 8))
	mustClose(t, s)
}

// FuzzBlockHeader: whatever lies in a block's place, reading it ends with a block that
// is whole by all that its header says, or with a reason.
func FuzzBlockHeader(f *testing.F) {
	for _, b := range []Block{example[0], example[1], block(1), block(7)} {
		h := blockHeader{salt: 1, page: 2, payload: uint32(len(b.Payload)), key: b.Key}
		f.Add(h.append(nil, b.Tokens), false)
	}
	f.Add([]byte(blockMagic), true)
	f.Fuzz(func(t *testing.T, b []byte, sealed bool) {
		if sealed && len(b) >= blockHeaderSize {
			if n := headerBytes(int(min(le.Uint32(b[24:]), MaxTokens))); n <= len(b) {
				appendDigest(b[:n-digestSize], b[:n-digestSize])
			}
		}
		h, tokens, ok := parseBlockHeader(b)
		if ok && (len(tokens) != 4*int(h.tokens) || h.tokens > MaxTokens || h.payload > MaxPayload || headerBytes(int(h.tokens)) > len(b)) {
			t.Errorf("%+v of %d bytes", h, len(b))
		}
		pages := max(1, pagesOf(len(b)))
		file := make([]byte, pages*pageSize)
		copy(file, b)
		s := &segment{segmentHeader: segmentHeader{salt: h.salt, size: int64(len(file))}, file: &memory{b: file}}
		e := entry{h.key, 0, pages}
		got, what, err := s.readBlock(&e, make([]byte, len(file)))
		if err != nil || what == "" && (got.Key != h.key || len(got.Payload) != int(h.payload) || len(got.Tokens) != int(h.tokens)) {
			t.Errorf("%v, %+v", err, got)
		}
	})
}
