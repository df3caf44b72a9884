package store

import (
	"encoding/binary"

	"github.com/zeebo/xxh3"

	"github.com/holdfast-run/holdfast/internal/vfs"
)

// Version of the format. A reader refuses another major version and reads any
// minor: minors add what a reader may ignore. 1.0 had no index.
const (
	major = 1
	minor = 1
)

const (
	pageSize = vfs.Align // whatever is found by its place begins on a page

	segmentHeaderSize = 512 // one sector, so that it is never torn
	directorySize     = 32  // of a directory before its entries
	entrySize         = 48
	indexSize         = 48  // of an index behind its entries
	blockHeaderSize   = 160 // of a block's header before its tokens
	digestSize        = 16

	segmentMagic   = "HFkvseg\n"
	directoryMagic = "HFkvdir\n"
	indexMagic     = "HFkvidx\n"
	blockMagic     = "HFkvblk\n"

	minSegment = 16 * pageSize
	maxSegment = 1 << 30 // bytes; the pages of one are numbered in 18 bits

	// MaxTokens is the most tokens that a block may have.
	MaxTokens = 8192
	// MaxPayload is the most bytes that a block may have.
	MaxPayload = 64 << 20
)

var le = binary.LittleEndian

// pagesOf returns the pages that n bytes take.
func pagesOf(n int) uint32 { return uint32((n + pageSize - 1) / pageSize) }

// headerBytes returns the bytes of a block's header with its tokens and digest.
func headerBytes(tokens int) int { return blockHeaderSize + 4*tokens + digestSize }

// blockPages returns the pages of a block: those of its header, then its payload's.
func blockPages(tokens, payload int) uint32 { return pagesOf(headerBytes(tokens)) + pagesOf(payload) }

func directoryPages(blocks int) uint32 {
	return pagesOf(directorySize + blocks*entrySize + digestSize)
}

func indexPages(blocks int) uint32 { return pagesOf(blocks*entrySize + indexSize) }

// appendDigest appends the digest of what is covered.
func appendDigest(b, covered []byte) []byte {
	sum := xxh3.Hash128(covered).Bytes()
	return append(b, sum[:]...)
}

// digestHolds says whether the last 16 bytes are the digest of those before.
func digestHolds(b []byte) bool {
	n := len(b) - digestSize
	return n >= 0 && xxh3.Hash128(b[:n]).Bytes() == [digestSize]byte(b[n:])
}

// segmentHeader is the first sector of a segment. It is durable before anything
// else of the segment's new life is written.
type segmentHeader struct {
	major, minor uint16
	number       uint64 // grows from life to life of all segments: order of age
	salt         uint64 // random: what a former life left behind has another
	size         int64  // of the file
}

func (h *segmentHeader) append(b []byte) []byte {
	at := len(b)
	b = append(b, segmentMagic...)
	b = le.AppendUint16(b, h.major)
	b = le.AppendUint16(b, h.minor)
	b = le.AppendUint32(b, 0)
	b = le.AppendUint64(b, h.number)
	b = le.AppendUint64(b, h.salt)
	b = le.AppendUint64(b, uint64(h.size))
	b = append(b, make([]byte, segmentHeaderSize-digestSize-(len(b)-at))...)
	return appendDigest(b, b[at:])
}

// parseSegmentHeader reads a header of any version; ok is false for other bytes
// and for damage. The magic, the versions and the digest keep their places for
// ever.
func parseSegmentHeader(b []byte) (h segmentHeader, ok bool) {
	if len(b) < segmentHeaderSize || string(b[:8]) != segmentMagic || !digestHolds(b[:segmentHeaderSize]) {
		return h, false
	}
	return segmentHeader{
		major: le.Uint16(b[8:]), minor: le.Uint16(b[10:]),
		number: le.Uint64(b[16:]), salt: le.Uint64(b[24:]), size: int64(le.Uint64(b[32:])),
	}, true
}

// entry says where in a segment a block lies.
type entry struct {
	key         Key
	page, pages uint32
}

func (e *entry) append(b []byte) []byte {
	b = append(b, e.key.Hash[:]...)
	b = le.AppendUint32(b, e.page)
	b = le.AppendUint32(b, e.pages)
	return append(b, e.key.Kind, 0, 0, 0, 0, 0, 0, 0)
}

// parseEntries reads entries that must lie between two pages; ok is false if one
// does not.
func parseEntries(b []byte, from, to uint32) (entries []entry, ok bool) {
	entries = make([]entry, 0, len(b)/entrySize)
	for ; len(b) >= entrySize; b = b[entrySize:] {
		e := entry{Key{[32]byte(b[:32]), b[40]}, le.Uint32(b[32:]), le.Uint32(b[36:])}
		if e.page < from || e.pages < 1 || uint64(e.page)+uint64(e.pages) > uint64(to) {
			return nil, false
		}
		entries = append(entries, e)
	}
	return entries, true
}

// A directory is what a batch begins with: fields, entries, digest. The blocks
// follow on whole pages.
func appendDirectory(b []byte, salt uint64, page, pages uint32, entries []entry) []byte {
	at := len(b)
	b = append(b, directoryMagic...)
	b = le.AppendUint64(b, salt)
	b = le.AppendUint32(b, page)
	b = le.AppendUint32(b, pages)
	b = le.AppendUint32(b, uint32(len(entries)))
	b = le.AppendUint32(b, 0)
	for i := range entries {
		b = entries[i].append(b)
	}
	return appendDigest(b, b[at:])
}

// directoryBytes returns the bytes of the directory that b begins, which may lie at
// a page of a segment with so many; 0 if it is none. Its digest is still to be
// checked.
func directoryBytes(b []byte, salt uint64, page, segmentPages uint32) int {
	if len(b) < directorySize || string(b[:8]) != directoryMagic || le.Uint64(b[8:]) != salt || le.Uint32(b[16:]) != page {
		return 0
	}
	pages, count := le.Uint32(b[20:]), le.Uint32(b[24:])
	if page >= segmentPages || pages > segmentPages-page || count >= pages {
		return 0
	}
	return directorySize + int(count)*entrySize + digestSize
}

// parseDirectory reads a whole directory. directoryBytes has taken it.
func parseDirectory(b []byte) (entries []entry, pages uint32, ok bool) {
	if !digestHolds(b) {
		return nil, 0, false
	}
	page, pages := le.Uint32(b[16:]), le.Uint32(b[20:])
	entries, ok = parseEntries(b[directorySize:len(b)-digestSize], page+pagesOf(len(b)), page+pages)
	return entries, pages, ok
}

// An index is what a segment ends with: entries of all of its blocks up to a page,
// then fields and digest, the last bytes of the file.
type index struct {
	end  uint32 // the page behind the last batch that it knows
	full bool   // nothing comes behind that
}

const flagFull = 1

func (x index) append(b []byte, salt uint64, entries []entry) []byte {
	at := len(b)
	for i := range entries {
		b = entries[i].append(b)
	}
	b = append(b, indexMagic...)
	b = le.AppendUint64(b, salt)
	b = le.AppendUint32(b, x.end)
	b = le.AppendUint32(b, uint32(len(entries)))
	flags := uint32(0)
	if x.full {
		flags = flagFull
	}
	b = le.AppendUint32(b, flags)
	b = le.AppendUint32(b, 0)
	return appendDigest(b, b[at:])
}

// indexBytes returns the bytes of the index that b ends with; 0 if that is none of
// a segment with this salt and so many pages. Its digest is still to be checked.
func indexBytes(b []byte, salt uint64, segmentPages uint32) int {
	if len(b) < indexSize {
		return 0
	}
	f := b[len(b)-indexSize:]
	end, count := le.Uint32(f[16:]), le.Uint32(f[20:])
	if string(f[:8]) != indexMagic || le.Uint64(f[8:]) != salt || end > segmentPages || count >= segmentPages {
		return 0
	}
	return int(count)*entrySize + indexSize
}

// parseIndex reads a whole index. indexBytes has taken it.
func parseIndex(b []byte) (x index, entries []entry, ok bool) {
	if !digestHolds(b) {
		return x, nil, false
	}
	f := b[len(b)-indexSize:]
	x = index{end: le.Uint32(f[16:]), full: le.Uint32(f[24:])&flagFull != 0}
	entries, ok = parseEntries(b[:len(b)-indexSize], 1, x.end)
	return x, entries, ok && x.end > 0
}

// blockHeader is the first page of a block, or more of them if it has many tokens.
// Its digest covers the payload's, so that one number holds all of the block.
type blockHeader struct {
	salt         uint64
	page         uint32
	payload      uint32 // bytes
	tokens       uint32
	key          Key
	parent, root [32]byte
	digest       [digestSize]byte // of the payload
}

func (h *blockHeader) append(b []byte, tokens []int32) []byte {
	at := len(b)
	b = append(b, blockMagic...)
	b = le.AppendUint64(b, h.salt)
	b = le.AppendUint32(b, h.page)
	b = le.AppendUint32(b, h.payload)
	b = le.AppendUint32(b, uint32(len(tokens)))
	b = append(b, h.key.Kind, 0, 0, 0)
	b = append(b, h.key.Hash[:]...)
	b = append(b, h.parent[:]...)
	b = append(b, h.root[:]...)
	b = append(b, h.digest[:]...)
	b = append(b, make([]byte, blockHeaderSize-(len(b)-at))...)
	for _, t := range tokens {
		b = le.AppendUint32(b, uint32(t))
	}
	return appendDigest(b, b[at:])
}

// parseBlockHeader reads the header that b begins. tokens are its token IDs, in
// b; ok is false for other bytes, for damage, and if b is too short.
func parseBlockHeader(b []byte) (h blockHeader, tokens []byte, ok bool) {
	if len(b) < blockHeaderSize || string(b[:8]) != blockMagic {
		return h, nil, false
	}
	h = blockHeader{
		salt: le.Uint64(b[8:]), page: le.Uint32(b[16:]), payload: le.Uint32(b[20:]), tokens: le.Uint32(b[24:]),
		key: Key{[32]byte(b[32:]), b[28]}, parent: [32]byte(b[64:]), root: [32]byte(b[96:]), digest: [digestSize]byte(b[128:]),
	}
	if h.tokens > MaxTokens || h.payload > MaxPayload || len(b) < headerBytes(int(h.tokens)) {
		return h, nil, false
	}
	b = b[:headerBytes(int(h.tokens))]
	return h, b[blockHeaderSize : len(b)-digestSize], digestHolds(b)
}

// sameTokens says whether the token IDs of a header are these.
func sameTokens(b []byte, tokens []int32) bool {
	if len(b) != 4*len(tokens) {
		return false
	}
	for i, t := range tokens {
		if le.Uint32(b[4*i:]) != uint32(t) {
			return false
		}
	}
	return true
}
