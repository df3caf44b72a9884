package tokenlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/holdfast-run/holdfast/internal/testkit/vfstest"
)

// TestConcurrentOwners: many appenders, readers and a compaction at once; every
// record is there afterwards, in its owner's order, and what was durable when Wait
// said so is on the disk.
func TestConcurrentOwners(t *testing.T) {
	const owners, each = 8, 150
	disk := vfstest.NewDisk()
	o := Options{SegmentBytes: 66 * pageSize, BufferBytes: 60 * pageSize}
	var notes atomic.Int64
	o.Notify = func() { notes.Add(1) }
	l, _ := mustOpen(t, disk, o)
	var work, done sync.WaitGroup
	stop := make(chan struct{})
	for n := range owners {
		work.Go(func() {
			for i := range each {
				payload := fmt.Appendf(nil, "%d %s", i, bytes.Repeat([]byte{'.'}, i*n))
				lsn, err := l.Append(id(n), kind, payload)
				for errors.Is(err, ErrFull) {
					if err := l.WaitForRoom(context.Background()); err != nil {
						t.Errorf("owner %d, waiting: %v", n, err)
						return
					}
					lsn, err = l.Append(id(n), kind, payload)
				}
				if err == nil && i%10 == n {
					if err = l.Wait(context.Background(), lsn); err == nil && l.Durable() <= lsn {
						t.Errorf("owner %d, record %d: waited and it is not durable", n, i)
					}
				}
				if err != nil {
					t.Errorf("owner %d, record %d: %v", n, i, err)
					return
				}
			}
		})
	}
	background := func(f func() error) {
		done.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := f(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	background(func() error {
		_, err := l.Compact(context.Background(), func(Record) bool { return true })
		return err
	})
	background(func() error {
		last := uint32(0)
		for r, err := range l.History(id(3)) {
			if errors.Is(err, ErrChanged) || errors.Is(err, ErrNoOwner) {
				return nil
			} else if err != nil {
				return err
			} else if last != 0 && r.Seq != last-1 {
				return fmt.Errorf("record %d before %d", r.Seq, last)
			}
			last = r.Seq
		}
		return nil
	})
	work.Wait()
	close(stop)
	done.Wait()
	mustClose(t, l)
	if notes.Load() == 0 {
		t.Error("nobody was told of a sync")
	}
	l, _ = mustOpen(t, disk, o)
	for n := range owners {
		got := history(t, l, id(n))
		if len(got) != each {
			t.Errorf("owner %d has %d records", n, len(got))
		}
	}
	mustClose(t, l)
}

// TestWaitEnds: with its context, and with the log.
func TestWaitEnds(t *testing.T) {
	l, err := open(vfstest.NewDisk(), "log", small, func(Record) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	lsn, err := l.Append(id(1), kind, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := l.Wait(ctx, lsn); !errors.Is(err, context.Canceled) {
		t.Errorf("wait: %v", err)
	}
	ended := make(chan error)
	go func() { ended <- l.Wait(context.Background(), lsn+1<<30) }()
	go l.run()
	if err := l.Wait(context.Background(), lsn); err != nil {
		t.Error(err)
	}
	mustClose(t, l)
	if err := <-ended; !errors.Is(err, ErrClosed) {
		t.Errorf("a wait for what never came: %v", err)
	}
	if err := l.Wait(context.Background(), lsn); err != nil {
		t.Errorf("wait for a durable record of a closed log: %v", err)
	}
}

// TestStepIsABatch: the writer leaves records alone until Flush, and then takes all
// of them at once; a buffer that is half full it takes by itself.
func TestStepIsABatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _ := mustOpen(t, vfstest.NewDisk(), small)
		synctest.Wait()
		for n := range 3 {
			if _, err := l.Append(id(n), kind, []byte("x")); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if l.Durable() != firstLSN {
			t.Error("a batch without Flush")
		}
		l.Flush()
		synctest.Wait()
		if l.Durable() != firstLSN+pageSize {
			t.Errorf("three records are durable at %d", l.Durable())
		}
		if _, err := l.Append(id(1), kind, make([]byte, small.BufferBytes/2)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if l.Durable() == firstLSN+pageSize {
			t.Error("half a buffer waits")
		}
		mustClose(t, l)
	})
}
