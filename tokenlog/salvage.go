package tokenlog

import "slices"

// salvage takes what is whole out of a damaged stretch of a segment. Each batch
// names its records twice: where they are, and in a directory at its end, so that
// the loss of one costs only the owners that the other names.
func (r *recovery) salvage(s *segment, data []byte, lsn LSN) error {
	for len(data) > 0 {
		d := Damage{File: s.name, LSN: lsn, What: "a batch is damaged"}
		var n int // bytes of the stretch that this turn deals with
		var err error
		if start, end, directory := firstDirectory(data, s.salt, lsn); start == 0 {
			n = end
			err = r.byDirectory(&d, data[:end], directory, lsn)
		} else if h, ok := parseBatchHeader(data, s.salt, lsn); ok && int(h.total) <= len(data) {
			n = int(h.total)
			err = r.byRecords(&d, data[:h.length], &h)
		} else {
			n = max(start, pageSize)
			if start < 0 {
				n = len(data)
			}
			d.What, d.Unknown = "nothing can be read", true
		}
		if err != nil {
			return err
		}
		d.Size = int64(n)
		r.damage(d)
		data, lsn = data[n:], lsn+LSN(n)
	}
	return nil
}

// firstDirectory returns the first directory that is whole in data, and where its
// batch begins and ends; start is -1 if there is none.
func firstDirectory(data []byte, salt uint64, lsn LSN) (start, end int, directory []byte) {
	for end := pageSize; end <= len(data); end += pageSize {
		if directory, start, ok := findDirectory(data[:end], salt, lsn); ok {
			return start, end, directory
		}
	}
	return -1, 0, nil
}

// found is a record of a damaged batch; one that is not whole has owner and number
// only.
type found struct {
	recordHeader
	lsn     LSN
	payload []byte
	whole   bool
}

// byDirectory replays the whole records that a batch's directory names, and notes
// the owners of the others.
func (r *recovery) byDirectory(d *Damage, b, directory []byte, lsn LSN) error {
	var records []found
	for ; len(directory) > 0; directory = directory[entrySize:] {
		f := found{recordHeader: recordHeader{owner: Owner(directory), seq: le.Uint32(directory[16:])}}
		if at := uint64(le.Uint32(directory[20:])); at < uint64(len(b)) {
			h, payload, ok := parseRecord(b[at:], lsn+LSN(at))
			if ok && h.owner == f.owner && h.seq == f.seq {
				f = found{h, lsn + LSN(at), payload, true}
			}
		}
		records = append(records, f)
	}
	return r.whole(d, records)
}

// byRecords replays records from the start of a batch whose directory is lost, up
// to the first whose header is damaged: nobody knows where the next begins.
func (r *recovery) byRecords(d *Damage, b []byte, h *batchHeader) error {
	var records []found
	at := batchSize
	for at < len(b) {
		rec, payload, ok := parseRecord(b[at:], h.lsn+LSN(at))
		if payload == nil {
			break
		}
		records = append(records, found{rec, h.lsn + LSN(at), payload, ok})
		at += rec.size()
	}
	d.Unknown = len(records) != int(h.count)
	return r.whole(d, records)
}

// whole replays the records that are whole. Those that came with a base are all
// or none.
func (r *recovery) whole(d *Damage, records []found) error {
	for i := 0; i < len(records); i++ {
		f := &records[i]
		if !f.whole {
			r.lose(d, f)
			continue
		}
		if f.base() && !complete(records[i:], int(f.group)) {
			for ; i+1 < len(records) && records[i+1].owner == f.owner && !records[i+1].base(); i++ {
			}
			r.lose(d, f)
			continue
		}
		if err := r.record(&f.recordHeader, f.lsn, f.payload); err != nil {
			return err
		}
	}
	return nil
}

// complete says whether the n records that begin a history are all there.
func complete(records []found, n int) bool {
	if n > len(records) {
		return false
	}
	for i := range n {
		if f := &records[i]; !f.whole || f.owner != records[0].owner || i > 0 && f.base() {
			return false
		}
	}
	return true
}

// lose notes that a record of a known owner is lost: what follows it is no use.
func (r *recovery) lose(d *Damage, f *found) {
	o := r.l.owners[f.owner]
	o.damaged = true
	r.l.owners[f.owner] = o
	if !slices.Contains(d.Owners, f.owner) {
		d.Owners = append(d.Owners, f.owner)
	}
}

// Salvage calls replay with an owner's records, oldest first, as Open would now: up to the
// first that is lost. It reads the whole log, and is for an owner whose History
// ends in a *DamagedError. Records that are not on the disk yet are not among them.
func (l *Log) Salvage(id Owner, replay func(Record) error) error {
	files, err := readHeaders(l.fs, l.dir)
	if err != nil {
		return err
	}
	found := &Log{fs: l.fs, dir: l.dir, owners: map[Owner]owner{}}
	defer func() {
		for _, s := range found.segments {
			s.close()
		}
	}()
	r := recovery{l: found, replay: func(r Record) error {
		if r.Owner != id {
			return nil
		}
		return replay(r)
	}}
	return r.run(files)
}
