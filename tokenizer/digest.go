package tokenizer

import (
	"encoding/binary"
	"math"

	"github.com/zeebo/blake3"
)

// digestVersion changes when the code encodes differently from before.
const digestVersion = "holdfast tokenizer 1"

// identity is what a digest covers besides the marks and the kinds.
type identity struct {
	settings string // all that is not named below, in a form of the loader's own
	tokens   []string
	merges   []string
	scores   []float64
}

// seal works out the digest: version, settings, flags, special IDs, then tokens
// with their kinds, merges in order, and scores, each string with its length.
// The character classes belong to the version.
func (t *Tokenizer) seal(of identity) {
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
	text(of.settings)
	flags := uint64(0)
	if t.addBOS {
		flags |= 1
	}
	if t.addEOS {
		flags |= 2
	}
	number(flags)
	for _, id := range []int32{t.bos, t.eos, t.eot, t.unk, t.pad} {
		number(uint64(uint32(id)))
	}
	number(uint64(len(of.tokens)))
	for id, token := range of.tokens {
		text(token)
		number(uint64(t.kinds[id]))
	}
	number(uint64(len(of.merges)))
	for _, merge := range of.merges {
		text(merge)
	}
	for _, score := range of.scores {
		number(math.Float64bits(score))
	}
	h.Sum(t.digest[:0])
}
