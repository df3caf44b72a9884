//go:build !race

package server

import (
	"log/slog"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/api"
	"github.com/holdfast-run/holdfast/engine"
)

// endless gives the same piece for ever.
type endless struct{ Stream }

func (endless) Next() (engine.Delta, error) {
	return engine.Delta{Text: " the \"next\" word\n"}, nil
}

func benchStream(tb testing.TB, k *kind) *eventStream {
	s, err := New(Config{Worker: &fakeWorker{}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		tb.Fatal(err)
	}
	c := &completion{s: s, kind: k, id: newID(k.id), info: s.worker.Info(), start: time.Now(), job: &job{Options: &api.Options{}},
		generations: []generation{{stream: endless{}, prompt: &prompt{}}}, open: 1}
	return &eventStream{c: c, enc: newChunkEncoder(c), extendDeadline: func() error { return nil }}
}

// TestChunkAllocates pins a chunk of the steady state, from the worker's piece
// to the bytes that are written, to no allocation.
func TestChunkAllocates(t *testing.T) {
	for _, k := range []*kind{&chatKind, &textKind} {
		e := benchStream(t, k)
		buf := make([]byte, 4096)
		n := testing.AllocsPerRun(1000, func() {
			if _, err := e.Read(buf); err != nil {
				t.Fatal(err)
			}
		})
		if n != 0 {
			t.Errorf("%s: %v allocations a chunk", k.route, n)
		}
	}
}

func BenchmarkChunk(b *testing.B) {
	e := benchStream(b, &chatKind)
	buf := make([]byte, 4096)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := e.Read(buf); err != nil {
			b.Fatal(err)
		}
	}
}
