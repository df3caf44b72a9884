package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/zeebo/xxh3"

	"github.com/holdfast-run/holdfast/internal/testkit/vfstest"
	"github.com/holdfast-run/holdfast/internal/vfs"
)

// small makes segments that are full soon.
var small = Options{SegmentBytes: 32 * pageSize, MaxBytes: 400 * 32 * pageSize}

// block returns the n-th block: all of it follows from its number.
func block(n int) Block {
	b, ok := made.Load(n)
	if !ok {
		b, _ = made.LoadOrStore(n, makeBlock(n))
	}
	return b.(Block)
}

var made sync.Map

func makeBlock(n int) Block {
	rng := rand.New(rand.NewPCG(uint64(n), 3))
	b := Block{Key: key(n), Parent: key(n - 1).Hash, Root: key(1 << 30).Hash, Tokens: make([]int32, 1+rng.IntN(40))}
	if n%50 == 7 {
		b.Tokens = make([]int32, 1200) // a header of two pages
	}
	for i := range b.Tokens {
		b.Tokens[i] = rng.Int32() - 1<<30
	}
	b.Payload = make([]byte, rng.IntN(3*pageSize))
	for i := range b.Payload {
		b.Payload[i] = byte(rng.Uint32())
	}
	return b
}

func key(n int) Key {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], uint64(n))
	k := Key{Kind: uint8(n % 3)}
	for i := range 2 {
		sum := xxh3.Hash128Seed(b[:], uint64(i)).Bytes()
		copy(k.Hash[16*i:], sum[:])
	}
	return k
}

func blocks(numbers ...int) (list []Block) {
	for _, n := range numbers {
		list = append(list, block(n))
	}
	return list
}

func span(from, to int) (list []Block) {
	for n := from; n < to; n++ {
		list = append(list, block(n))
	}
	return list
}

func mustOpen(t testing.TB, fs vfs.FS, o Options) *Store {
	t.Helper()
	s, err := Open(fs, "kv", o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustClose(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func mustPut(t testing.TB, s *Store, list []Block) {
	t.Helper()
	if err := s.Put(list); err != nil {
		t.Fatal(err)
	}
}

var buffers = sync.Pool{New: func() any { return new([]byte) }}

// read reads a block and compares it with what was put.
func read(t testing.TB, s *Store, b Block) error {
	t.Helper()
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	if len(*buf) < len(b.Payload) {
		*buf = make([]byte, len(b.Payload))
	}
	dst := (*buf)[:len(b.Payload)]
	err := s.Read(b.Key, b.Tokens, dst)
	if err == nil && !bytes.Equal(dst, b.Payload) {
		t.Fatalf("block %x: wrong bytes", b.Key.Hash[:4])
	}
	return err
}

func mustRead(t testing.TB, s *Store, list []Block) {
	t.Helper()
	for _, b := range list {
		if err := read(t, s, b); err != nil || !s.Has(b.Key) {
			t.Fatalf("block %x: %v, has %v", b.Key.Hash[:4], err, s.Has(b.Key))
		}
	}
}

func mustMiss(t testing.TB, s *Store, list []Block) {
	t.Helper()
	for _, b := range list {
		if err := read(t, s, b); err != ErrMissing || s.Has(b.Key) {
			t.Fatalf("block %x: %v, has %v", b.Key.Hash[:4], err, s.Has(b.Key))
		}
	}
}

// all is of every part of small stores: what they hold is what they should.
func check(t testing.TB, s *Store) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	blocks, pages := map[uint32]int{}, map[uint32]int64{}
	for fp, p := range s.index {
		if s.lives[p.segment()] == nil {
			t.Fatalf("%x is in a segment that is not in use", fp)
		}
		blocks[p.segment()]++
		pages[p.segment()] += int64(p.pages())
	}
	names := map[string]bool{}
	var total int64
	name := func(n string) {
		if names[n] {
			t.Fatalf("%s has two uses", n)
		}
		names[n] = true
		f, err := s.fs.Open(s.path(n), 0)
		if err != nil {
			return // a fault
		}
		size, _ := f.Size()
		total += size
		f.Close()
	}
	for _, g := range s.segments {
		if g.blocks != blocks[g.id] || g.pages != pages[g.id] || s.lives[g.id] != g || g.retired || g.readers != 0 {
			t.Fatalf("%s: %+v, but %d blocks, %d pages", g.name, g, blocks[g.id], pages[g.id])
		}
		name(g.name)
	}
	if len(s.segments) != len(s.lives) || s.retiring != 0 {
		t.Fatalf("%d segments, %d lives, %d retiring", len(s.segments), len(s.lives), s.retiring)
	}
	for _, n := range append(s.spares, s.surplus...) {
		name(n)
	}
	if s.w.current != nil && s.w.current != s.segments[len(s.segments)-1] {
		t.Fatal("the current segment is not the newest")
	}
}

func TestPutReadReopen(t *testing.T) {
	disk := vfstest.NewDisk()
	s := mustOpen(t, disk, small)
	mustMiss(t, s, blocks(1))
	first := span(0, 60)
	mustPut(t, s, first)
	mustRead(t, s, first)
	mustMiss(t, s, blocks(60))
	mustPut(t, s, append(span(50, 70), block(65)))
	if st := s.Stats(); st.Put != 70 || st.Skipped != 11 || st.Blocks != 70 || st.Segments < 5 || st.Corrupt != 0 {
		t.Errorf("%+v", st)
	}
	check(t, s)
	segments := s.Stats().Segments
	for range 3 { // clean ends lose nothing and waste nothing
		mustClose(t, s)
		s = mustOpen(t, disk, small)
		mustRead(t, s, span(0, 70))
		check(t, s)
	}
	mustPut(t, s, blocks(70))
	if st := s.Stats(); st.Segments > segments+1 || st.Moved != 0 {
		t.Errorf("%d segments, and %d before: %+v", st.Segments, segments, st)
	}
	mustClose(t, s)
	if err := s.Put(blocks(71)); !errors.Is(err, ErrClosed) {
		t.Errorf("put after close: %v", err)
	}
	if err := read(t, s, block(1)); err != ErrClosed || s.Has(key(1)) {
		t.Errorf("read after close: %v", err)
	}
	if err := s.Close(); err != ErrClosed {
		t.Errorf("close after close: %v", err)
	}
}

// TestReal is a store on a real file system, past its page cache.
func TestReal(t *testing.T) {
	dir := t.TempDir() + "/store/kv"
	open := func() *Store {
		s, err := Open(vfs.OS{}, dir, Options{SegmentBytes: 4 << 20, MaxBytes: 16 << 20})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open()
	large := block(1)
	large.Payload = bytes.Repeat([]byte("larger than what is written at once"), 60_000)
	mustPut(t, s, append([]Block{large}, span(2, 100)...))
	mustRead(t, s, append([]Block{large}, span(2, 100)...))
	mustPut(t, s, span(100, 150))
	mustRead(t, s, span(2, 150))
	var locked *vfs.LockedError
	if _, err := Open(vfs.OS{}, dir, Options{}); !errors.As(err, &locked) || locked.PID != os.Getpid() {
		t.Errorf("a second open: %v", err)
	}
	for n := 150; n < 2000; n += 50 { // around the limit
		mustPut(t, s, span(n, n+50))
		mustRead(t, s, blocks(n))
	}
	if st := s.Stats(); st.Files > st.MaxBytes || st.Evicted == 0 {
		t.Errorf("%+v", st)
	}
	mustClose(t, s)
	s = open()
	mustRead(t, s, span(1900, 2000))
	if r, err := s.Fsck(t.Context()); err != nil || r.Bad != 0 || r.Blocks != s.Stats().Blocks {
		t.Errorf("%+v, %v", r, err)
	}
	mustClose(t, s)
}

func TestOptions(t *testing.T) {
	for _, o := range []Options{
		{SegmentBytes: 100_000}, {SegmentBytes: 2 << 30}, {SegmentBytes: 8192}, {SegmentBytes: 1 << 20, MaxBytes: 3 << 20}, {MaxBytes: 100_000},
	} {
		if _, err := Open(vfstest.NewDisk(), "kv", o); err == nil || !strings.Contains(err.Error(), "take") {
			t.Errorf("%+v: %v", o, err)
		}
	}
	o, err := Options{MaxBytes: 1 << 30}.withDefaults()
	if err != nil || o.SegmentBytes != 128<<20 {
		t.Errorf("%+v, %v", o, err)
	}
}

func TestTooLarge(t *testing.T) {
	s := mustOpen(t, vfstest.NewDisk(), small)
	fits := Block{Key: key(1), Payload: make([]byte, 28*pageSize)} // and header, directory, index
	mustPut(t, s, []Block{fits})
	mustRead(t, s, []Block{fits})
	mustPut(t, s, append([]Block{{Key: key(2), Payload: fits.Payload}}, span(3, 9)...))
	for _, b := range []Block{
		{Key: key(20), Payload: make([]byte, 28*pageSize+1)}, {Key: key(20), Tokens: make([]int32, MaxTokens+1)},
	} {
		if err := s.Put([]Block{block(21), b}); err != ErrTooLarge || s.Has(key(20)) || s.Has(key(21)) {
			t.Errorf("put: %v", err)
		}
	}
	check(t, s)
	mustClose(t, s)
}
