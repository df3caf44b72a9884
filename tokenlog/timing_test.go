package tokenlog

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/internal/testkit/vfstest"
	"github.com/holdfast-run/holdfast/internal/vfs"
)

// discard is a file system that keeps nothing: what is left is the log's own cost.
type discard struct{ vfs.FS }

func (d discard) Open(name string, flag vfs.Flag) (vfs.File, error) {
	f, err := d.FS.Open(name, flag)
	return discardFile{f}, err
}

type discardFile struct{ vfs.File }

func (discardFile) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }

func (discardFile) Sync() error { return nil }

// BenchmarkAppend is one record of 24 bytes, as a step appends for each sequence,
// with a writer that goes beside.
func BenchmarkAppend(b *testing.B) {
	l, err := Open(discard{vfstest.NewDisk()}, "log", Options{}, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	payload := make([]byte, 24)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := l.Append(id(i%64), kind, payload); err == ErrFull {
			if err := l.WaitForRoom(context.Background()); err != nil {
				b.Fatal(err)
			}
		} else if err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCommit appends a step's records of 32 sequences and waits for them, on a
// real file system, as it is and with syncs that take longer. p50 and p99 are of the
// time from the first append to the end of the wait.
func BenchmarkCommit(b *testing.B) {
	for _, slow := range []time.Duration{0, time.Millisecond, 5 * time.Millisecond, 20 * time.Millisecond} {
		b.Run(fmt.Sprintf("sync+%v", slow), func(b *testing.B) {
			l := openReal(b, slow)
			defer l.Close()
			var times []time.Duration
			for b.Loop() {
				start := time.Now()
				if err := l.Wait(context.Background(), step(b, l)); err != nil {
					b.Fatal(err)
				}
				times = append(times, time.Since(start))
			}
			report(b, times)
		})
	}
}

// BenchmarkSteps is a loop of 5 ms a step with 32 sequences that does not wait for
// its records: added is what a step takes above that, lag how long after its append
// a step's records were durable.
func BenchmarkSteps(b *testing.B) {
	const period = 5 * time.Millisecond
	for _, slow := range []time.Duration{0, time.Millisecond, 5 * time.Millisecond, 20 * time.Millisecond} {
		b.Run(fmt.Sprintf("sync+%v", slow), func(b *testing.B) {
			l := openReal(b, slow)
			defer l.Close()
			var added, lags []time.Duration
			type pending struct {
				lsn LSN
				at  time.Time
			}
			var waiting []pending
			for b.Loop() {
				start := time.Now()
				lsn := step(b, l)
				l.Flush()
				added = append(added, time.Since(start))
				waiting = append(waiting, pending{lsn, start})
				for time.Since(start) < period {
					for len(waiting) > 0 && waiting[0].lsn < l.Durable() {
						lags = append(lags, time.Since(waiting[0].at))
						waiting = waiting[1:]
					}
					time.Sleep(50 * time.Microsecond) // the step's own work
				}
			}
			slices.Sort(lags)
			slices.Sort(added)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(milliseconds(added[len(added)*99/100]), "added-p99-ms")
			if len(lags) > 0 {
				b.ReportMetric(milliseconds(lags[len(lags)/2]), "lag-p50-ms")
				b.ReportMetric(milliseconds(lags[len(lags)*99/100]), "lag-p99-ms")
			}
		})
	}
}

// BenchmarkOpen replays a log of 600,000 records.
func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir() + "/log"
	l, err := Open(vfs.OS{}, dir, Options{}, nil)
	if err != nil {
		b.Fatal(err)
	}
	payload := make([]byte, 24)
	for i := range 600_000 {
		for {
			_, err := l.Append(id(i%10_000), kind, payload)
			if err == nil {
				break
			}
			if err := l.WaitForRoom(context.Background()); err != nil {
				b.Fatal(err)
			}
		}
	}
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		n := 0
		l, err := Open(vfs.OS{}, dir, Options{}, func(Record) error { n++; return nil })
		if err != nil || n != 600_000 {
			b.Fatal(n, err)
		}
		b.SetBytes(l.Recovery().Bytes)
		l.Close()
	}
}

func openReal(b *testing.B, slow time.Duration) *Log {
	b.Helper()
	l, err := Open(vfstest.Slow(vfs.OS{}, slow), b.TempDir()+"/log", Options{}, nil)
	if err != nil {
		b.Fatal(err)
	}
	for l.Status().Spares < spares { // else the first batches wait for them
		time.Sleep(time.Millisecond)
	}
	return l
}

// step appends a record of each of 32 sequences and returns the last's LSN.
func step(b *testing.B, l *Log) (lsn LSN) {
	var payload [24]byte
	for i := range 32 {
		var err error
		if lsn, err = l.Append(id(i), kind, payload[:]); err != nil {
			b.Fatal(err)
		}
	}
	return lsn
}

func report(b *testing.B, times []time.Duration) {
	slices.Sort(times)
	b.ReportMetric(milliseconds(times[len(times)/2]), "p50-ms")
	b.ReportMetric(milliseconds(times[len(times)*99/100]), "p99-ms")
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
