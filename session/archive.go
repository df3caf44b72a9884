package session

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/zeebo/blake3"

	"github.com/holdfast-run/holdfast/tokenlog"
)

// An archive is a header, the records of a session, and a BLAKE3-256 of all that.
const (
	archiveMagic  = "HFsessio"
	archiveMajor  = 1
	archiveMinor  = 0
	archiveHeader = 16 // magic, major (2), minor (2), number of records (4)
	archiveEntry  = 8  // before each payload: its bytes (4), type, version, flags, 0
	archiveSum    = 32
)

// Export writes a session as an archive: its whole tree, without its principal and keys.
func (m *Manager) Export(ctx context.Context, principal string, id ID, w io.Writer) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var whole []byte
	err := m.read(principal, id, func(e *entry, t *tree) error {
		whole = t.archive(m.piece)
		return nil
	})
	if err == nil {
		_, err = w.Write(whole)
	}
	return err
}

// archive returns the tree as an archive.
func (t *tree) archive(piece int) []byte {
	bare := *t
	bare.create.principal, bare.create.key = "", [16]byte{}
	bare.nodes = make([]*node, len(t.nodes))
	for i, n := range t.nodes {
		copied := *n
		copied.key, copied.digest = [16]byte{}, [16]byte{}
		bare.nodes[i] = &copied
	}
	records := bare.records(piece)
	b := append(make([]byte, 0, t.size+archiveHeader+archiveSum), archiveMagic...)
	b = le.AppendUint16(b, archiveMajor)
	b = le.AppendUint16(b, archiveMinor)
	b = le.AppendUint32(b, uint32(len(records)))
	for _, r := range records {
		b = le.AppendUint32(b, uint32(len(r.Payload)))
		b = append(b, r.Kind.Type, r.Kind.Version, flag(r.Kind.Skippable, 1), 0)
		b = append(b, r.Payload...)
	}
	sum := blake3.Sum256(b)
	return append(b, sum[:]...)
}

// Import makes a session of an archive. It is the principal's, whatever spec says; a zero
// spec.Model takes the archive's, another must equal it: *ModelError. An archive
// that is not whole, or too large, is an *ArchiveError, and nothing of it is taken.
func (m *Manager) Import(ctx context.Context, principal string, r io.Reader, spec Spec) (Info, error) {
	spec.Principal = principal
	if err := spec.check(); err != nil {
		return Info{}, err
	}
	most := int64(2*m.limit + archiveHeader + archiveSum)
	whole, err := io.ReadAll(io.LimitReader(r, most+1))
	if err != nil {
		return Info{}, err
	}
	if int64(len(whole)) > most {
		return Info{}, &ArchiveError{fmt.Sprintf("it has more than %d bytes", most)}
	}
	t, err := m.unpack(whole)
	if err != nil {
		return Info{}, err
	}
	if spec.Model == (Model{}) {
		spec.Model = *t.create.model
	} else if differs := spec.Model.Differs(*t.create.model); len(differs) > 0 {
		return Info{}, &ModelError{differs}
	}
	e, repeated, err := m.newEntry(spec, t)
	if err != nil {
		return Info{}, err
	}
	if !repeated {
		m.write([]*entry{e}, e.tree.records(m.piece))
	}
	return m.made(ctx, e, repeated)
}

// unpack reads an archive into a tree that keeps this program's limits.
func (m *Manager) unpack(whole []byte) (*tree, error) {
	if len(whole) < archiveHeader+archiveSum || string(whole[:8]) != archiveMagic {
		return nil, &ArchiveError{"it is cut short, or none"}
	}
	if v := le.Uint16(whole[8:]); v != archiveMajor {
		return nil, &ArchiveError{fmt.Sprintf("its version is %d, this program knows %d", v, archiveMajor)}
	}
	body, sum := whole[:len(whole)-archiveSum], whole[len(whole)-archiveSum:]
	if want := blake3.Sum256(body); !bytes.Equal(sum, want[:]) {
		return nil, &ArchiveError{"its digest does not hold: it was damaged or cut short"}
	}
	t := new(tree)
	if err := t.unpack(body[archiveHeader:], le.Uint32(body[12:])); err != nil {
		return nil, &ArchiveError{err.Error()}
	}
	switch {
	case len(t.nodes) > m.o.MaxTurns:
		return nil, &ArchiveError{fmt.Sprintf("it has %d turns, %d are the most", len(t.nodes), m.o.MaxTurns)}
	case t.size > m.limit:
		return nil, &ArchiveError{fmt.Sprintf("it has %d bytes of turns, %d are the most", t.size, m.limit)}
	case len(t.create.model.Class) > maxName:
		return nil, &ArchiveError{fmt.Sprintf("its numerics class has more than %d bytes", maxName)}
	}
	for _, n := range t.nodes {
		if int64(n.keep)+int64(len(n.input))+int64(len(n.drawn)) > int64(m.o.MaxTokens) || len(n.body) > m.o.MaxBody || len(n.result) > m.o.MaxBody {
			return nil, &ArchiveError{fmt.Sprintf("%s has more than %d tokens, or more than %d bytes", turnID(n.number), m.o.MaxTokens, m.o.MaxBody)}
		}
	}
	return t, nil
}

func (t *tree) unpack(b []byte, count uint32) error {
	for range count {
		if len(b) < archiveEntry {
			return errMalformed
		}
		n := uint64(le.Uint32(b))
		kind := tokenlog.Kind{Type: b[4], Version: b[5], Skippable: b[6]&1 != 0}
		if b = b[archiveEntry:]; n > uint64(len(b)) {
			return errMalformed
		}
		if err := t.apply(kind, b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	if len(b) > 0 || t.create.durability == 0 {
		return errors.New("its records are not a session's")
	}
	return nil
}
