package session

import (
	"fmt"
	"slices"
	"testing"

	"github.com/holdfast-run/holdfast/internal/testkit/vfstest"
)

// TestLive: every history that a turn may go on from is a prefix of one that Live yields:
// branches, what a shorter continuation left behind, interrupted turns; incomplete ones are not.
func TestLive(t *testing.T) {
	disk := vfstest.NewDisk()
	m := open(t, disk, Options{Log: small})
	id := create(t, m, LevelTurn).ID
	oneTurn(t, m, id, []int32{1}, []int32{2})
	oneTurn(t, m, id, []int32{3}, []int32{4}) // 1 2 3 4
	turn := begin(t, m, id, 90)
	turn.Abandon() // incomplete, soon
	s := acquire(t, m, id)
	if err := s.Rewind(t.Context(), "turn_1"); err != nil {
		t.Fatal(err)
	}
	turn, err := s.Begin(t.Context(), Begin{Keep: 1, Input: []int32{5}}) // 1 5 6, beside 1 2
	if err != nil {
		t.Fatal(err)
	}
	draw(t, turn, 6)
	commit(t, turn, 1)
	turn = begin(t, m, id, 7)
	draw(t, turn, 8)
	turn.Abandon() // 1 5 6 7 8
	create(t, m, LevelMemory)
	for range 2 {
		var got []string
		for live, err := range m.Live(t.Context()) {
			if err != nil || live.Principal != "alice" || live.Model != testModel {
				t.Errorf("%+v, %v", live, err)
			}
			got = append(got, fmt.Sprint(live.Tokens))
		}
		slices.Sort(got)
		if want := []string{"[1 2 3 4]", "[1 5 6 7 8]"}; !slices.Equal(got, want) {
			t.Errorf("live %v, want %v", got, want)
		}
		closeIt(t, m)
		m = open(t, disk, Options{Log: small, MaxOpen: 1})
	}
	closeIt(t, m)
}
