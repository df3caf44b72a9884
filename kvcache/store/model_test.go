package store

import (
	"context"
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/holdfast-run/holdfast/internal/testkit/vfstest"
)

// TestModel does whatever can be done with a store on a disk without faults, beside a
// set of the blocks that it must hold: all that was put and is not dead. The store is
// large enough to evict nothing.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		disk := vfstest.NewDisk()
		o := Options{SegmentBytes: int64(rapid.IntRange(16, 40).Draw(rt, "pages")) * pageSize, MaxBytes: 64 << 20}
		s, err := Open(disk, "kv", o)
		if err != nil {
			rt.Fatal(err)
		}
		defer func() { s.Close() }()
		number := rapid.IntRange(0, 99)
		model := map[int]bool{}
		holds := func() {
			n := 0
			for i := range 100 {
				err := read(t, s, block(i))
				if want := model[i]; want != s.Has(key(i)) || want != (err == nil) || err != nil && err != ErrMissing {
					rt.Fatalf("block %d: %v, has %v, want %v", i, err, s.Has(key(i)), want)
				}
				if model[i] {
					n++
				}
			}
			if st := s.Stats(); st.Blocks != n || st.Evicted != 0 || st.Corrupt != 0 || st.Err != nil {
				rt.Fatalf("%d blocks: %+v", n, st)
			}
			check(t, s)
		}
		rt.Repeat(map[string]func(*rapid.T){
			"put": func(rt *rapid.T) {
				list := rapid.SliceOfN(number, 1, 30).Draw(rt, "blocks")
				if err := s.Put(blocks(list...)); err != nil {
					rt.Fatal(err)
				}
				for _, n := range list {
					model[n] = true
				}
			},
			"collect": func(rt *rapid.T) {
				live := rapid.SliceOfN(number, 0, 100).Draw(rt, "live")
				again := rapid.SliceOfN(number, 0, 5).Draw(rt, "again")
				keys := map[Key]bool{}
				for _, n := range live {
					keys[key(n)] = true
				}
				asked := map[Key]bool{}
				_, err := s.Collect(context.Background(), func(k Key) bool {
					if asked[k] {
						rt.Errorf("%x: asked twice", k.Hash[:4])
					}
					if asked[k] = true; len(asked) == 3 { // meanwhile others are put, and some again
						if err := s.Put(blocks(again...)); err != nil {
							rt.Error(err)
						}
						for _, n := range again {
							keys[key(n)], model[n] = true, true
						}
					}
					return keys[k]
				})
				if err != nil {
					rt.Fatal(err)
				}
				for n := range model {
					if !keys[key(n)] {
						delete(model, n)
					}
				}
			},
			"reopen": func(rt *rapid.T) {
				if err := s.Close(); err != nil {
					rt.Fatal(err)
				}
				if s, err = Open(disk, "kv", o); err != nil {
					rt.Fatal(err)
				}
				for i := range 100 { // what was dropped may come back, where it lay
					if s.Has(key(i)) {
						model[i] = true
					}
				}
			},
			"fsck": func(rt *rapid.T) {
				if r, err := s.Fsck(context.Background()); err != nil || r.Bad != 0 || r.Blocks != s.Stats().Blocks {
					rt.Fatalf("%+v, %v", r, err)
				}
			},
			"": func(*rapid.T) { holds() },
		})
	})
}

// TestSecondChance: the oldest segment gives way, but what was read stays.
func TestSecondChance(t *testing.T) {
	s := mustOpen(t, vfstest.NewDisk(), Options{SegmentBytes: 32 * pageSize, MaxBytes: 8 * 32 * pageSize})
	hot := span(0, 4)
	mustPut(t, s, hot)
	for n := 4; n < 400; n += 4 {
		mustPut(t, s, span(n, n+4))
		mustRead(t, s, hot)
	}
	if st := s.Stats(); st.Evicted < 200 || st.Moved < 20 || st.Files > st.MaxBytes || st.Corrupt != 0 {
		t.Errorf("%+v", st)
	}
	mustMiss(t, s, span(4, 100))
	mustPut(t, s, hot) // counts as use too
	check(t, s)
	mustClose(t, s)
}

// TestAllHot: when everything was read since, the store still makes room.
func TestAllHot(t *testing.T) {
	s := mustOpen(t, vfstest.NewDisk(), Options{SegmentBytes: 32 * pageSize, MaxBytes: 5 * 32 * pageSize})
	for n := range 200 {
		mustPut(t, s, blocks(n))
		mustRead(t, s, blocks(n))
		for i := range n {
			_ = read(t, s, block(i))
		}
	}
	check(t, s)
	mustClose(t, s)
}

// TestCompaction: what is live of sparse segments moves together, and their files are
// used again.
func TestCompaction(t *testing.T) {
	s := mustOpen(t, vfstest.NewDisk(), small)
	mustPut(t, s, span(0, 200))
	files := s.Stats().Files
	var live, dead []Block
	for n := range 200 {
		if n%10 == 0 {
			live = append(live, block(n))
		} else {
			dead = append(dead, block(n))
		}
	}
	isLive := func(k Key) bool { return slices.ContainsFunc(live, func(b Block) bool { return b.Key == k }) }
	c, err := s.Collect(t.Context(), isLive)
	if err != nil || c.Blocks != 180 || c.Segments < 10 || c.Bytes == 0 {
		t.Errorf("%+v, %v", c, err)
	}
	mustRead(t, s, live)
	mustMiss(t, s, dead)
	mustPut(t, s, span(200, 340))
	if st := s.Stats(); st.Files > files+small.SegmentBytes || st.Collected != 180 {
		t.Errorf("%d bytes of files, %d before: %+v", st.Files, files, st)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Collect(ctx, isLive); !errors.Is(err, context.Canceled) {
		t.Errorf("collect: %v", err)
	}
	if _, err := s.Fsck(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("fsck: %v", err)
	}
	check(t, s)
	mustClose(t, s)
}

// TestSmallerLimit: a store that has become too large for its limit, and segments of
// another size than new ones have.
func TestSmallerLimit(t *testing.T) {
	disk := vfstest.NewDisk()
	s := mustOpen(t, disk, small)
	mustPut(t, s, span(0, 200))
	mustClose(t, s)
	o := Options{SegmentBytes: 16 * pageSize, MaxBytes: 12 * 32 * pageSize}
	for range 2 {
		s = mustOpen(t, disk, o)
		if st := s.Stats(); st.Files > st.MaxBytes || st.Blocks == 0 || st.Corrupt != 0 {
			t.Errorf("%+v", st)
		}
		mustRead(t, s, span(180, 200))
		check(t, s)
		mustPut(t, s, span(180, 220))
		mustRead(t, s, span(200, 220))
		mustPut(t, s, span(300, 400))
		mustPut(t, s, span(180, 220))
		mustRead(t, s, span(200, 220))
		check(t, s)
		mustClose(t, s)
	}
	names, _ := disk.List("kv")
	if st := s.Stats(); int64(len(names)) > 1+o.MaxBytes/o.SegmentBytes {
		t.Errorf("%d files: %+v", len(names), st)
	}
}
