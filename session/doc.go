// Package session keeps conversations as durable objects: a session is a tree of
// turns, its truth is a list of token IDs in a log (package tokenlog), and KV is
// nothing that it knows of.
//
//	m, err := session.Open(vfs.OS{}, dir, session.Options{})
//	info, err := m.Create(ctx, session.Spec{Principal: "alice", Durability: session.LevelTurn, Model: model})
//	s, err := m.Acquire(ctx, "alice", info.ID)             // the exclusive right to change it
//	turn, err := s.Begin(ctx, session.Begin{Keep: len(s.Tokens()), Input: ids, Seed: seed})
//	turn.Append(token); turn.Flush(); turn.Write()         // the step loop
//	err = turn.Await(ctx, 1)                               // before the client sees the first token
//	head, err := turn.Commit(ctx, session.Commit{Tokens: 1, Finish: "stop"})
//
// # What it promises
//
//   - At level `turn` a turn that Commit acknowledged is there after a power cut, with
//     the same bytes, as are Create, Fork, Rewind, Update, Delete and Import when they
//     have returned. At level `step` so is every token that Await let pass.
//   - A turn that was begun and not committed is found again as interrupted, with the
//     tokens that the log has: all that Await let pass at level `step`, all but the last
//     few at level `turn`. It can be resumed; what it drew is no history until it is committed.
//   - A disk that fails or is full fails no turn: the session goes on in memory, Durable
//     says false, and it is written again when the disk is back.
//   - Damage in the log costs one session, from one turn on, with a *DamagedError.
//   - A session is its principal's. To others it does not exist, on every verb.
//
// # How
//
// Of each session a few hundred bytes are in memory; its turns are read back from the log
// when somebody needs them, and kept in an LRU. While it is open its tree equals
// what the log has of it, so it can be written again as a few records at any time:
// after an outage, when it is parked, and when the log is compacted.
//
// The bytes are described in docs/FORMATS.md.
package session
