package store

import "github.com/zeebo/xxh3"

// place is where a block is, in 64 bits: segment 27, page 18, pages 18, and
// whether it was used since it was written. The index from fingerprint to place
// has no pointers and takes at most 40 bytes a block.
type place uint64

const (
	pageBits    = 18
	segmentBits = 27
	pageMask    = 1<<pageBits - 1
	usedBit     = 1
)

func placeOf(segment, page, pages uint32) place {
	return place(segment)<<(2*pageBits+1) | place(page)<<(pageBits+1) | place(pages)<<1
}

func (p place) segment() uint32 { return uint32(p >> (2*pageBits + 1)) }
func (p place) page() uint32    { return uint32(p>>(pageBits+1)) & pageMask }
func (p place) pages() uint32   { return uint32(p>>1) & pageMask }
func (p place) offset() int64   { return int64(p.page()) * pageSize }
func (p place) used() bool      { return p&usedBit != 0 }

// same says whether two places are one, used or not.
func (p place) same(q place) bool { return p|usedBit == q|usedBit }

// fingerprint is what a key is known by in memory.
func (k *Key) fingerprint() uint64 { return xxh3.HashSeed(k.Hash[:], uint64(k.Kind)) }
