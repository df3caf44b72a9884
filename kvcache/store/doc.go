// Package store is the disk tier of KV blocks: blocks found by hash, in large
// segment files that describe themselves, each verified whenever it is read. It
// knows bytes and digests, not tensors.
//
//	s, err := store.Open(vfs.OS{}, dir, store.Options{MaxBytes: 64 << 30})
//	err = s.Put(blocks)               // durable when it returns nil
//	err = s.Read(key, tokens, dst)    // ErrMissing, *CorruptError: compute the block again
//	_, err = s.Collect(ctx, live)     // drops what nobody can reach
//
// # What it promises
//
//   - Read gives the bytes that were put under the key, or an error. A block that
//     is damaged, misplaced, stale or another's is counted, forgotten, and missing
//     from then on.
//   - A block that Put acknowledged survives a power cut. It goes when Collect
//     finds it dead, when it is evicted, or when the disk damages it.
//   - No call ends the process because a disk is full or fails. Put then gives an
//     error, what is stored stays readable, and writing begins again by itself.
//
// # How
//
// A batch is a directory of its blocks and then the blocks, written behind the
// batch before and made durable by one sync; only then its blocks are found. So
// only the last batch of a segment can be torn. When a segment is full it gets an
// index of all of it, so that a start reads one piece of each. A segment whose
// write or sync fails is never written again, but what it holds is read.
//
// After an end that was not clean, the last batch may be torn, or in the page
// cache only: what can be verified of it is written again, elsewhere. Writing goes
// on in the last segment after a clean end, and else in another.
//
// Segments are reused rather than removed: removing a large file stalls the syncs
// of others. At MaxBytes the oldest segment gives way. Of its blocks those that
// were read or put again since they were written get a second chance, up to half
// a segment: they move to the new one.
//
// Writes go past the page cache, so that the write meets its error. Reads go
// through it: what is warm comes four times faster, and what is cold almost as
// fast.
//
// The bytes are described in docs/FORMATS.md.
//
// # Caveats
//
// In memory a block is known by 64 bits of its key. Two keys that agree in them
// cannot both be stored; the one that is not is missing, never mistaken.
//
// Data that was dropped stays on the disk until its segment is written anew.
package store
