package tokenizer

import (
	"encoding/binary"

	"github.com/zeebo/blake3"
)

// digestVersion changes when the code encodes differently from before.
const digestVersion = "holdfast tokenizer 1"

// seal works out the digest: version, pre-tokenizer, flags, special IDs, then
// tokens with their kinds and merges in order, each string with its length.
// The character classes belong to the version.
func (t *Tokenizer) seal(tokens, merges []string) {
	h := blake3.New()
	var room [8]byte
	number := func(n uint64) {
		binary.LittleEndian.PutUint64(room[:], n)
		h.Write(room[:])
	}
	text := func(s string) {
		number(uint64(len(s)))
		h.WriteString(s)
	}
	text(digestVersion)
	text(t.family.name)
	flags := uint64(0)
	if t.addBOS {
		flags |= 1
	}
	number(flags)
	for _, id := range []int32{t.bos, t.eos, t.eot, t.unk, t.pad} {
		number(uint64(uint32(id)))
	}
	number(uint64(len(tokens)))
	for id, token := range tokens {
		text(token)
		number(uint64(t.kinds[id]))
	}
	number(uint64(len(merges)))
	for _, merge := range merges {
		text(merge)
	}
	h.Sum(t.digest[:0])
}
