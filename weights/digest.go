package weights

import (
	"encoding/binary"
	"fmt"

	"github.com/zeebo/blake3"
)

// Part is one of the files that hold a model's weights.
type Part struct{ p *part }

// Parts returns the files that hold the weights, in a fixed order.
func (f *File) Parts() []Part {
	all := make([]Part, len(f.parts))
	for i, p := range f.parts {
		all[i] = Part{p}
	}
	return all
}

// Path returns the file's path.
func (p Part) Path() string { return p.p.path }

// Digest returns the BLAKE3 of the whole file. It is computed on the first call
// (about 0.8 GB/s on one core from the page cache; else the disk's pace) and
// remembered, a failure too; concurrent calls wait for the one that computes.
// It reads the file rather than the mapping: a cold page then costs a system
// call, which lets other goroutines run, and the hash leaves no pages mapped.
//
// A cache across processes, keyed by inode, size and times, is the caller's.
func (p Part) Digest() ([32]byte, error) { return p.p.sum() }

// Digest returns what DigestOf makes of the digests of all parts.
func (f *File) Digest() ([32]byte, error) {
	sums := make([][32]byte, len(f.parts))
	for i, p := range f.parts {
		var err error
		if sums[i], err = p.sum(); err != nil {
			return [32]byte{}, err
		}
	}
	return f.DigestOf(sums), nil
}

// DigestOf returns the digest of the model, given those of its parts in their
// order: of one GGUF file used as it is, that file's own. Else it covers all
// parts, a folder's config.json, and what Recast made of the tensors
// (docs/FORMATS.md). Names of files do not matter.
func (f *File) DigestOf(parts [][32]byte) [32]byte {
	if len(parts) == 1 && !f.Folder() && f.recast == nil {
		return parts[0]
	}
	h := blake3.New()
	text := func(s []byte) {
		h.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(s))))
		h.Write(s)
	}
	text([]byte("holdfast model 1"))
	text(f.texts[fileConfig])
	h.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(parts))))
	for _, sum := range parts {
		h.Write(sum[:])
	}
	for _, r := range f.recast {
		text(fmt.Appendf(nil, "%s %s %d %t %s", r.Name, r.From, r.Interleave, r.AddOne, r.Type))
	}
	return [32]byte(h.Sum(nil))
}
