package tokenlog

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/holdfast-run/holdfast/internal/vfs"
)

// Recovery is what Open found.
type Recovery struct {
	Records int   // replayed
	Bytes   int64 // of good batches
	// Damage lists pieces that cannot be read, at most 1,000 of them.
	Damage []Damage
	// Owners lists the living owners of which records are lost.
	Owners []DamagedError
}

// Recovery returns what Open found.
func (l *Log) Recovery() Recovery { return l.found }

const maxDamage = 1000

// firstLSN is where a log begins: 0 is no record's.
const firstLSN = LSN(pageSize)

// recovery reads a log back.
type recovery struct {
	l      *Log
	replay func(Record) error
	found  Recovery

	end     LSN    // of the log
	free    LSN    // what is below it is nobody's, says the last batch
	kept    LSN    // the same, says the one before: the last may not be durable
	last    []byte // the last good batch, nil if there is none
	lastLSN LSN
	closed  bool   // and it marks that the log was closed
	begun   bool   // a later segment was begun, for a batch that never was durable
	spare   []byte // memory for a segment
}

// run finds the segments that matter and replays them.
func (r *recovery) run(files []logFile) error {
	r.end, r.free, r.kept = firstLSN, firstLSN, firstLSN
	r.l.w.store = newStore()
	segments := r.candidates(files)
	r.l.segments = segments // Open closes their files if it fails
	for i, s := range segments {
		if r.l.w.store = s.store; s.store != segments[0].store {
			return fmt.Errorf("%s and %s are of different logs; move one away", segments[0].name, segments[i].name)
		}
	}
	r.oldestAhead(segments)
	if err := r.newest(); err != nil || len(r.l.segments) == 0 {
		return err
	}
	r.l.segments = r.living(r.l.segments)
	// What only the last batch says is free may be used again already.
	full := slices.DeleteFunc(slices.Clone(r.l.segments), func(s *segment) bool { return s.end <= r.free || s.end == s.first })
	expect := r.free
	next := r.loadAhead(full)
	defer func() { <-next }()
	for i, s := range full {
		got := <-next
		next = r.loadAhead(full[i+1:])
		if got.err != nil {
			return got.err
		}
		r.spare = got.data
		if s.first > expect {
			r.damage(Damage{LSN: expect, Size: int64(s.first - expect), What: "segments are missing", Unknown: true})
		}
		// Where the next segment begins, this one ends, whatever it holds.
		data := got.data[:min(int64(s.end-s.first), int64(len(got.data)))]
		expect = s.first + LSN(len(data))
		if err := r.segment(s, data); err != nil {
			return err
		}
	}
	return nil
}

// candidates returns the segments that files claim to be, in the order in which
// they were begun.
func (r *recovery) candidates(files []logFile) (segments []*segment) {
	for _, f := range files {
		switch {
		case f.kind == used && f.header.sound():
			segments = append(segments, &segment{segmentHeader: f.header, name: f.name})
		case f.kind == unreadable:
			r.damage(Damage{File: f.name, Size: f.size, What: "both segment headers are damaged; the file is left as it is", Unknown: true})
		}
	}
	slices.SortFunc(segments, func(a, b *segment) int {
		return cmp.Or(cmp.Compare(a.number, b.number), cmp.Compare(a.first, b.first))
	})
	return segments
}

// oldestAhead has the first segment that may matter come from the disk while the last is
// read. If it cannot be opened, who loads it says so.
func (r *recovery) oldestAhead(segments []*segment) {
	for i := 1; i < len(segments); i++ {
		if segments[i].first > segments[len(segments)-1].free {
			_ = r.open(segments[i-1])
			return
		}
	}
}

// newest drops segments from the end until one holds a good batch: the others were
// begun, and nothing in them was ever durable. It learns that one's end, and from
// its batches what is free.
func (r *recovery) newest() error {
	for l := r.l; len(l.segments) > 0; l.segments = l.segments[:len(l.segments)-1] {
		s := l.segments[len(l.segments)-1]
		got := r.load(s, r.spare)
		if got.err != nil {
			return got.err
		}
		data := got.data
		r.spare, r.free = data, s.free
		for at := 0; ; {
			h, start := nextBatch(data, at, s)
			if start < 0 {
				break
			}
			at = start + int(h.total)
			s.end = s.first + LSN(at)
			if r.kept, r.free = r.free, h.free; h.closing {
				r.kept = h.free
			}
			r.last, r.lastLSN, r.closed = data[start:at], h.lsn, h.closing
		}
		if err := r.endIsKnown(s, got); err != nil {
			return err
		}
		if s.end != 0 {
			r.last = slices.Clone(r.last)
			r.end = s.end
			return nil
		}
		s.close()
		r.begun = true
	}
	return nil
}

// endIsKnown says why the end of the log is not: what may be its last batch cannot
// be read. To go on would be to forget it.
func (r *recovery) endIsKnown(s *segment, got loaded) error {
	at := int(max(s.end, s.first) - s.first)
	behind := at + pageSize
	if at+pageSize <= len(got.data) {
		if h, ok := parseBatchHeader(got.data[at:], s.salt, s.first+LSN(at)); ok {
			behind = at + int(h.total)
		}
	}
	for _, u := range got.unread {
		if u.at >= at && u.at < behind {
			return fmt.Errorf("%s: the end of the log cannot be read; copy the folder to a disk that works: %w", s.name, u.err)
		}
	}
	return nil
}

// living returns the segments that are not durably free, each with the end that the
// next one's beginning gives it. Some are empty: what was begun for a batch that
// then went to another. While the last batch may be durable in such a one only, it
// must not be used again, so they stay until the next batch is durable.
func (r *recovery) living(segments []*segment) []*segment {
	next := segments[len(segments)-1]
	living := []*segment{next}
	for i := len(segments) - 2; i >= 0; i-- {
		s := segments[i]
		if s.end = max(s.first, next.first); s.end <= r.kept && s.first < r.kept {
			s.close()
			continue
		}
		living = append(living, s)
		if s.first < next.first {
			next = s
		}
	}
	slices.Reverse(living)
	return living
}

// loaded is a segment's batches, all between the header and its copy, of a file that was
// cut short those that it has: memory follows the file, not what its header says. Pages
// that cannot be read, after a second try, are zeros.
type loaded struct {
	data   []byte
	unread []unread // ascending
	err    error
}

// unread is a page that cannot be read.
type unread struct {
	at  int // behind the segment's first batch
	err error
}

// loadAhead loads the first of segments, if there is one, while the caller works on
// another's bytes: two are in memory.
func (r *recovery) loadAhead(segments []*segment) <-chan loaded {
	next := make(chan loaded, 1)
	spare := r.spare
	r.spare = nil
	go func() {
		defer close(next)
		if len(segments) > 0 {
			next <- r.load(segments[0], spare)
		}
	}()
	return next
}

// open opens a segment, which then begins to come from the disk.
func (r *recovery) open(s *segment) (err error) {
	if s.file == nil {
		s.file, err = r.l.fs.Open(r.l.path(s.name), vfs.ReadAhead)
	}
	return err
}

// load loads a segment into buf, or new memory if that is too small.
func (r *recovery) load(s *segment, buf []byte) (got loaded) {
	if got.err = r.open(s); got.err != nil {
		return got
	}
	size, err := s.file.Size()
	if err != nil {
		return loaded{err: err}
	}
	n := int(max(0, min(s.size-2*pageSize, (size-1)&^(pageSize-1))))
	if cap(buf) < n {
		buf = make([]byte, n)
	}
	got.data = buf[:n]
	for at := 0; at < n; at += sliceBytes {
		piece := got.data[at:min(n, at+sliceBytes)]
		if readFull(s.file, piece, pageSize+int64(at)) != nil {
			got.byPage(s, piece, at)
		}
	}
	return got
}

// byPage reads a piece of a segment again, page by page.
func (got *loaded) byPage(s *segment, piece []byte, at int) {
	for ; len(piece) > 0; piece, at = piece[pageSize:], at+pageSize {
		if err := readFull(s.file, piece[:pageSize], pageSize+int64(at)); err != nil {
			clear(piece[:pageSize])
			if !errors.Is(err, io.EOF) { // there is no page: the file was cut short
				got.unread = append(got.unread, unread{at, err})
			}
		}
	}
}

// readFull reads all of p: a file that is shorter is a damaged one.
func readFull(f io.ReaderAt, p []byte, off int64) error {
	n, err := f.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	return cmp.Or(err, io.ErrUnexpectedEOF)
}

// nextBatch returns the first good batch in data at or behind a page boundary, and
// where it is; -1 if there is none. Its salt proves that it was written in this
// life of the file, its LSN that it belongs here.
func nextBatch(data []byte, at int, s *segment) (h batchHeader, start int) {
	for ; at+pageSize <= len(data); at += pageSize {
		if h, ok := goodBatch(data[at:], s, at); ok {
			return h, at
		}
	}
	return h, -1
}

// goodBatch says whether a whole batch of s lies at the start of data, which is at
// bytes behind the segment's first.
func goodBatch(data []byte, s *segment, at int) (h batchHeader, ok bool) {
	h, ok = parseBatchHeader(data, s.salt, s.first+LSN(at))
	return h, ok && int(h.total) <= len(data) && digestHolds(data[:h.total])
}

// segment replays the batches of s that lie in data. What lies between and behind
// them was written and is damaged: the writer never had two batches under way, so
// that a later one, or a later segment, proves that the earlier ones were durable.
func (r *recovery) segment(s *segment, data []byte) error {
	for at := 0; at < len(data); {
		h, start := nextBatch(data, at, s)
		end := start
		if start < 0 {
			end = len(data)
		}
		if end > at {
			if err := r.salvage(s, data[at:end], s.first+LSN(at)); err != nil {
				return err
			}
		}
		if start < 0 {
			return nil
		}
		at = start + int(h.total)
		if err := r.batch(data[start:at], &h); err != nil {
			return err
		}
	}
	return nil
}

// batch replays a good batch.
func (r *recovery) batch(b []byte, h *batchHeader) error {
	r.found.Bytes += int64(h.total)
	for at := batchSize; at < int(h.length); {
		if int(h.length)-at < recordSize {
			return r.corrupt(h.lsn)
		}
		rec := parseRecordHeader(b[at:])
		if rec.length > MaxPayload || rec.size() > int(h.length)-at {
			return r.corrupt(h.lsn)
		}
		payload := b[at+recordSize : at+recordSize+int(rec.length)]
		if err := r.record(&rec, h.lsn+LSN(at), payload); err != nil {
			return err
		}
		at += rec.size()
	}
	return nil
}

// corrupt reports a batch whose digest holds over records that make no sense:
// no log writes one.
func (r *recovery) corrupt(lsn LSN) error {
	r.damage(Damage{LSN: lsn, What: "a batch was written wrong", Unknown: true})
	return nil
}

// record takes the next record of its owner, if it is the next one, and replays it.
func (r *recovery) record(h *recordHeader, lsn LSN, payload []byte) error {
	o, known := r.l.owners[h.owner]
	switch {
	case h.base():
		o = owner{start: lsn}
	case h.flags&flagEnd != 0: // ends what is left, whatever is missing
	case !known || o.seq == 0:
		// Either its base was in a segment that is free, and a later base or end
		// follows, or it is lost.
		r.l.owners[h.owner] = owner{damaged: true}
		return nil
	case h.prev != o.last || h.link != o.link:
		o.damaged = true
		r.l.owners[h.owner] = o
		return nil
	}
	o.last, o.link, o.seq, o.damaged = lsn, h.check, h.seq, h.flags&flagDamaged != 0
	if h.flags&flagEnd != 0 {
		delete(r.l.owners, h.owner)
	} else {
		r.l.owners[h.owner] = o
	}
	r.found.Records++
	return r.replay(h.record(lsn, payload))
}

func (h *recordHeader) record(lsn LSN, payload []byte) Record {
	return Record{
		LSN: lsn, Owner: h.owner, Seq: h.seq, Base: h.base(), End: h.flags&flagEnd != 0, Payload: payload,
		Kind: Kind{Type: h.typ, Version: h.version, Skippable: h.flags&flagSkippable != 0},
	}
}

func (r *recovery) damage(d Damage) {
	if len(r.found.Damage) < maxDamage {
		r.found.Damage = append(r.found.Damage, d)
	}
}
