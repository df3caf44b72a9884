package tokenlog

import "github.com/zeebo/xxh3"

// batch is a buffer in which records gather until the writer takes it. The log has
// two and uses them in turns.
type batch struct {
	buf       []byte // page-aligned; the batch header's place, then the records
	used      int    // bytes of buf, header included
	directory []byte // an entry for each record
	count     int
	lsn       LSN // of buf[0]
	bases     int // living owners whose history begins here
	free      LSN // what is below it is nobody's, once this batch is durable
	closing   bool
}

// reset makes b an empty batch at lsn.
func (b *batch) reset(lsn LSN) {
	*b = batch{buf: b.buf, directory: b.directory[:0], used: batchSize, lsn: lsn}
}

// room says whether n more bytes, of so many records, fit.
func (b *batch) room(n, records int) bool {
	return b.used+n+len(b.directory)+records*entrySize+footerSize <= len(b.buf)
}

// total returns the bytes that the batch has on the disk.
func (b *batch) total() int { return int(batchTotal(uint64(b.used), uint64(b.count))) }

func (b *batch) end() LSN { return b.lsn + LSN(b.total()) }

// next returns the LSN of the record that add will add.
func (b *batch) next() LSN { return b.lsn + LSN(b.used) }

// add appends a record, for which there is room, and completes h.
func (b *batch) add(h *recordHeader, payload []byte) {
	at := b.used
	h.length, h.payload = uint32(len(payload)), xxh3.Hash(payload)
	b.used += h.size()
	h.put(b.buf[at:], b.lsn+LSN(at))
	n := copy(b.buf[at+recordSize:], payload)
	clear(b.buf[at+recordSize+n : b.used])
	b.directory = append(b.directory, h.owner[:]...)
	b.directory = le.AppendUint32(b.directory, h.seq)
	b.directory = le.AppendUint32(b.directory, uint32(at))
	b.count++
}

// sealed returns the batch's bytes as they go to a segment with this salt. It may
// be called again for another segment.
func (b *batch) sealed(salt uint64) []byte {
	h := batchHeader{
		lsn: b.lsn, salt: salt, free: b.free, total: uint32(b.total()),
		length: uint32(b.used), count: uint32(b.count), closing: b.closing,
	}
	whole := b.buf[:h.total]
	seal(whole, &h, b.directory)
	return whole
}
