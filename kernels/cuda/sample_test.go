package cuda

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/holdfast-run/holdfast/sampler"
)

// sample picks a token for each row of logits on the device.
func sample(g *gpu, logits [][]float32, rows []sampler.Row) []int32 {
	g.t.Helper()
	vocab := len(logits[0])
	stride := (vocab + 3) &^ 3
	var all []float32
	draws := make([]Draw, len(rows))
	for i, l := range logits {
		all = append(all, l...)
		for range stride - vocab {
			all = append(all, float32(math.NaN())) // which is no logit
		}
		draws[i] = NewDraw(&rows[i], int32(len(rows)-1-i))
	}
	draws[0].Row = -1
	n := len(rows)
	p := &SampleParams{
		Logits: put(g, all), Draws: put(g, draws), Octave: put(g, OctaveTable()), Top: room[float32](g, n),
		Counts: room[uint32](g, n*SampleBuckets), Sums: room[uint64](g, n*SampleBuckets),
		Tokens: room[int32](g, n), Sampled: put(g, slices.Repeat([]int32{-7}, n)),
		Rows: uint32(n), Vocab: uint32(vocab), Stride: uint32(stride),
	}
	g.run("sample_top", p)
	g.run("sample_weigh", p)
	g.run("sample_pick", p)
	tokens, sampled := get[int32](g, p.Tokens, n), get[int32](g, p.Sampled, n)
	slices.Reverse(sampled)
	if sampled[0] != -7 {
		g.t.Error("wrote the token of a row that is not in the table")
	}
	same(g.t, "sampled, by row of the table", sampled[1:], tokens[1:])
	return tokens
}

// pick is what sampler gives: -1 for its errors.
func pick(logits []float32, row sampler.Row) int32 {
	token, err := sampler.Pick(logits, row, &sampler.Scratch{})
	if err != nil {
		return -1
	}
	return token
}

// TestSample draws from logits of every kind and compares with sampler.Pick, token
// by token: the definition is integers, and nothing is left to rounding.
func TestSample(t *testing.T) {
	inf := float32(math.Inf(1))
	kinds := map[string]func(rng *rand.Rand, x []float32){
		"normal": func(rng *rand.Rand, x []float32) {},
		"ties": func(rng *rand.Rand, x []float32) {
			for i := range x {
				x[i] = float32(math.Round(float64(x[i])))
			}
		},
		"zeros": func(rng *rand.Rand, x []float32) {
			for i := range x {
				x[i] = float32(math.Copysign(0, float64(x[i])))
			}
		},
		"close": func(rng *rand.Rand, x []float32) { // one bucket, more members than a list holds
			for i := range x {
				x[i] = 5 + float32(rng.IntN(64))*0x1p-21
			}
		},
		"masked": func(rng *rand.Rand, x []float32) {
			for i := range x {
				if i%7 != 3 {
					x[i] = -inf
				}
			}
		},
		"peaked": func(rng *rand.Rand, x []float32) { x[len(x)-1] = 90 },
		"NaN":    func(rng *rand.Rand, x []float32) { x[len(x)-1] = float32(math.NaN()) },
		"+Inf":   func(rng *rand.Rand, x []float32) { x[len(x)/2] = inf },
		"none": func(rng *rand.Rand, x []float32) {
			for i := range x {
				x[i] = -inf
			}
		},
	}
	params := []sampler.Params{
		{TopP: 1},
		{Temperature: 1, TopP: 1},
		{Temperature: 0.7, TopP: 0.9},
		{Temperature: 2, TopP: 1, TopK: 40},
		{Temperature: 1.3, TopP: 0.5, TopK: 3},
		{Temperature: 1, TopP: 1, TopK: 3},
		{Temperature: 0.9, TopP: 1, TopK: 7},
		{Temperature: 1, TopP: 1, MinP: 0.05},
		{Temperature: 1, TopP: 0.95, TopK: 1},
		{Temperature: 1, TopP: 1e-9},
		{Temperature: 0.01, TopP: 0.99, TopK: 1 << 20, MinP: 1},
	}
	for kind, shape := range kinds {
		for _, vocab := range []int{1, 6, 1003, 5001} {
			if vocab == 5001 && kind != "close" && kind != "normal" {
				continue
			}
			rng := newRand(uint64(vocab))
			var logits [][]float32
			var rows []sampler.Row
			for i, p := range params {
				x := normals(rng, vocab, 4)
				shape(rng, x)
				p.Seed = rng.Uint64()
				logits = append(logits, x)
				rows = append(rows, sampler.Row{Params: p, Position: int64(i) << 31, Choice: uint32(i)})
			}
			got := sample(newGPU(t), logits, rows)
			for i := range rows {
				if want := pick(logits[i], rows[i]); got[i] != want {
					t.Errorf("%s, vocabulary of %d, %+v: token %d, want %d", kind, vocab, rows[i].Params, got[i], want)
				}
			}
		}
	}
}

// TestAdjust compares with sampler.Pick, whose only trace of an adjusted logit is
// the token: greedy, from rows in which adjusting changes the order.
func TestAdjust(t *testing.T) {
	const vocab, n = 37, 24
	g, rng := newGPU(t), newRand(8)
	var all, want []float32
	var changes []Change
	penalties := make([]Penalty, n)
	for r := range n {
		x := normals(rng, vocab, 2)
		q := &penalties[r]
		*q = Penalty{[]float64{1, 1.3, 0.7}[r%3], []float64{0, 0.4, -1}[r/3%3], rng.Float64()*4 - 2}
		x[3], x[4] = float32(math.Inf(-1)), math.MaxFloat32
		all = append(all, x...)
		for i := range x {
			c := Change{Row: uint32(r), Token: int32(i), Bias: rng.Float64()*20 - 10, Kind: ChangeKinds(rng.IntN(8)), Made: uint32(rng.IntN(3))}
			changes = append(changes, c)
			x[i] = adjusted(x[i], c, *q)
		}
		want = append(want, x...)
	}
	changes = append(changes, Change{Row: 0, Token: -1, Kind: Forbidden}, Change{Row: 0, Token: vocab, Kind: Forbidden})
	rng.Shuffle(len(changes), func(i, j int) { changes[i], changes[j] = changes[j], changes[i] })
	p := &AdjustParams{Logits: put(g, all), Changes: put(g, changes), Penalties: put(g, penalties), Count: uint32(len(changes)), Vocab: vocab, Stride: vocab}
	g.run("sample_adjust", p)
	got := get[float32](g, p.Logits, len(all))
	for i := range got {
		got[i] += 0 // bisection does not tell -0 from +0
	}
	same(t, "logits", got, want)
}

// adjusted asks sampler what becomes of a logit: the picked token of two tells
// whether it lies below a limit, and bisection finds it.
func adjusted(x float32, c Change, q Penalty) float32 {
	p := sampler.Params{TopP: 1}
	row := sampler.Row{}
	row.History = sampler.NewHistory(nil)
	if c.Kind&Seen != 0 {
		p.RepetitionPenalty, p.FrequencyPenalty, p.PresencePenalty = q.Repetition, q.Frequency, q.Presence
		row.History.Reset([]int32{0})
		for range c.Made {
			row.History.Append(0)
		}
	}
	if c.Kind&Biased != 0 {
		p.LogitBias = []sampler.Bias{{Token: 0, Value: c.Bias}}
	}
	if c.Kind&Forbidden != 0 {
		p.BadWords = [][]int32{{0}}
	}
	row.Params = p
	// Token 0 wins over token 1 if its logit is at least the limit.
	atLeast := func(limit float32) bool { return pick([]float32{x, limit}, row) == 0 }
	lo, hi := uint32(0), uint32(0xfeffffff) // places in the order of floats
	if !atLeast(float(lo)) {
		return float32(math.Inf(-1))
	}
	for lo < hi {
		if mid := lo + (hi-lo)/2 + 1; atLeast(float(mid)) {
			lo = mid
		} else {
			hi = mid - 1
		}
	}
	return float(lo)
}

// float returns finite floats in ascending order, -MaxFloat32 being the first.
func float(i uint32) float32 {
	if i += 0x00800000; i < 1<<31 {
		return math.Float32frombits(^i)
	}
	return math.Float32frombits(i &^ (1 << 31))
}

// TestWeights compares the buckets' sums, in which a weight that is off by one unit
// shows; a drawn token rarely does.
func TestWeights(t *testing.T) {
	const vocab = 5000
	g, rng := newGPU(t), newRand(12)
	// Weights close to the top's have the fewest bits below the binary point.
	x := append(normals(rng, vocab-1000, 0.1), normals(rng, 1000, 6)...)
	x[0] = 1
	for i := range x {
		x[i] = min(x[i], 1)
	}
	draw := NewDraw(&sampler.Row{Params: sampler.Params{Temperature: 0.8, TopP: 1}}, -1)
	p := &SampleParams{
		Logits: put(g, x), Draws: put(g, []Draw{draw}), Octave: put(g, OctaveTable()), Top: room[float32](g, 1), Counts: room[uint32](g, SampleBuckets),
		Sums: room[uint64](g, SampleBuckets), Tokens: room[int32](g, 1), Sampled: room[int32](g, 1), Rows: 1, Vocab: vocab, Stride: vocab,
	}
	g.run("sample_top", p)
	g.run("sample_weigh", p)
	counts, sums := make([]uint32, SampleBuckets), make([]uint64, SampleBuckets)
	octave := OctaveTable()
	for _, logit := range x {
		if y := float64((float64(slices.Max(x)) - float64(logit)) * draw.Steps); y <= draw.Last {
			b := uint16(math.Float64bits(y+0x1.8p52)) / 64
			counts[b]++
			sums[b] += weight(y, octave)
		}
	}
	gotCounts, gotSums := get[uint32](g, p.Counts, SampleBuckets), get[uint64](g, p.Sums, SampleBuckets)
	for b := range sums {
		if gotCounts[b] != counts[b] || gotSums[b] != sums[b] {
			t.Fatalf("bucket %d: %d tokens of weight %d, want %d of %d", b, gotCounts[b], gotSums[b], counts[b], sums[b])
		}
	}
}

// weight is sampler's function of this name, written again.
func weight(y float64, octave []float64) uint64 {
	const c1 = -math.Ln2 / steps
	t := y + 0x1.8p52
	n := math.Float64bits(t) & 0xffff
	r := y - (t - 0x1.8p52)
	q := c1*c1/2 + float64(r*(c1*c1*c1/6))
	q = c1 + float64(r*q)
	q = float64(r * q)
	w := math.Float64frombits(math.Float64bits(octave[n%steps]) - n/steps<<52)
	return uint64(int64(w + float64(w*q)))
}
