package sampler

import (
	"encoding/json"
	"math"
	"os"
	"strconv"
	"testing"
)

// The files of testdata/vectors.py, see there.
type vectors struct {
	Philox []struct {
		Counter, Out [4]uint32
		Key          [2]uint32
	}
	Uniform53 [][4]uint64 // seed, position, choice, value
	Rows      []struct {
		vectorRow
		Cases []struct {
			Temperature float64
			TopK        int     `json:"top_k"`
			TopP        float64 `json:"top_p"`
			Kept        int
			Draws       [][4]uint64 // seed, position, choice, token
		}
	}
	Adjusted []struct {
		vectorRow
		Cases []adjustedCase
	}
	Logprobs []struct {
		vectorRow
		Tokens, Likeliest [][2]float64 // token, logprob
	}
}

// vectorRow is a row of logits.
type vectorRow struct {
	Name string
	Bits []string `json:"logits"` // in hex, or:
	Kind string
	N    int
}

func (r *vectorRow) logits(t *testing.T) []float32 {
	logits := generate(r.Kind, r.N)
	for _, hex := range r.Bits {
		b, err := strconv.ParseUint(hex, 16, 32)
		if err != nil {
			t.Fatal(err)
		}
		logits = append(logits, math.Float32frombits(uint32(b)))
	}
	return logits
}

func readVectors(t *testing.T) (v vectors) {
	text, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// generate makes the logits that function generated of vectors.py makes.
func generate(kind string, n int) []float32 {
	logits := make([]float32, n)
	for i := range logits {
		x := Philox([4]uint32{uint32(i)}, [2]uint32{2023})
		switch kind {
		case "flat":
			logits[i] = float32(int32(x[0])>>8) * 0x1p-19
		case "bell":
			logits[i] = float32(int32(x[0])>>13+int32(x[1])>>13+int32(x[2])>>13+int32(x[3])>>13) * 0x1p-16
		case "ties":
			logits[i] = float32(int32(x[0])>>26) * 0.25
		}
	}
	return logits
}

func TestVectors(t *testing.T) {
	v := readVectors(t)
	for _, c := range v.Philox {
		if got := Philox(c.Counter, c.Key); got != c.Out {
			t.Errorf("Philox(%v, %v) = %v, want %v", c.Counter, c.Key, got, c.Out)
		}
	}
	for _, c := range v.Uniform53 {
		if got := Uniform(c[0], c[1], uint32(c[2])); got != float64(c[3])/(1<<53) {
			t.Errorf("Uniform(%d, %d, %d) = %v", c[0], c[1], c[2], got)
		}
	}
	draws := 0
	s := new(Scratch)
	for _, r := range v.Rows {
		logits := r.logits(t)
		for _, c := range r.Cases {
			p := Params{Temperature: c.Temperature, TopK: c.TopK, TopP: c.TopP}
			if err := p.Validate(); err != nil {
				t.Fatal(err)
			}
			if c.Temperature > 0 && len(logits) <= 1000 {
				kept := 0
				for _, w := range newPlain(logits, p).weights {
					if w > 0 {
						kept++
					}
				}
				if kept != c.Kept {
					t.Errorf("%s, %+v keeps %d tokens, want %d", r.Name, p, kept, c.Kept)
				}
			}
			for _, d := range c.Draws {
				p.Seed = d[0]
				got, err := Pick(logits, Row{Params: p, Position: int64(d[1]), Choice: uint32(d[2])}, s)
				if uint64(got) != d[3] || err != nil {
					t.Errorf("%s, %+v, position %d, choice %d: %d, %v, want %d", r.Name, p, d[1], d[2], got, err, d[3])
				}
				draws++
			}
		}
	}
	if draws < 2000 {
		t.Errorf("only %d draws", draws)
	}
}
