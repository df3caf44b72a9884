package scheduler

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestQueueModel: the queue gives who a search through all would give.
func TestQueueModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var u queue
		payers := make([]Principal, 6)
		var waiting []*Sequence
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				q := &Sequence{
					payer: &payers[rapid.IntRange(0, len(payers)-1).Draw(t, "payer")], Arrived: int64(rapid.IntRange(0, 20).Draw(t, "arrived")),
					class: rapid.IntRange(0, 2).Draw(t, "class"), admitted: rapid.Bool().Draw(t, "preempted"),
				}
				u.add(q, 0)
				waiting = append(waiting, q)
			},
			"remove": func(t *rapid.T) {
				if len(waiting) == 0 {
					t.Skip()
				}
				i := rapid.IntRange(0, len(waiting)-1).Draw(t, "which")
				u.remove(waiting[i])
				waiting = slices.Delete(waiting, i, i+1)
			},
			"serve": func(t *rapid.T) {
				payers[rapid.IntRange(0, len(payers)-1).Draw(t, "payer")].served += float64(rapid.IntRange(0, 3).Draw(t, "tokens"))
			},
			"": func(t *rapid.T) {
				got := u.best()
				if (got == nil) != (len(waiting) == 0) {
					t.Fatalf("%d wait, the best is %v", len(waiting), got)
				}
				for _, q := range waiting {
					switch {
					case q.class != got.class:
						if q.class > got.class {
							t.Fatal("a higher class waits")
						}
					case q.payer.served < got.payer.served:
						t.Fatal("a less served principal waits")
					case q.payer == got.payer && q.admitted != got.admitted:
						if q.admitted {
							t.Fatal("a preempted one waits")
						}
					case q.payer == got.payer && q.Arrived < got.Arrived:
						t.Fatal("an older one waits")
					}
				}
			},
		})
	})
}
