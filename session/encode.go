package session

import "github.com/holdfast-run/holdfast/tokenlog"

// records returns the tree as the fewest records that give it again, none with
// more than piece bytes of tokens and text. They are new to the log.
func (t *tree) records(piece int) []tokenlog.Record {
	w := encoder{piece: piece}
	w.add(typeCreate, t.create.append(nil))
	extras := t.extras
	for _, n := range t.nodes {
		for ; len(extras) > 0 && extras[0].after < n.number; extras = extras[1:] {
			w.extra(&extras[0])
		}
		if n.state == nodeOpen { // the last
			w.rewind(t, n.number)
		}
		w.node(n)
	}
	for i := range extras {
		w.extra(&extras[i])
	}
	if t.sum.open == 0 {
		w.rewind(t, t.sum.next)
	}
	if s := &t.sum; w.sum != *s {
		r := metaRecord{pinned: s.pinned, parked: s.parked, ttl: s.ttl, time: s.used}
		w.add(typeMeta, r.append(nil))
	}
	return w.records
}

// encoder gathers records, and what a reader will know behind them.
type encoder struct {
	piece   int
	records []tokenlog.Record
	sum     summary
}

func (w *encoder) add(typ uint8, payload []byte) {
	w.sum.replay(kindOf(typ), payload) // fails for nothing that was just written
	w.records = append(w.records, tokenlog.Record{Kind: kindOf(typ), Payload: payload})
}

func (w *encoder) extra(e *extra) {
	w.records = append(w.records, tokenlog.Record{Kind: e.kind, Payload: e.payload})
}

// rewind makes head and next number what they are, if the turns alone do not.
func (w *encoder) rewind(t *tree, next uint32) {
	if w.sum.head == t.sum.head && w.sum.next == next {
		return
	}
	n := t.committed(t.sum.head)
	r := rewindRecord{head: n.number, inexact: n.inexact, next: next, length: n.length, depth: n.depth, time: t.sum.used}
	w.add(typeRewind, r.append(nil))
}

// node adds the records of a turn.
func (w *encoder) node(n *node) {
	for _, b := range n.openRecords(w.piece) {
		w.add(b.typ, b.payload)
	}
	for first := 0; first < len(n.drawn) || first == 0 && len(n.grammar) > 0; {
		some := n.drawn[first:min(len(n.drawn), first+max(1, w.piece/4))]
		r := stepRecord{turn: n.number, first: uint32(first), tokens: appendTokens(nil, some)}
		if first += len(some); first == len(n.drawn) {
			r.state = n.grammar
		}
		w.add(typeStep, r.append(nil))
		if len(some) == 0 {
			break
		}
	}
	switch n.state {
	case nodeCommitted:
		for _, b := range n.commitRecords(w.piece) {
			w.add(b.typ, b.payload)
		}
	case nodeIncomplete:
		r := closeRecord{turn: n.number, time: n.ended}
		w.add(typeClose, r.append(nil))
	}
}

type typed struct {
	typ     uint8
	payload []byte
}

// openRecords returns the records that begin a turn.
func (n *node) openRecords(piece int) []typed {
	data := append(appendTokens(nil, n.input), n.body...)
	list, tail := split(data, piece)
	r := openRecord{
		turn: n.number, parent: n.parent, inexact: n.inexact, keep: n.keep, time: n.created, seed: n.seed, key: n.key, digest: n.digest,
		input: uint32(len(n.input)), body: uint32(len(n.body)), parts: uint32(len(list)), tail: tail,
	}
	return append(list, typed{typeOpen, r.append(nil)})
}

// commitRecords returns the records that end a turn whose fields are set.
func (n *node) commitRecords(piece int) []typed {
	data := append([]byte(n.finish), n.result...)
	list, tail := split(data, piece)
	r := commitRecord{
		turn: n.number, inexact: n.inexact, tokens: uint32(len(n.drawn)), length: n.keep + uint32(len(n.input)+len(n.drawn)), depth: n.depth,
		time: n.ended, finish: uint8(len(n.finish)), result: uint32(len(n.result)), parts: uint32(len(list)), tail: tail,
	}
	return append(list, typed{typeCommit, r.append(nil)})
}

// split cuts data into parts of piece bytes, and a tail that goes with the record itself.
func split(data []byte, piece int) (parts []typed, tail []byte) {
	for i := uint32(0); len(data) > piece; i++ {
		r := partRecord{index: i, bytes: data[:piece]}
		parts = append(parts, typed{typePart, r.append(nil)})
		data = data[piece:]
	}
	return parts, data
}
