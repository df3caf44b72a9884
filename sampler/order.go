package sampler

import (
	"math"
	"slices"
)

// rank maps logits to integers that rise as logits fall; -0 and +0 are the same.
func rank(logit float32) uint32 {
	b := math.Float32bits(logit + 0) // -0 + 0 is +0
	if b>>31 == 0 {
		return ^(b | 1<<31)
	}
	return b
}

// unrank returns a logit of the given rank: +0 for both zeros.
func unrank(r uint32) float32 {
	if r>>31 == 0 {
		return math.Float32frombits(^r &^ (1 << 31))
	}
	return math.Float32frombits(r)
}

// sortByRank sorts members, each a rank above an ID, that come in the order of
// their IDs. Many are sorted by their rank's bytes, which is stable and bounded:
// logits without spread may share one bucket, a whole vocabulary of them. It
// returns the sorted members and the other slice, in which it may have put them.
func sortByRank(members, spare []uint64) (sorted, other []uint64) {
	if len(members) < 512 {
		slices.Sort(members)
		return members, spare
	}
	spare = spare[:len(members)]
	for shift := 32; shift < 64; shift += 8 {
		var next [256]int
		for _, m := range members {
			next[m>>shift&0xff]++
		}
		if next[members[0]>>shift&0xff] == len(members) {
			continue // all have this byte
		}
		at := 0
		for i, n := range next {
			next[i] = at
			at += n
		}
		for _, m := range members {
			d := m >> shift & 0xff
			spare[next[d]] = m
			next[d]++
		}
		members, spare = spare, members
	}
	return members, spare
}
