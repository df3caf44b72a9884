package tokenlog

import (
	"context"
	"errors"
	"iter"
	"math"
	"slices"
)

// Last returns the LSN of an owner's newest record that is whole.
func (l *Log) Last(id Owner) (LSN, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	o, known := l.owners[id]
	if !known || o.seq == 0 {
		return 0, ErrNoOwner
	}
	return o.last, nil
}

// History reads an owner's records back, from the newest to its base, each checked
// against the one after it. What is not in the buffer is read from the disk, 8 KiB
// to 256 KiB at a time; no memory is kept for each owner beside the log's own. If the
// owner is rewritten meanwhile it ends with ErrChanged, and with a *DamagedError
// at a record that is no longer what was written.
func (l *Log) History(id Owner) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		l.mu.Lock()
		o, known := l.owners[id]
		l.mu.Unlock()
		if !known || o.seq == 0 {
			yield(Record{}, ErrNoOwner)
			return
		}
		reader := backReader{l: l}
		for lsn, check, seq := o.last, o.link, o.seq; ; {
			h, payload, err := reader.read(lsn)
			if err == nil && (h.check != check || h.owner != id) {
				err = &DamagedError{Owner: id, Seq: seq}
			}
			if err != nil {
				yield(Record{}, l.explain(err, id, o.start, seq))
				return
			}
			if !yield(h.record(lsn, payload), nil) || h.base() {
				return
			}
			lsn, check, seq = h.prev, h.link, h.seq-1
		}
	}
}

// explain says why a record could not be read: its owner may have been rewritten,
// and its place been used again.
func (l *Log) explain(err error, id Owner, start LSN, seq uint32) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if o, known := l.owners[id]; !known || o.start != start {
		return ErrChanged
	}
	if errors.Is(err, errNotWhole) {
		return &DamagedError{Owner: id, Seq: seq}
	}
	return err
}

var errNotWhole = errors.New("tokenlog: a record does not hold its checks")

// maxWindow bounds what is read ahead, in bytes.
const maxWindow = 256 << 10

// backReader reads records from newer to older ones. An owner that is alone in the log has a
// record in each batch, so it reads further back with each step, in one piece.
type backReader struct {
	l      *Log
	buf    []byte
	lsn    LSN // of buf[0]
	window int64
}

// read returns the record at lsn; its payload is valid until the next read.
func (r *backReader) read(lsn LSN) (h recordHeader, payload []byte, err error) {
	l := r.l
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return h, nil, ErrClosed
	}
	for _, b := range []*batch{l.fill, l.flight} {
		if b == l.flight && !l.flying || lsn < b.lsn || lsn >= b.next() {
			continue
		}
		rest := b.buf[lsn-b.lsn : b.used]
		h = parseRecordHeader(rest)
		r.buf, r.lsn = append(r.buf[:0], rest[:h.size()]...), lsn
		l.mu.Unlock()
		return whole(r.buf, lsn)
	}
	s, end := l.segmentOf(lsn), LSN(0)
	if s != nil {
		end = s.end
	}
	l.mu.Unlock()
	if s == nil {
		return h, nil, errNotWhole
	}
	if lsn >= r.lsn && lsn < r.lsn+LSN(len(r.buf)) {
		if h, payload, err = whole(r.buf[lsn-r.lsn:], lsn); err == nil {
			return h, payload, nil
		}
	}
	if near := r.lsn - lsn; lsn < r.lsn && near <= 2*maxWindow {
		r.window = min(2*r.window, maxWindow)
	} else {
		r.window = 2 * pageSize
	}
	stop := min(lsn&^(pageSize-1)+2*pageSize, end) // a page at least
	start := max(s.first, stop-min(stop, LSN(r.window)))
	if err := r.fill(s, min(start, lsn), stop); err != nil {
		return h, nil, err
	}
	h, payload, err = whole(r.buf[lsn-r.lsn:], lsn)
	if size := LSN(h.size()); err != nil && h.holds(r.buf[lsn-r.lsn:], lsn) && lsn+size > stop && lsn+size <= end {
		if err := r.fill(s, lsn, lsn+size); err != nil { // it is longer than its page
			return h, nil, err
		}
		return whole(r.buf, lsn)
	}
	return h, payload, err
}

// fill reads a stretch of a segment.
func (r *backReader) fill(s *segment, start, stop LSN) error {
	n := int(stop - start)
	r.buf, r.lsn = slices.Grow(r.buf[:0], n)[:n], start
	err := readFull(s.file, r.buf, s.offset(start))
	if err != nil {
		r.buf = r.buf[:0]
	}
	return err
}

func whole(b []byte, lsn LSN) (recordHeader, []byte, error) {
	h, payload, ok := parseRecord(b, lsn)
	if !ok {
		return h, nil, errNotWhole
	}
	return h, payload, nil
}

// Rewrite replaces an owner's history by records, oldest first, of which Seq, Kind
// and Payload are used. Seq ascends and is one that the owner has had, or 0, behind
// all others, for a new number. last is the newest record that the caller knows: if there is
// another by now, the error is ErrChanged and nothing has happened. 0 is for an owner
// without history, which gets one. A reader sees the old history or the whole new one. With no
// records the owner ends.
func (l *Log) Rewrite(id Owner, last LSN, records []Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	o, known := l.owners[id]
	switch {
	case l.closing:
		return ErrClosed
	case known && o.seq == 0, !known && (last != 0 || len(records) == 0):
		return ErrNoOwner
	case o.last != last:
		return ErrChanged
	case !known && len(l.owners) >= maxOwners:
		return ErrOwners
	}
	if len(records) == 0 {
		return l.rewriteToNothing(id, o)
	}
	if err := l.roomFor(records); err != nil {
		return err
	}
	next := o.seq
	for i := range records {
		rec := &records[i]
		h := header(id, o, rec.Kind)
		if h.seq = rec.Seq; h.seq == 0 {
			h.seq = max(next, o.seq) + 1
		}
		if i == 0 {
			h.link, h.prev, h.group = 0, 0, uint32(len(records))
		}
		if i == len(records)-1 && o.damaged {
			h.flags |= flagDamaged
		}
		l.add(&h, &o, rec.Payload)
	}
	o.seq = max(next, o.seq) // numbers that were dropped are not given again
	l.owners[id] = o
	l.wake.Signal()
	return nil
}

func (l *Log) rewriteToNothing(id Owner, o owner) error {
	if !l.fill.room(recordSize, 1) {
		return ErrFull
	}
	h := header(id, o, Kind{Skippable: true})
	h.flags |= flagEnd
	l.add(&h, &o, nil)
	l.begins(o.start, -1)
	delete(l.owners, id)
	l.wake.Signal()
	return nil
}

func (l *Log) roomFor(records []Record) error {
	size, seq := 0, uint32(0)
	for _, rec := range records {
		if len(rec.Payload) > MaxPayload {
			return ErrTooLarge
		}
		if rec.Seq == 0 {
			seq = math.MaxUint32
		} else if rec.Seq <= seq {
			return errors.New("tokenlog: a rewrite's records must be in the order of their numbers, from 1 up, new ones last")
		}
		size, seq = size+recordBytes(len(rec.Payload)), max(seq, rec.Seq)
	}
	switch empty := (&batch{buf: l.fill.buf, used: batchSize}); {
	case !empty.room(size, len(records)):
		return ErrTooLarge
	case !l.fill.room(size, len(records)):
		return ErrFull
	}
	return nil
}

// Compact rewrites the living owners whose history begins in the oldest segment,
// with the records that keep wants, and so makes the segment free. keep is called
// with an owner's records from the newest to the oldest; it should keep records of
// a skippable kind that it does not know. more is false when only the segment that
// is being written is left. Damaged owners stay damaged.
//
// It looks at every owner once with the log held, about 10 ns for each.
func (l *Log) Compact(ctx context.Context, keep func(Record) bool) (more bool, err error) {
	ids, ok := l.Oldest()
	if !ok {
		return false, nil
	}
	for _, id := range ids {
		if err := l.compact(ctx, id, keep); err != nil {
			return true, err
		}
	}
	return true, nil
}

// Oldest returns the owners whose history begins in the oldest segment, which keep it;
// ok is false when only the segment that is being written is left. It takes about 10 ns
// for each living owner, with the log held.
func (l *Log) Oldest() (ids []Owner, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.segments) < 2 {
		return nil, false
	}
	end := l.segments[0].end
	for id, o := range l.owners {
		if o.start != 0 && o.start < end {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b Owner) int { return slices.Compare(a[:], b[:]) })
	return ids, true
}

func (l *Log) compact(ctx context.Context, id Owner, keep func(Record) bool) error {
	for {
		err := l.rewriteKept(id, keep)
		switch {
		case errors.Is(err, ErrNoOwner):
			return nil // it has ended
		case errors.Is(err, ErrFull):
			err = l.WaitForRoom(ctx)
		case errors.Is(err, ErrChanged):
			err = ctx.Err() // it is in use: again
		default:
			return err
		}
		if err != nil {
			return err
		}
	}
}

// WaitForRoom returns when what is in the buffer now has left it.
func (l *Log) WaitForRoom(ctx context.Context) error {
	l.mu.Lock()
	empty, first := l.fill.count == 0, l.fill.lsn
	l.mu.Unlock()
	if empty {
		return nil
	}
	return l.Wait(ctx, first)
}

func (l *Log) rewriteKept(id Owner, keep func(Record) bool) error {
	var kept []Record
	var last LSN
	for rec, err := range l.History(id) {
		if err != nil {
			return err
		}
		last = max(last, rec.LSN)
		if keep(rec) {
			rec.Payload = slices.Clone(rec.Payload)
			kept = append(kept, rec)
		}
	}
	slices.Reverse(kept)
	return l.Rewrite(id, last, kept)
}
