package mutate

import (
	"encoding/binary"
	"hash/fnv"
	"math/rand/v2"
	"slices"
)

// generator makes mutants: the same ones of the same pool.
type generator struct{ *rand.Rand }

func newGenerator(name string) generator {
	h := fnv.New64a()
	h.Write([]byte(name))
	return generator{rand.New(rand.NewPCG(h.Sum64(), 1))}
}

// mutant returns an input made of one of the pool, and pieces of others, in one to
// eight steps, fewer more often.
func (g generator) mutant(pool []Input) Input {
	in := pool[g.IntN(len(pool))].clone()
	for steps := 1 + g.below(8); steps > 0; steps-- {
		other := pool[g.IntN(len(pool))]
		i := g.argument(in)
		switch x := in[i].(type) {
		case []byte:
			in[i] = g.edit(x, other[i].([]byte))
		case string:
			in[i] = string(g.edit([]byte(x), []byte(other[i].(string))))
		case int32:
			in[i] = int32(g.number(uint64(x)))
		case int64:
			in[i] = int64(g.number(uint64(x)))
		case uint64:
			in[i] = g.number(x)
		}
	}
	return in
}

// argument chooses one by its length: a file more often than an option beside it.
func (g generator) argument(in Input) int {
	size := func(x any) int {
		switch x := x.(type) {
		case []byte:
			return 32 + len(x)
		case string:
			return 32 + len(x)
		}
		return 16
	}
	sum := 0
	for _, x := range in {
		sum += size(x)
	}
	at, i := g.IntN(sum), 0
	for ; at >= size(in[i]); i++ {
		at -= size(in[i])
	}
	return i
}

// below returns a number in [0, n), where halves grow rarer by the same factor; 0 for no n.
func (g generator) below(n int) int {
	if n <= 1 {
		return 0
	}
	return g.IntN(1 + g.IntN(n))
}

// span returns a piece of n bytes, a short one more often.
func (g generator) span(n int) (from, to int) {
	from = g.IntN(n + 1)
	return from, from + g.below(n-from+1)
}

// edit changes b in one place.
func (g generator) edit(b, other []byte) []byte {
	out := g.change(b, other)
	return out[:min(len(out), max(len(b), maxBytes))]
}

func (g generator) change(b, other []byte) []byte {
	if len(b) == 0 {
		from, to := g.span(len(other))
		return append(b, other[from:to]...)
	}
	at := g.IntN(len(b))
	from, to := g.span(len(b))
	switch g.IntN(13) {
	case 0:
		b[at] ^= 1 << g.IntN(8)
	case 1:
		b[at] = byte(g.Uint32())
	case 2: // an integer
		var x [8]byte
		size := 1 << g.IntN(4)
		copy(x[:], b[at:])
		binary.LittleEndian.PutUint64(x[:], g.number(binary.LittleEndian.Uint64(x[:])))
		copy(b[at:], x[:size])
	case 3:
		return b[:at]
	case 4:
		return slices.Delete(b, from, to)
	case 5:
		return slices.Insert(b, at, slices.Clone(b[from:to])...)
	case 6: // move
		piece := slices.Clone(b[from:to])
		b = slices.Delete(b, from, to)
		return slices.Insert(b, g.IntN(len(b)+1), piece...)
	case 7: // the end of another
		return append(b[:at], other[g.IntN(len(other)+1):]...)
	case 8: // a piece of another
		i, j := g.span(len(other))
		return slices.Insert(b, at, other[i:j]...)
	case 9:
		i, j := g.span(len(other))
		copy(b[at:], other[i:j])
	default:
		return g.words(b, at, other)
	}
	return b
}

// words changes text by its words: numbers, names, or single marks.
func (g generator) words(b []byte, at int, other []byte) []byte {
	from, to := word(b, at)
	i, j := word(b, g.IntN(len(b)))
	switch g.IntN(5) {
	case 0: // double
		return slices.Insert(b, to, slices.Clone(b[from:to])...)
	case 1: // one in another's place
		return slices.Replace(b, from, to, slices.Clone(b[i:j])...)
	case 2:
		s := samples[g.IntN(len(samples))]
		return slices.Replace(b, from, to, s...)
	case 3: // swap
		if i > from {
			i, j, from, to = from, to, i, j
		}
		if j <= from {
			x := slices.Clone(b[i:j])
			y := slices.Clone(b[from:to])
			return slices.Replace(slices.Replace(b, from, to, x...), i, j, y...)
		}
	case 4:
		if len(other) > 0 {
			i, j = word(other, g.IntN(len(other)))
			return slices.Replace(b, from, to, other[i:j]...)
		}
	}
	return b
}

// samples are values of JSON, and its ends.
var samples = [][]byte{
	[]byte("0"), []byte("-1"), []byte("1e999"), []byte("0.5"), []byte("9223372036854775807"), []byte("18446744073709551616"), []byte("4294967296"),
	[]byte("null"), []byte("true"), []byte("[]"), []byte("{}"), []byte(`""`), []byte(`"a"`), []byte(","), []byte(":"), []byte(`"`), []byte("[["), []byte(`\u0000`), []byte(`\ud800`),
}

// word returns the bounds of the word that holds a byte.
func word(b []byte, at int) (from, to int) {
	from, to = at, at+1
	if !inWord(b[at]) {
		return from, to
	}
	for from > 0 && inWord(b[from-1]) {
		from--
	}
	for to < len(b) && inWord(b[to]) {
		to++
	}
	return from, to
}

func inWord(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z' || c == '_' || c == '-' || c == '.' || c == '+' || c >= 0x80
}

// number returns one that is near x, a power of two or near one, or any.
func (g generator) number(x uint64) uint64 {
	switch g.IntN(5) {
	case 0:
		return x + g.Uint64N(33) - 16
	case 1:
		return 1<<g.IntN(64) + g.Uint64N(3) - 1
	case 2:
		return -(1 << g.IntN(64)) // what a signed type takes for little
	case 3:
		return g.Uint64N(256)
	}
	return g.Uint64() >> g.IntN(64)
}
