package tokenlog

import (
	"encoding/binary"

	"github.com/zeebo/xxh3"

	"github.com/holdfast-run/holdfast/internal/vfs"
)

// Version of the format. A reader refuses another major version and reads any
// minor: minors add what a reader may ignore.
const (
	major = 1
	minor = 1
)

const (
	pageSize = vfs.Align // batches and segment headers are whole pages

	headerSize = 512 // of a segment header; one sector, so that it is never torn
	batchSize  = 48  // of a batch's header
	footerSize = 48  // of a batch's footer
	recordSize = 64  // of a record's header
	entrySize  = 24  // of a record's entry in the batch's directory

	segmentMagic = "HFtoklog"
	batchMagic   = "HFbatch\n"
)

var le = binary.LittleEndian

// segmentHeader is the first sector of a segment, written when it is taken into
// use; a copy lies in its last page.
type segmentHeader struct {
	major, minor uint16
	store        [16]byte // the log's random identity
	number       uint64   // grows from segment to segment
	salt         uint64   // random: batches of a former life of the file have another
	first        LSN      // of the first batch
	size         int64    // of the file
	free         LSN      // what is below it was nobody's before this segment
}

func (h *segmentHeader) append(b []byte) []byte {
	at := len(b)
	b = append(b, segmentMagic...)
	b = le.AppendUint16(b, h.major)
	b = le.AppendUint16(b, h.minor)
	b = le.AppendUint32(b, 0)
	b = append(b, h.store[:]...)
	b = le.AppendUint64(b, h.number)
	b = le.AppendUint64(b, h.salt)
	b = le.AppendUint64(b, uint64(h.first))
	b = le.AppendUint64(b, uint64(h.size))
	b = le.AppendUint64(b, uint64(h.free))
	b = append(b, make([]byte, headerSize-16-(len(b)-at))...)
	return appendDigest(b, b[at:])
}

// parseSegmentHeader reads a header of any version. ok is false for other bytes
// and for damage. The magic, the versions and the digest keep their places for
// ever.
func parseSegmentHeader(b []byte) (h segmentHeader, ok bool) {
	if len(b) < headerSize || string(b[:8]) != segmentMagic || !digestHolds(b[:headerSize]) {
		return h, false
	}
	h = segmentHeader{
		major: le.Uint16(b[8:]), minor: le.Uint16(b[10:]), store: [16]byte(b[16:]),
		number: le.Uint64(b[32:]), salt: le.Uint64(b[40:]), first: LSN(le.Uint64(b[48:])),
		size: int64(le.Uint64(b[56:])), free: LSN(le.Uint64(b[64:])),
	}
	return h, true
}

// sound says whether the sizes in a header make sense.
func (h *segmentHeader) sound() bool {
	return h.first >= firstLSN && h.first%pageSize == 0 && h.free <= h.first && h.size%pageSize == 0 && h.size >= 3*pageSize && h.size <= maxSegment
}

// appendDigest appends the 16-byte digest of what is covered.
func appendDigest(b, covered []byte) []byte {
	sum := xxh3.Hash128(covered).Bytes()
	return append(b, sum[:]...)
}

// digestHolds says whether the last 16 bytes are the digest of those before.
func digestHolds(b []byte) bool {
	n := len(b) - 16
	return xxh3.Hash128(b[:n]).Bytes() == [16]byte(b[n:])
}

// A batch is what one write made durable:
//
//	header · records, each a multiple of 8 bytes · zeros · directory · footer
//
// A batch header is believed only when the digest at the batch's end holds.
type batchHeader struct {
	lsn     LSN    // of the batch's first byte
	salt    uint64 // of the segment
	free    LSN    // what is below it is nobody's
	total   uint32 // bytes of the batch, whole pages
	length  uint32 // bytes of header and records
	count   uint32 // records
	closing bool   // the log was closed behind this batch
}

func (h *batchHeader) put(b []byte) {
	copy(b, batchMagic)
	le.PutUint64(b[8:], uint64(h.lsn))
	le.PutUint64(b[16:], h.salt)
	le.PutUint64(b[24:], uint64(h.free))
	le.PutUint32(b[32:], h.total)
	le.PutUint32(b[36:], h.length)
	le.PutUint32(b[40:], h.count)
	le.PutUint32(b[44:], bit[uint32](h.closing, 1))
}

func bit[T uint8 | uint32](set bool, value T) T {
	if set {
		return value
	}
	return 0
}

// parseBatchHeader reads a header. ok says that it may be one of the segment with
// this salt, at this LSN, and that its lengths make sense; the digest is still to
// be checked.
func parseBatchHeader(b []byte, salt uint64, lsn LSN) (h batchHeader, ok bool) {
	h = batchHeader{
		lsn: LSN(le.Uint64(b[8:])), salt: le.Uint64(b[16:]), free: LSN(le.Uint64(b[24:])),
		total: le.Uint32(b[32:]), length: le.Uint32(b[36:]), count: le.Uint32(b[40:]), closing: le.Uint32(b[44:])&1 != 0,
	}
	return h, string(b[:8]) == batchMagic && h.lsn == lsn && h.salt == salt && h.free <= lsn && h.length >= batchSize &&
		uint64(h.total) == batchTotal(uint64(h.length), uint64(h.count))
}

// batchTotal returns the bytes of a batch with length bytes of header and records:
// as few pages as will do.
func batchTotal(length, count uint64) uint64 {
	return (length + count*entrySize + footerSize + pageSize - 1) &^ (pageSize - 1)
}

// seal completes a batch: header in front; behind the records the zeros, the
// directory, the footer, the digest. b is the whole batch, its records in place.
func seal(b []byte, h *batchHeader, directory []byte) {
	h.put(b)
	f := b[len(b)-footerSize:]
	d := b[len(b)-footerSize-len(directory) : len(b)-footerSize]
	clear(b[h.length : len(b)-footerSize-len(directory)])
	copy(d, directory)
	le.PutUint64(f[8:], uint64(h.lsn))
	le.PutUint64(f[16:], h.salt)
	le.PutUint32(f[24:], h.total)
	le.PutUint32(f[28:], h.count)
	le.PutUint64(f, directoryCheck(d, f))
	sum := xxh3.Hash128(b[:len(b)-16]).Bytes()
	copy(b[len(b)-16:], sum[:])
}

// directoryCheck covers the directory and, by its seed, the footer's fields.
func directoryCheck(directory, footer []byte) uint64 {
	return xxh3.HashSeed(directory, xxh3.Hash(footer[8:32]))
}

// findDirectory returns the directory of the batch that ends where b ends, by its
// footer alone, and where in b that batch begins. lsn is b's.
func findDirectory(b []byte, salt uint64, lsn LSN) (directory []byte, start int, ok bool) {
	f := b[len(b)-footerSize:]
	total, n := uint64(le.Uint32(f[24:])), uint64(le.Uint32(f[28:]))*entrySize
	if le.Uint64(f[16:]) != salt || total%pageSize != 0 || total > uint64(len(b)) || n+footerSize+batchSize > total {
		return nil, 0, false
	}
	start = len(b) - int(total)
	directory = b[len(b)-footerSize-int(n) : len(b)-footerSize]
	return directory, start, LSN(le.Uint64(f[8:])) == lsn+LSN(start) && le.Uint64(f) == directoryCheck(directory, f)
}

// Flags of a record.
const (
	flagSkippable = 1 << iota // Kind.Skippable
	flagEnd                   // the owner's last record
	flagDamaged               // damage cut the owner's history behind this record, before it was rewritten
)

// recordHeader is what the log knows of a record.
type recordHeader struct {
	check   uint64 // of all fields but this, seeded by the record's LSN
	payload uint64 // hash of the payload
	owner   Owner
	link    uint64 // check of the owner's record before; 0 in a base
	prev    LSN    // of the owner's record before; 0 in a base
	seq     uint32 // the record's number among the owner's
	length  uint32 // of the payload, in bytes
	group   uint32 // in a base: records that came with it, itself included
	typ     uint8
	version uint8
	flags   uint8
}

// base says that the owner's history begins here.
func (h *recordHeader) base() bool { return h.group > 0 }

// size returns the record's bytes in the log.
func (h *recordHeader) size() int { return recordBytes(int(h.length)) }

// recordBytes returns the bytes of a record with a payload of n.
func recordBytes(n int) int { return recordSize + (n+7)&^7 }

// put writes the header of the record at lsn, and sets its check.
func (h *recordHeader) put(b []byte, lsn LSN) {
	le.PutUint64(b[8:], h.payload)
	copy(b[16:], h.owner[:])
	le.PutUint64(b[32:], h.link)
	le.PutUint64(b[40:], uint64(h.prev))
	le.PutUint32(b[48:], h.seq)
	le.PutUint32(b[52:], h.length)
	le.PutUint32(b[56:], h.group)
	b[60], b[61], b[62], b[63] = h.typ, h.version, h.flags, 0
	h.check = xxh3.HashSeed(b[8:recordSize], uint64(lsn))
	le.PutUint64(b, h.check)
}

// parseRecordHeader reads the header at the start of b. Whether it is whole is for
// intact to say, or for the digest of its batch.
func parseRecordHeader(b []byte) (h recordHeader) {
	h = recordHeader{
		check: le.Uint64(b), payload: le.Uint64(b[8:]), owner: Owner(b[16:]), link: le.Uint64(b[32:]),
		prev: LSN(le.Uint64(b[40:])), seq: le.Uint32(b[48:]), length: le.Uint32(b[52:]), group: le.Uint32(b[56:]),
		typ: b[60], version: b[61], flags: b[62],
	}
	return h
}

// holds says whether the header of the record at lsn, which lies at the start of b, is whole.
func (h *recordHeader) holds(b []byte, lsn LSN) bool {
	return len(b) >= recordSize && xxh3.HashSeed(b[8:recordSize], uint64(lsn)) == h.check && h.length <= MaxPayload
}

// parseRecord returns the record at the start of b, for a batch that is damaged
// or a single record: header and payload must hold their own checks.
func parseRecord(b []byte, lsn LSN) (h recordHeader, payload []byte, ok bool) {
	if len(b) < recordSize {
		return h, nil, false
	}
	if h = parseRecordHeader(b); !h.holds(b, lsn) || h.size() > len(b) {
		return h, nil, false
	}
	payload = b[recordSize : recordSize+int(h.length)]
	return h, payload, xxh3.Hash(payload) == h.payload
}
