package session

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast-run/holdfast/internal/testkit/until"
	"github.com/holdfast-run/holdfast/internal/testkit/vfstest"
)

// TestModel does everything in any order, with restarts, few sessions in memory, and
// compares with plain lists after each step.
func TestModel(t *testing.T) {
	seen := map[string]int{}
	property := func(r *rapid.T) {
		disk := vfstest.NewDisk()
		o := Options{Log: small, MaxOpen: 2, MaxTurns: 6, Now: func() time.Time { return time.Unix(1_800_000_000, 0) }}
		m, err := Open(disk, "store", o)
		if err != nil {
			t.Fatal(err)
		}
		w := &world{t: tb{t, r}, m: m, ops: disk.Ops, verbs: seen, choose: func(n int) int { return rapid.IntRange(0, n-1).Draw(r, "choice") }}
		defer func() { w.m.Close() }()
		for range rapid.IntRange(1, 60).Draw(r, "steps") {
			if w.choose(12) == 0 {
				w.reopen(disk, o)
			} else {
				w.step()
			}
			w.check()
		}
	}
	missing := func() (verbs []string) {
		for _, verb := range []string{"create", "begin", "draw", "await", "commit", "abandon", "resume", "rewind", "fork", "update", "park", "delete", "compact", "rewrite", "reopen", "incomplete", "full"} {
			if seen[verb] == 0 {
				verbs = append(verbs, verb)
			}
		}
		return verbs
	}
	until.Reached(t, property, func() bool { return len(missing()) == 0 }, func() string { return fmt.Sprint(missing(), " of ", seen) })
}

// tb makes failures rapid's, so that it shrinks them.
type tb struct {
	testing.TB
	r *rapid.T
}

func (t tb) Errorf(format string, args ...any) { t.r.Fatalf(format, args...) }
func (t tb) Fatalf(format string, args ...any) { t.r.Fatalf(format, args...) }
func (t tb) Fatal(args ...any)                 { t.r.Fatal(args...) }
func (t tb) Helper()                           {}
