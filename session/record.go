package session

import (
	"encoding/binary"
	"errors"

	"github.com/holdfast-run/holdfast/tokenlog"
)

// Types of records. docs/FORMATS.md has their bytes.
const (
	typeCreate uint8 = iota + 1 // the base
	typeOpen
	typeStep
	typeCommit
	typeClose // the turn that is open is incomplete
	typeRewind
	typeMeta
	typePart // bytes that belong to the open or commit record behind it
	typeEnd  // the owner's last
)

// version of the records. A reader refuses a higher one and reads any minor: a
// minor makes a record's head longer, and its readers take what is not there as zero.
const version = 1

func kindOf(typ uint8) tokenlog.Kind { return tokenlog.Kind{Type: typ, Version: version} }

var le = binary.LittleEndian

// Bytes of the heads, which begin with their own length (2).
const (
	headCreate = 164
	headOpen   = 76
	headStep   = 20
	headCommit = 36
	headClose  = 16
	headRewind = 32
	headMeta   = 20
	headPart   = 8
	headEnd    = 16
)

// Flags of heads.
const (
	flagInexact = 1 << iota
	flagPinned
	flagParked
)

func flag(set bool, bit uint8) uint8 {
	if set {
		return bit
	}
	return 0
}

// head begins a record of a type with a head of n bytes, behind b.
func head(b []byte, n uint16, one, two uint8) []byte {
	return append(le.AppendUint16(b, n), one, two)
}

// createRecord is a session's first.
type createRecord struct {
	durability   Durability
	pinned       bool
	created, ttl int64 // ns
	parent       ID
	parentHead   uint32
	key          [16]byte // of the idempotency key; zero for none
	model        *Model
	principal    string
}

func (r *createRecord) append(b []byte) []byte {
	b = head(b, headCreate, uint8(r.durability), flag(r.pinned, flagPinned))
	b = le.AppendUint32(b, r.parentHead)
	b = le.AppendUint64(b, uint64(r.created))
	b = le.AppendUint64(b, uint64(r.ttl))
	b = append(b, r.parent[:]...)
	b = append(b, r.key[:]...)
	b = append(b, r.model.Weights[:]...)
	b = append(b, r.model.Tokenizer[:]...)
	b = append(b, r.model.Template[:]...)
	b = le.AppendUint16(b, uint16(len(r.model.Class)))
	b = le.AppendUint16(b, uint16(len(r.principal)))
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0)
	b = append(b, r.model.Class...)
	return append(b, r.principal...)
}

// openRecord begins a turn. Its input and body begin in the parts before it, if
// there are any; tail is what is in the record itself.
type openRecord struct {
	turn, parent uint32
	inexact      bool // the path, this turn included
	keep         uint32
	time         int64
	seed         uint64
	key, digest  [16]byte
	input, body  uint32 // tokens, bytes
	parts        uint32
	tail         []byte
}

func (r *openRecord) append(b []byte) []byte {
	b = head(b, headOpen, flag(r.inexact, flagInexact), 0)
	b = le.AppendUint32(b, r.turn)
	b = le.AppendUint32(b, r.parent)
	b = le.AppendUint32(b, r.keep)
	b = le.AppendUint64(b, uint64(r.time))
	b = le.AppendUint64(b, r.seed)
	b = append(b, r.key[:]...)
	b = append(b, r.digest[:]...)
	b = le.AppendUint32(b, r.input)
	b = le.AppendUint32(b, r.body)
	b = le.AppendUint32(b, r.parts)
	return append(b, r.tail...)
}

// stepRecord has tokens that were drawn for the open turn. Behind them is a place
// for the state of a grammar.
type stepRecord struct {
	turn   uint32
	first  uint32 // tokens of the turn before these
	tokens []byte // 4 bytes each
	state  []byte
}

func (r *stepRecord) append(b []byte) []byte {
	b = head(b, headStep, 0, 0)
	b = le.AppendUint32(b, r.turn)
	b = le.AppendUint32(b, r.first)
	b = le.AppendUint32(b, uint32(len(r.tokens)/4))
	b = le.AppendUint32(b, uint32(len(r.state)))
	b = append(b, r.tokens...)
	return append(b, r.state...)
}

// commitRecord makes the open turn the head.
type commitRecord struct {
	turn    uint32
	inexact bool
	tokens  uint32 // drawn ones that count
	length  uint32 // tokens of the history then
	depth   uint32 // turns on the path then
	time    int64
	finish  uint8  // bytes
	result  uint32 // bytes
	parts   uint32
	tail    []byte
}

func (r *commitRecord) append(b []byte) []byte {
	b = head(b, headCommit, flag(r.inexact, flagInexact), r.finish)
	b = le.AppendUint32(b, r.turn)
	b = le.AppendUint32(b, r.tokens)
	b = le.AppendUint32(b, r.length)
	b = le.AppendUint32(b, r.depth)
	b = le.AppendUint64(b, uint64(r.time))
	b = le.AppendUint32(b, r.result)
	b = le.AppendUint32(b, r.parts)
	return append(b, r.tail...)
}

type closeRecord struct {
	turn uint32
	time int64
}

func (r *closeRecord) append(b []byte) []byte {
	b = le.AppendUint32(head(b, headClose, 0, 0), r.turn)
	return le.AppendUint64(b, uint64(r.time))
}

// rewindRecord makes a committed turn, or the beginning, the head.
type rewindRecord struct {
	head          uint32
	inexact       bool
	next          uint32 // number of the next turn
	length, depth uint32
	time          int64
}

func (r *rewindRecord) append(b []byte) []byte {
	b = head(b, headRewind, flag(r.inexact, flagInexact), 0)
	b = le.AppendUint32(b, r.head)
	b = le.AppendUint32(b, r.next)
	b = le.AppendUint32(b, r.length)
	b = le.AppendUint32(b, r.depth)
	b = le.AppendUint32(b, 0)
	return le.AppendUint64(b, uint64(r.time))
}

type metaRecord struct {
	pinned, parked bool
	ttl, time      int64
}

func (r *metaRecord) append(b []byte) []byte {
	b = head(b, headMeta, flag(r.pinned, flagPinned)|flag(r.parked, flagParked), 0)
	b = le.AppendUint64(b, uint64(r.ttl))
	return le.AppendUint64(b, uint64(r.time))
}

// partRecord has the index-th piece of what the next open or commit record says.
type partRecord struct {
	index uint32
	bytes []byte
}

func (r *partRecord) append(b []byte) []byte {
	return append(le.AppendUint32(head(b, headPart, 0, 0), r.index), r.bytes...)
}

// endRecord says why and when a session ended, and whose it was.
type endRecord struct {
	time      int64
	principal string
}

func (r *endRecord) append(b []byte) []byte {
	b = head(b, headEnd, 0, 0)
	b = le.AppendUint64(b, uint64(r.time))
	b = le.AppendUint32(b, uint32(len(r.principal)))
	return append(b, r.principal...)
}

var errMalformed = errors.New("malformed")

// fields reads a record: its head, as far as it goes and zeros behind, then what follows.
type fields struct {
	head, rest []byte
	short      bool // something did not fit
}

// parse returns the fields of a payload whose head has n bytes in this version.
func parse(payload []byte, n int) (f fields, one, two uint8) {
	if len(payload) < 4 {
		return fields{short: true, head: make([]byte, n)}, 0, 0
	}
	size := int(le.Uint16(payload))
	if size < 4 || size > len(payload) {
		return fields{short: true, head: make([]byte, n)}, 0, 0
	}
	f.head, f.rest = payload[:size], payload[size:]
	if size < n { // an older minor
		f.head = append(make([]byte, 0, n), f.head...)[:n]
	}
	one, two = f.head[2], f.head[3]
	f.head = f.head[4:]
	return f, one, two
}

func (f *fields) u32() (v uint32) {
	v, f.head = le.Uint32(f.head), f.head[4:]
	return v
}

func (f *fields) u64() (v uint64) {
	v, f.head = le.Uint64(f.head), f.head[8:]
	return v
}

func (f *fields) u16() (v uint16) {
	v, f.head = le.Uint16(f.head), f.head[2:]
	return v
}

func (f *fields) bytes(dst []byte) { f.head = f.head[copy(dst, f.head):] }

// take returns the next n bytes behind the head.
func (f *fields) take(n uint64) []byte {
	if n > uint64(len(f.rest)) {
		f.short = true
		return nil
	}
	b := f.rest[:n]
	f.rest = f.rest[n:]
	return b
}

func (f *fields) err() error {
	if f.short {
		return errMalformed
	}
	return nil
}

func (r *createRecord) parse(b []byte) error {
	f, durability, flags := parse(b, headCreate)
	r.durability, r.pinned = Durability(durability), flags&flagPinned != 0
	r.parentHead = f.u32()
	r.created, r.ttl = int64(f.u64()), int64(f.u64())
	f.bytes(r.parent[:])
	f.bytes(r.key[:])
	r.model = new(Model)
	f.bytes(r.model.Weights[:])
	f.bytes(r.model.Tokenizer[:])
	f.bytes(r.model.Template[:])
	class, principal := uint64(f.u16()), uint64(f.u16())
	f.short = f.short || !r.durability.known() || r.ttl < 0
	r.model.Class, r.principal = string(f.take(class)), string(f.take(principal))
	return f.err()
}

func (r *openRecord) parse(b []byte) error {
	f, flags, _ := parse(b, headOpen)
	r.inexact = flags&flagInexact != 0
	r.turn, r.parent, r.keep = f.u32(), f.u32(), f.u32()
	r.time, r.seed = int64(f.u64()), f.u64()
	f.bytes(r.key[:])
	f.bytes(r.digest[:])
	r.input, r.body, r.parts = f.u32(), f.u32(), f.u32()
	f.short = f.short || r.turn == 0 || r.turn >= maxTurn || r.parent >= r.turn
	r.tail = f.rest
	return f.err()
}

func (r *stepRecord) parse(b []byte) error {
	f, _, _ := parse(b, headStep)
	r.turn, r.first = f.u32(), f.u32()
	tokens, state := uint64(f.u32()), uint64(f.u32())
	r.tokens, r.state = f.take(4*tokens), f.take(state)
	return f.err()
}

func (r *commitRecord) parse(b []byte) error {
	f, flags, finish := parse(b, headCommit)
	r.inexact, r.finish = flags&flagInexact != 0, finish
	r.turn, r.tokens, r.length, r.depth = f.u32(), f.u32(), f.u32(), f.u32()
	r.time, r.result, r.parts = int64(f.u64()), f.u32(), f.u32()
	r.tail = f.rest
	return f.err()
}

func (r *closeRecord) parse(b []byte) error {
	f, _, _ := parse(b, headClose)
	r.turn, r.time = f.u32(), int64(f.u64())
	return f.err()
}

func (r *rewindRecord) parse(b []byte) error {
	f, flags, _ := parse(b, headRewind)
	r.inexact = flags&flagInexact != 0
	r.head, r.next, r.length, r.depth = f.u32(), f.u32(), f.u32(), f.u32()
	_ = f.u32()
	r.time = int64(f.u64())
	f.short = f.short || r.next <= r.head || r.next > maxTurn
	return f.err()
}

func (r *metaRecord) parse(b []byte) error {
	f, flags, _ := parse(b, headMeta)
	r.pinned, r.parked = flags&flagPinned != 0, flags&flagParked != 0
	r.ttl, r.time = int64(f.u64()), int64(f.u64())
	f.short = f.short || r.ttl < 0
	return f.err()
}

func (r *partRecord) parse(b []byte) error {
	f, _, _ := parse(b, headPart)
	r.index, r.bytes = f.u32(), f.rest
	return f.err()
}

func (r *endRecord) parse(b []byte) error {
	f, _, _ := parse(b, headEnd)
	r.time = int64(f.u64())
	r.principal = string(f.take(uint64(f.u32())))
	return f.err()
}
