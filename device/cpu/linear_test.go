package cpu

import (
	"slices"
	"testing"
)

// TestCut: the tasks of a layer have all of its groups, within the bounds, and threads
// that claim them in order and work at one speed end within a task of the least size.
func TestCut(t *testing.T) {
	for _, layer := range []struct{ group, groups int }{{5760, 36}, {5760, 60}, {5760, 192}, {15360, 36}, {18432, 128}, {18432, 1024}, {27264, 8016}} {
		for _, c := range []cut{oneTile, manyTiles} {
			for _, threads := range []int{1, 2, 3, 8} {
				busy := make([]int, threads)
				total := layer.group * layer.groups
				for left := layer.groups; left > 0; {
					n := min(c.next(left*layer.group, layer.group, threads), left)
					if size := n * layer.group; n < 1 || size > max(c.most, layer.group) || size < min(c.least, left*layer.group)-layer.group {
						t.Fatalf("%+v, %d threads: a task of %d bytes, %d left", c, threads, size, left*layer.group)
					}
					left -= n
					busy[slices.Index(busy, slices.Min(busy))] += n * layer.group
				}
				if most, task := slices.Max(busy), max(c.least, layer.group); most > (total+threads-1)/threads+task {
					t.Errorf("%+v of %d groups of %d bytes, %d threads: the last ends after %d bytes, %d would be even", c, layer.groups, layer.group, threads, most, total/threads)
				}
			}
		}
	}
}
