package sampler

import (
	"slices"
	"testing"
)

func TestForbidden(t *testing.T) {
	words := [][]int32{{1}, {2, 3}, {2, 2, 4}, {5, 2, 2, 6}, {7, 7}}
	for _, c := range []struct {
		prompt, made []int32
		minimum      int
		want         []int32
	}{
		{nil, nil, 0, []int32{1}},
		{[]int32{2}, nil, 0, []int32{1}}, // a word's start in the prompt is not made
		{nil, []int32{2}, 0, []int32{1, 3}},
		{[]int32{2}, []int32{2}, 0, []int32{1, 3}},
		{nil, []int32{2, 2}, 0, []int32{1, 3, 4}},
		{nil, []int32{5, 2, 2}, 0, []int32{1, 3, 4, 6}},
		{nil, []int32{2, 2, 9}, 0, []int32{1}},
		{nil, []int32{7, 7, 7}, 0, []int32{1, 7}},
		{nil, nil, 1, []int32{1, 8, 9}},
		{[]int32{4, 4, 4}, []int32{4}, 2, []int32{1, 8, 9}},
		{nil, []int32{4, 4}, 2, []int32{1}},
		{nil, []int32{4, 4, 4}, 2, []int32{1}},
	} {
		row := Row{Params: Params{BadWords: words, MinTokens: c.minimum}, History: NewHistory(c.prompt), Stop: []int32{8, 9}}
		for _, token := range c.made {
			row.History.Append(token)
		}
		if got := row.AppendForbidden(nil); !slices.Equal(got, c.want) {
			t.Errorf("after %v, %v, at least %d: %v, want %v", c.prompt, c.made, c.minimum, got, c.want)
		}
	}
	if got := (&Row{Params: Params{MinTokens: 1}, Stop: []int32{3}}).AppendForbidden([]int32{1}); !slices.Equal(got, []int32{1, 3}) {
		t.Errorf("without a history: %v", got)
	}
}
