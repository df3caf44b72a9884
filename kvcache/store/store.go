package store

import (
	"errors"
	"fmt"
	"io"
	"path"
	"sync"
	"time"

	"github.com/holdfast-run/holdfast/internal/slab"
	"github.com/holdfast-run/holdfast/internal/vfs"
)

// Key names a block: its chained hash, which must be one of a good hash function,
// and the kind of the pool that it is of.
type Key struct {
	Hash [32]byte
	Kind uint8
}

// Block is a block to be stored. Parent is the hash of the block before it, Root
// the one of the chain's beginning; they are stored with it, for who looks at the
// files.
type Block struct {
	Key     Key
	Parent  [32]byte
	Root    [32]byte
	Tokens  []int32 // its token IDs, at most MaxTokens
	Payload []byte  // at most MaxPayload
}

// Options of a store. The zero value is usable.
type Options struct {
	// MaxBytes bounds the files of the store. It is at least four segments. The
	// default value is 16 GiB.
	MaxBytes int64
	// SegmentBytes is the size of new segment files, a multiple of 4096. The
	// default value is 256 MiB, or an eighth of MaxBytes if that is less.
	SegmentBytes int64
	// RetryEvery is how long the store does not write after writing failed. The
	// default value is 5 s.
	RetryEvery time.Duration
}

func (o Options) withDefaults() (Options, error) {
	if o.MaxBytes == 0 {
		o.MaxBytes = 16 << 30
	}
	if o.SegmentBytes == 0 {
		o.SegmentBytes = max(minSegment, min(256<<20, o.MaxBytes/8&^(pageSize-1)))
	}
	if o.RetryEvery == 0 {
		o.RetryEvery = 5 * time.Second
	}
	if o.SegmentBytes%pageSize != 0 || o.SegmentBytes < minSegment || o.SegmentBytes > maxSegment {
		return o, fmt.Errorf("kvcache/store: SegmentBytes is %d; take a multiple of %d from %d to %d", o.SegmentBytes, pageSize, minSegment, maxSegment)
	}
	if o.MaxBytes/4 < o.SegmentBytes {
		return o, fmt.Errorf("kvcache/store: MaxBytes is %d; take %d or more, four segments", o.MaxBytes, 4*o.SegmentBytes)
	}
	return o, nil
}

// Store is an open store. Has, Read, Stats and Fsck may be called at any time by
// any goroutine, beside one that calls Put and one that calls Collect. (More of
// those are safe, and wait for each other.) Nothing may be under way when Close is
// called.
type Store struct {
	fs      vfs.FS
	dir     string
	options Options
	lock    io.Closer

	collecting sync.Mutex // held by Collect; taken before writing
	writing    sync.Mutex // held while the files change; taken before mu
	w          writer

	mu       sync.RWMutex
	idle     sync.Cond           // a retired segment has lost its last reader
	index    map[uint64]place    // by fingerprint
	segments []*segment          // in use, the oldest first; the last may be written to
	lives    map[uint32]*segment // the same, by id
	spares   []string            // files of SegmentBytes that are free, the next first
	surplus  []string            // files that are no use
	retiring int                 // retired segments that are still read
	total    int64               // bytes of all files
	spared   map[uint64]struct{} // while collecting: put again meanwhile
	failed   error               // why nothing is written now
	retryAt  time.Time
	closed   bool
	stats    Stats // counters; the rest is filled in by Stats
}

// writer is what the holder of Store.writing uses.
type writer struct {
	current *segment // takes batches; nil: the next batch begins another
	direct  vfs.File // its file, for writing
	entries []entry  // all of its blocks
	end     uint32   // the page behind its last batch
	marked  bool     // its index knows all of that

	moving bool // compaction writes: nothing is evicted for it

	number uint64 // of the newest life
	lives  uint32 // since Open
	serial uint64 // of the newest file name
	named  bool   // the names of the files that Open found are durable

	memory *slab.Slab
	stage  []byte // page-aligned; gathers what is written
	staged int
	at     int64 // where in the file stage goes

	head    []byte              // a header, a directory or an index
	planned []entry             // of the batch that is being written
	seen    map[uint64]struct{} // fingerprints in that
}

// Has says whether a block is stored. It costs a look-up in memory.
func (s *Store) Has(k Key) bool {
	fp := k.fingerprint()
	s.mu.RLock()
	_, ok := s.index[fp]
	s.mu.RUnlock()
	return ok
}

// at returns the place of what is stored under a fingerprint.
func (s *Store) at(fp uint64) (place, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	p, ok := s.index[fp]
	return p, ok
}

// set makes a block be found at a place; the lock is held.
func (s *Store) set(fp uint64, p place) {
	s.drop(fp)
	s.index[fp] = p
	g := s.lives[p.segment()]
	g.blocks++
	g.pages += int64(p.pages())
}

// drop makes a block not be found; the lock is held.
func (s *Store) drop(fp uint64) {
	if p, ok := s.index[fp]; ok {
		delete(s.index, fp)
		g := s.lives[p.segment()]
		g.blocks--
		g.pages -= int64(p.pages())
	}
}

// forget makes a block not be found, if it still is at that place.
func (s *Store) forget(fp uint64, p place) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.forgetLocked(fp, p)
}

func (s *Store) forgetLocked(fp uint64, p place) bool {
	if now, ok := s.index[fp]; !ok || !now.same(p) {
		return false
	}
	s.drop(fp)
	return true
}

// holds says whether the block of an entry of g is found there.
func (s *Store) holds(g *segment, e *entry) (p place, ok bool) {
	p, ok = s.at(e.key.fingerprint())
	return p, ok && p.same(g.place(e))
}

// Stats is how a store is, and what it did since Open.
type Stats struct {
	Blocks   int   // that can be found
	Bytes    int64 // that those take on the disk
	Files    int64 // bytes of all files
	MaxBytes int64
	Segments int // files in use
	Spares   int // files ready to be used

	Put, Skipped  uint64 // blocks that were written, that were stored already
	WrittenBytes  uint64 // on the disk, moved blocks included
	Read, Missing uint64 // blocks that were read and verified, that were not stored
	ReadBytes     uint64 // of payload
	Corrupt       uint64 // blocks that did not verify, or could not be read
	Moved         uint64 // blocks written again by eviction, compaction and recovery
	Evicted       uint64 // blocks dropped to make room
	Collected     uint64 // blocks dropped because they were dead
	Damaged       int    // files that Open could not make sense of or not read
	Failures      uint64 // writes, syncs and other changes of files that failed
	Err           error  // why nothing is written now; nil: all is well
}

// Stats returns how the store is now.
func (s *Store) Stats() Stats {
	s.mu.RLock()
	defer s.mu.RUnlock()
	st := s.stats
	st.Blocks, st.Files, st.MaxBytes = len(s.index), s.total, s.options.MaxBytes
	st.Segments, st.Spares, st.Err = len(s.segments), len(s.spares), s.failed
	for _, g := range s.segments {
		st.Bytes += g.pages * pageSize
	}
	return st
}

// Close marks the end, so that the next Open goes on here, and gives the store back.
func (s *Store) Close() error {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return ErrClosed
	}
	s.closed = true
	s.mu.Unlock()
	return errors.Join(s.mark(false), s.release())
}

// release gives back what the store holds, without a word to the disk.
func (s *Store) release() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.closeCurrent()
	for _, g := range s.segments {
		g.file.Close()
	}
	s.index, s.segments, s.lives = nil, nil, nil
	return errors.Join(s.lock.Close(), s.w.memory.Close())
}

func (s *Store) path(name string) string { return path.Join(s.dir, name) }
