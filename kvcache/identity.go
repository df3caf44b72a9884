package kvcache

import (
	"encoding/binary"
	"encoding/hex"
	"math"

	"github.com/zeebo/blake3"
)

// Hash names the contents of a block: its tokens, all tokens before them, and
// the Identity that computed them. Equal hashes are a hint; whoever acts on one
// compares the token IDs first.
type Hash [32]byte

// String returns the hash in hexadecimal.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// Identity is everything beside the tokens that the bytes of a KV block depend
// on, or that decides who may see them. Blocks of different identities never
// meet.
type Identity struct {
	Weights     [32]byte    // digest of the model file
	Tokenizer   [32]byte    // digest of what turns text into tokens
	Adapter     string      // name and digest of an adapter; empty for none
	KV          string      // type of stored keys and values
	RoPE        [][]float64 // frequencies of each rotation, radians per position
	BlockTokens int         // positions in a block
	Rank, Ranks int         // tensor parallelism: which part, of how many
	Class       string      // numerics class
	Salt        []byte      // of the tenant, from the authenticated identity
}

// Root returns the parent of every first block.
func (id Identity) Root() Hash {
	e := encoder{h: blake3.New()}
	e.text("holdfast KV identity 1")
	e.bytes(id.Weights[:])
	e.bytes(id.Tokenizer[:])
	e.text(id.Adapter)
	e.text(id.KV)
	e.number(uint64(len(id.RoPE)))
	for _, freqs := range id.RoPE {
		e.number(uint64(len(freqs)))
		for _, f := range freqs {
			e.number(math.Float64bits(f))
		}
	}
	e.number(uint64(id.BlockTokens))
	e.number(uint64(id.Rank))
	e.number(uint64(id.Ranks))
	e.text(id.Class)
	e.bytes(id.Salt)
	return e.sum()
}

// Next returns the hash of the block of tokens that follows the block h. extra
// holds further keys of this block, such as the digest of an image; mostly nil.
func (h Hash) Next(tokens []int32, extra []byte) Hash {
	e := encoder{h: blake3.New()}
	e.text("holdfast KV block 1")
	e.bytes(h[:])
	e.number(uint64(len(tokens)))
	for _, t := range tokens {
		e.number(uint64(uint32(t)))
	}
	e.bytes(extra)
	return e.sum()
}

// encoder feeds fields to a hash so that no two lists of fields look alike:
// numbers are 8 bytes, little-endian; bytes follow their length.
type encoder struct {
	h   *blake3.Hasher
	buf [8]byte
}

func (e *encoder) number(n uint64) {
	binary.LittleEndian.PutUint64(e.buf[:], n)
	e.h.Write(e.buf[:])
}

func (e *encoder) bytes(b []byte) {
	e.number(uint64(len(b)))
	e.h.Write(b)
}

func (e *encoder) text(s string) { e.bytes([]byte(s)) }

func (e *encoder) sum() (sum Hash) {
	e.h.Sum(sum[:0])
	return sum
}
