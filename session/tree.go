package session

import (
	"slices"
	"sort"
	"time"

	"github.com/holdfast-run/holdfast/tokenlog"
)

// tree is a session's turns in memory. Between two calls it equals what the log has
// of the session, or should have.
type tree struct {
	create createRecord
	sum    summary
	nodes  []*node // by number
	extras []extra
	parts  []byte // of the record that comes
	count  uint32 // parts
	size   int    // bytes of the tree as records, about
}

// node is a turn. A committed one never changes: forks share it.
type node struct {
	number, parent uint32
	keep           uint32
	length, depth  uint32 // of the history with this turn: tokens, turns; once committed
	inexact        bool   // the path up to here
	state          nodeState
	created, ended int64 // ns; of the commit or the close
	seed           uint64
	key, digest    [16]byte
	input, drawn   []int32
	body, result   []byte
	grammar        []byte // state behind the last token; opaque
	finish         string
}

type nodeState uint8

const (
	nodeOpen nodeState = iota
	nodeCommitted
	nodeIncomplete
)

// extra is a record of a skippable type that this program does not know.
type extra struct {
	after   uint32 // the last turn that had begun before it
	kind    tokenlog.Kind
	payload []byte
}

// recordCost is what a turn costs in the log beside its tokens and bytes.
const recordCost = 512

func (n *node) size() int {
	return recordCost + 4*len(n.input) + 4*len(n.drawn) + len(n.body) + len(n.result)
}

// node returns a turn, nil if there is none.
func (t *tree) node(number uint32) *node {
	i := sort.Search(len(t.nodes), func(i int) bool { return t.nodes[i].number >= number })
	if i < len(t.nodes) && t.nodes[i].number == number {
		return t.nodes[i]
	}
	return nil
}

// committed returns a turn that can be a head; the beginning is the root.
func (t *tree) committed(number uint32) *node {
	if number == 0 {
		return &root
	}
	if n := t.node(number); n != nil && n.state == nodeCommitted {
		return n
	}
	return nil
}

// root stands for the beginning: no tokens, no turns.
var root = node{state: nodeCommitted}

// path returns the turns from the first one to a committed one.
func (t *tree) path(head uint32) (path []*node) {
	for n := t.node(head); n != nil; n = t.node(n.parent) {
		path = append(path, n)
	}
	slices.Reverse(path)
	return path
}

// tokens returns the history of a committed turn, in memory of its own.
func (t *tree) tokens(head uint32) []int32 {
	path := t.path(head)
	longest := 0
	for _, n := range path {
		longest = max(longest, int(n.length))
	}
	history := make([]int32, 0, longest)
	for _, n := range path {
		history = append(append(history[:n.keep], n.input...), n.drawn...)
	}
	return history
}

// apply takes the next record; the first makes the session.
func (t *tree) apply(kind tokenlog.Kind, payload []byte) error {
	if t.create.durability == 0 && kind.Type != typeCreate {
		return unreadable(kind, errMalformed)
	}
	if ok, err := known(kind); err != nil {
		return err
	} else if !ok {
		t.extras = append(t.extras, extra{t.sum.next - 1, kind, slices.Clone(payload)})
		t.size += recordCost + len(payload)
		return nil
	}
	return unreadable(kind, t.take(kind.Type, payload))
}

func (t *tree) take(typ uint8, payload []byte) error {
	switch typ {
	case typeCreate:
		if t.create.durability != 0 {
			return errMalformed // the second
		}
		var r createRecord
		if err := r.parse(payload); err != nil {
			return err
		}
		t.create = r
		t.sum.created(&t.create)
		t.size = recordCost
		return nil
	case typeOpen:
		return t.takeOpen(payload)
	case typeStep:
		return t.takeStep(payload)
	case typeCommit:
		return t.takeCommit(payload)
	case typeClose:
		var r closeRecord
		if err := r.parse(payload); err != nil || r.turn == 0 || r.turn != t.sum.open {
			return errMalformed
		}
		t.close(r.time)
		return nil
	case typeRewind:
		return t.takeRewind(payload)
	case typeMeta:
		var r metaRecord
		if err := r.parse(payload); err != nil {
			return err
		}
		t.sum.changed(&r)
		return nil
	case typePart:
		var r partRecord
		if err := r.parse(payload); err != nil || r.index != 0 && r.index != t.count {
			return errMalformed
		}
		t.parts, t.count = append(t.parts[:t.keptParts(r.index)], r.bytes...), r.index+1
		return nil
	}
	return errMalformed // an end is nobody's to read
}

// keptParts returns the bytes of the parts that stay when part index comes: with the first all are
// new, because what came before belongs to a record that was never written.
func (t *tree) keptParts(index uint32) int {
	if index == 0 {
		return 0
	}
	return len(t.parts)
}

// join returns what a record says whose first bytes are in parts, in memory of its own.
func (t *tree) join(parts uint32, tail []byte) ([]byte, error) {
	whole := slices.Clone(tail)
	if parts > 0 {
		if parts != t.count {
			return nil, errMalformed
		}
		whole = append(t.parts, tail...)
	}
	t.parts, t.count = nil, 0
	return whole, nil
}

func (t *tree) takeOpen(payload []byte) error {
	var r openRecord
	if err := r.parse(payload); err != nil {
		return err
	}
	parent := t.committed(r.parent)
	if parent == nil || r.turn < t.sum.next || r.keep > parent.length {
		return errMalformed
	}
	data, err := t.join(r.parts, r.tail)
	if err != nil || uint64(len(data)) != 4*uint64(r.input)+uint64(r.body) {
		return errMalformed
	}
	if t.sum.open != 0 {
		t.close(r.time)
	}
	t.add(&r, parent, readTokens(nil, data[:4*r.input]), data[4*r.input:])
	return nil
}

// add begins a turn.
func (t *tree) add(r *openRecord, parent *node, input []int32, body []byte) *node {
	n := &node{
		number: r.turn, parent: r.parent, keep: r.keep, depth: parent.depth + 1, inexact: r.inexact, created: r.time,
		seed: r.seed, key: r.key, digest: r.digest, input: input, body: body,
	}
	t.nodes = append(t.nodes, n)
	t.size += n.size()
	t.sum.opened(r)
	return n
}

func (t *tree) takeStep(payload []byte) error {
	var r stepRecord
	if err := r.parse(payload); err != nil {
		return err
	}
	n := t.node(r.turn)
	if n == nil || r.turn != t.sum.open || int(r.first) != len(n.drawn) {
		return errMalformed
	}
	n.drawn = readTokens(n.drawn, r.tokens)
	n.grammar = slices.Clone(r.state)
	t.size += len(r.tokens)
	return nil
}

func (t *tree) takeCommit(payload []byte) error {
	var r commitRecord
	if err := r.parse(payload); err != nil {
		return err
	}
	n := t.node(r.turn)
	if n == nil || r.turn != t.sum.open || int(r.tokens) > len(n.drawn) || r.depth != n.depth || r.inexact != n.inexact ||
		uint64(r.length) != uint64(n.keep)+uint64(len(n.input))+uint64(r.tokens) {
		return errMalformed
	}
	data, err := t.join(r.parts, r.tail)
	if err != nil || uint64(len(data)) != uint64(r.finish)+uint64(r.result) {
		return errMalformed
	}
	t.commit(n, &r, string(data[:r.finish]), data[r.finish:])
	return nil
}

// commit makes the open turn history and head.
func (t *tree) commit(n *node, r *commitRecord, finish string, result []byte) {
	t.size += len(result) - 4*(len(n.drawn)-int(r.tokens))
	n.drawn = n.drawn[:r.tokens:r.tokens]
	n.length, n.ended, n.finish, n.result, n.state, n.grammar = r.length, r.time, finish, result, nodeCommitted, nil
	t.sum.committed(r)
}

// close makes the open turn incomplete.
func (t *tree) close(now int64) {
	n := t.node(t.sum.open)
	n.state, n.ended = nodeIncomplete, now
	t.sum.open = 0
}

func (t *tree) takeRewind(payload []byte) error {
	var r rewindRecord
	if err := r.parse(payload); err != nil {
		return err
	}
	n := t.committed(r.head)
	if n == nil || r.next < t.sum.next || r.length != n.length || r.depth != n.depth || r.inexact != n.inexact {
		return errMalformed
	}
	t.rewind(&r)
	return nil
}

func (t *tree) rewind(r *rewindRecord) {
	if t.sum.open != 0 {
		t.close(r.time)
	}
	t.sum.rewound(r)
}

func readTokens(dst []int32, b []byte) []int32 {
	dst = slices.Grow(dst, len(b)/4)
	for ; len(b) >= 4; b = b[4:] {
		dst = append(dst, int32(le.Uint32(b)))
	}
	return dst
}

func appendTokens(b []byte, tokens []int32) []byte {
	b = slices.Grow(b, 4*len(tokens))
	for _, t := range tokens {
		b = le.AppendUint32(b, uint32(t))
	}
	return b
}

// info shows a turn. running says that it is under way.
func (n *node) info(running bool) TurnInfo {
	state := TurnCommitted
	switch {
	case running:
		state = TurnOpen
	case n.state == nodeOpen:
		state = TurnInterrupted
	case n.state == nodeIncomplete:
		state = TurnIncomplete
	}
	return TurnInfo{
		ID: turnID(n.number), Parent: turnID(n.parent), State: state, Keep: int(n.keep), Input: n.input, Drawn: n.drawn,
		Body: n.body, Result: n.result, Seed: n.seed, Finish: n.finish, Inexact: n.inexact, Created: when(n.created),
	}
}

// when reads a time of a record.
func when(ns int64) time.Time { return time.Unix(0, ns).UTC() }
