// Package tokenlog is the durable log under sessions: records of opaque bytes,
// each of one owner (a session), appended without waiting, made durable in
// groups, read back after anything that can happen to a machine. It knows bytes
// and digests, not tokens.
//
//	log, err := tokenlog.Open(vfs.OS{}, dir, tokenlog.Options{}, replay)
//	lsn, err := log.Append(owner, kind, payload)  // copies; never waits, allocates nothing
//	log.Flush()                                   // after the records of a step
//	err = log.Wait(ctx, lsn)                      // or compare lsn with log.Durable()
//
// # What it promises
//
//   - A record below Durable is read back with the same bytes after a power cut.
//   - An owner's records come back in order and without a hole, or the owner is
//     reported as damaged from the first missing one on. Other owners go on.
//   - No call ends the process because a disk is full or fails. The log then
//     stops being durable, says so (Status, Wait, Options.Notify), keeps what it
//     has accepted as far as its buffer goes (ErrFull), and goes on by itself when
//     the disk does.
//
// # How
//
// An LSN is a byte's place in one endless log. The log is cut into segments,
// files that were written full before use, so that a sync moves data and no
// metadata. One goroutine, the writer, does all writes and syncs: it takes what
// was appended since it last looked, as one batch, writes it behind the one
// before, and syncs. So there is never more than one batch in a segment that is
// not durable, which is what makes the end of the log certain: a bad batch with
// a good one behind it is damage, a bad batch with none is the torn end.
//
// A segment whose write or sync fails is never written again: the same batch, at
// the same LSN, goes to the next prepared segment. A later segment's first LSN is
// where the one before it ends.
//
// An owner's history begins with a base, and a new base replaces everything
// before it. Segments are therefore freed from the oldest on, once no living
// owner's history begins there; Compact rewrites those that do.
//
// The bytes are described in docs/FORMATS.md.
//
// # Caveats
//
// What is handed to a callback (Record.Payload) is valid until it returns. Only
// Options.Notify runs on the writer; it must not block nor call into the log
// other than Durable and Status.
package tokenlog
