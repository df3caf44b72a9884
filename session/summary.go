package session

import "github.com/holdfast-run/holdfast/tokenlog"

// summary is what is known of a session without its turns. It follows from the
// records in their order.
type summary struct {
	head, next    uint32 // turns; 0 is none
	open          uint32 // the turn that has begun and not ended; 0: none
	tokens, depth uint32 // of the head: tokens of its history, turns on its path
	used, ttl     int64  // ns
	pinned        bool
	parked        bool
	inexact       bool // the head's path
}

func (s *summary) created(r *createRecord) {
	*s = summary{next: 1, used: r.created, ttl: r.ttl, pinned: r.pinned}
}

func (s *summary) opened(r *openRecord) {
	s.open, s.next, s.used, s.parked = r.turn, r.turn+1, r.time, false
}

func (s *summary) committed(r *commitRecord) {
	s.head, s.tokens, s.depth, s.inexact = r.turn, r.length, r.depth, r.inexact
	s.open, s.used = 0, r.time
}

func (s *summary) rewound(r *rewindRecord) {
	s.head, s.next, s.tokens, s.depth, s.inexact = r.head, r.next, r.length, r.depth, r.inexact
	s.open, s.used = 0, r.time
}

func (s *summary) changed(r *metaRecord) {
	s.pinned, s.parked, s.ttl, s.used = r.pinned, r.parked, r.ttl, r.time
}

// known says whether a record is one that this program reads; err that it is none and
// cannot be passed over.
func known(kind tokenlog.Kind) (is bool, err error) {
	switch {
	case kind.Type >= typeCreate && kind.Type <= typeEnd && kind.Version <= version:
		return true, nil
	case kind.Skippable:
		return false, nil
	}
	return false, &UnreadableError{kind.Type, kind.Version, "is not known here"}
}

// replay applies a record without looking at the turns.
func (s *summary) replay(kind tokenlog.Kind, payload []byte) (err error) {
	if ok, err := known(kind); !ok {
		return err
	}
	switch kind.Type {
	case typeCreate:
		var r createRecord
		if err = r.parse(payload); err == nil {
			s.created(&r)
		}
	case typeOpen:
		var r openRecord
		if err = r.parse(payload); err == nil {
			s.opened(&r)
		}
	case typeCommit:
		var r commitRecord
		if err = r.parse(payload); err == nil {
			s.committed(&r)
		}
	case typeClose:
		s.open = 0
	case typeRewind:
		var r rewindRecord
		if err = r.parse(payload); err == nil {
			s.rewound(&r)
		}
	case typeMeta:
		var r metaRecord
		if err = r.parse(payload); err == nil {
			s.changed(&r)
		}
	}
	return unreadable(kind, err)
}

// unreadable says of which record an error of parsing is.
func unreadable(kind tokenlog.Kind, err error) error {
	if err == nil {
		return nil
	}
	return &UnreadableError{kind.Type, kind.Version, "is " + err.Error()}
}
