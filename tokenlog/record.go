package tokenlog

import "encoding/hex"

// Owner names whose record it is: a session's ID.
type Owner [16]byte

// String returns the owner in hexadecimal.
func (o Owner) String() string { return hex.EncodeToString(o[:]) }

// LSN is a record's place: the bytes of the log before it. It never changes and
// is never used twice for records that were durable; LSNs ascend in the order of
// appending. 0 is no record's.
type LSN uint64

// Kind is what a record's reader needs to know before it reads the payload. The
// log stores it and gives it no meaning.
type Kind struct {
	Type    uint8
	Version uint8
	// Skippable says that a reader that does not know Type may pass over the
	// record, and keeps it when it rewrites the owner. A record that is neither
	// known nor skippable makes its owner unreadable to that reader.
	Skippable bool
}

// Record is a record as it is read back.
type Record struct {
	LSN   LSN
	Owner Owner
	// Seq is the record's number among the owner's. With the owner it names the
	// record for good: Rewrite and Compact keep it. It ascends; where records
	// were dropped by a rewrite it has gaps.
	Seq  uint32
	Kind Kind
	// Base says that the owner's history begins here: whatever was read of the
	// owner before is replaced by this record and those that follow.
	Base bool
	// End says that the owner has no history any more.
	End     bool
	Payload []byte // valid until the callback that got it returns
}

// MaxPayload is the most bytes that a record may carry.
const MaxPayload = 1 << 20

// maxOwners bounds the living owners of a log: about 200 MB of memory.
const maxOwners = 1 << 21

// owner is what the log remembers of each living owner: about 100 bytes with its
// place in the map.
type owner struct {
	start   LSN    // of the base
	last    LSN    // of the newest record that is whole
	link    uint64 // its check
	seq     uint32 // its number; 0: none is whole
	damaged bool   // the records after that are lost
}
