package sampler

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestRank(t *testing.T) {
	negZero := float32(math.Copysign(0, -1))
	falling := []float32{math.MaxFloat32, 1.0000001, 1, 1e-38, 1e-45, 0, -1e-45, -1e-38, -1, -1.0000001, -math.MaxFloat32, -inf32}
	for i, l := range falling {
		if i > 0 && rank(falling[i-1]) >= rank(l) {
			t.Errorf("rank(%v) is not below rank(%v)", falling[i-1], l)
		}
		if got := unrank(rank(l)); math.Float32bits(got) != math.Float32bits(l) {
			t.Errorf("%v came back as %v", l, got)
		}
	}
	if rank(negZero) != rank(0) {
		t.Error("the zeros do not tie")
	}
}

func TestSortByRank(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 9))
	for _, n := range []int{0, 1, 511, 512, 513, 3000} {
		for _, mask := range []uint32{0, 3, 0xff00, 0x00ff_ffff, math.MaxUint32} {
			members := make([]uint64, n)
			for i := range members {
				members[i] = uint64(rng.Uint32()&mask|0x0100_0000)<<32 | uint64(i)
			}
			want := slices.Clone(members)
			slices.Sort(want)
			got, other := sortByRank(members, make([]uint64, n))
			if !slices.Equal(got, want) || len(other) != n || n > 0 && &got[0] == &other[0] {
				t.Errorf("%d members under mask %#x are not in order", n, mask)
			}
		}
	}
}
