package golden

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"
)

// Reference is what transformers computes for a model in float32, teacher-forced
// over the first len(TopIDs) tokens of a text, as one context from position 0.
type Reference struct {
	// Tokens is the whole text, without special tokens but for a BOS at its start
	// where the model wants one. Position i of the fields below is the distribution
	// after Tokens[i].
	Tokens []int32
	Vocab  int
	// TopIDs and TopLogits are each position's greatest logits, in descending
	// order; LogSumExp is over the whole row.
	TopIDs    [][]int32
	TopLogits [][]float32
	LogSumExp []float64

	Perplexity float64 // of the text, by the rule of Perplexity
	Peer       Peer
}

// Peer is what llama.cpp achieves against the same reference.
type Peer struct {
	Package, Version, CPU string
	KL                    []PeerKL
	Perplexity            []PeerPerplexity
}

// PeerKL is the peer's KL in one setting: Batch tokens evaluated at a time.
type PeerKL struct {
	Batch          int
	FlashAttention bool    `json:"flash_attention"`
	KV             string  // type of the KV cache
	MeanKL         float64 `json:"mean_kl"` // over all positions
	MedianKL       float64 `json:"median_kl"`
	MaxKL          float64 `json:"max_kl"`
	SameTop        float64 `json:"same_top"` // share of positions with the reference's first choice
}

// PeerPerplexity is what llama-perplexity prints for the text.
type PeerPerplexity struct {
	Flags             string
	Perplexity, Error float64
	Chunks, Scored    int
}

// Best returns the least mean KL that the peer has with its default KV cache
// when Batch tokens are evaluated at a time.
func (p Peer) Best(batch int) float64 {
	best := math.Inf(1)
	for _, k := range p.KL {
		if k.Batch == batch && k.KV == "f16" {
			best = min(best, k.MeanKL)
		}
	}
	return best
}

// TextPath returns the path of the text that references are about. The tokens
// leave out its final newline.
func TextPath(t testing.TB) string {
	t.Helper()
	return filepath.Join(Root(t), "internal", "testkit", "golden", "testdata", "text.txt")
}

// SmolLM2 returns the reference for SmolLM2-135M-Instruct Q4_1.
func SmolLM2(t testing.TB) *Reference {
	t.Helper()
	return open(t, "smollm2.golden", "peer.json")
}

// Gemma3 returns the reference for Gemma 3 270M Q4_K_M.
func Gemma3(t testing.TB) *Reference {
	t.Helper()
	return open(t, "gemma3.golden", "gemma3-peer.json")
}

// open reads a reference, and what the peer achieves against it.
func open(t testing.TB, golden, peers string) *Reference {
	t.Helper()
	dir := filepath.Dir(TextPath(t))
	data, err := os.ReadFile(filepath.Join(dir, golden))
	if err != nil {
		t.Fatal(err)
	}
	ref, err := parseReference(data)
	if err != nil {
		t.Fatalf("golden: %s: %v", golden, err)
	}
	data, err = os.ReadFile(filepath.Join(dir, peers))
	if err != nil {
		t.Fatal(err)
	}
	var peer struct {
		Reference struct{ Perplexity float64 }
		Peer      Peer
	}
	if err := json.Unmarshal(data, &peer); err != nil {
		t.Fatalf("golden: %s: %v", peers, err)
	}
	ref.Perplexity, ref.Peer = peer.Reference.Perplexity, peer.Peer
	return ref
}

func parseReference(data []byte) (*Reference, error) {
	r, idBytes := reader{r: bytes.NewReader(data)}, 2
	if bytes.HasPrefix(data, []byte("HFKL0002")) { // a vocabulary that two bytes cannot name
		r.magic("HFKL0002")
		idBytes = 3
	} else {
		r.magic("HFKL0001")
	}
	n, top, vocab, text := r.u32(), r.u32(), r.u32(), r.u32()
	if r.err == nil && len(data) != 24+idBytes*text+n*(8+(idBytes+4)*top) {
		r.err = fmt.Errorf("%d bytes for %d positions of %d and %d tokens", len(data), n, top, text)
	}
	if r.err != nil {
		return nil, r.err
	}
	ref := &Reference{Vocab: vocab, LogSumExp: make([]float64, n)}
	ref.Tokens = r.ids(text, idBytes)
	r.read(ref.LogSumExp)
	ids, logits := r.ids(n*top, idBytes), make([]float32, n*top)
	r.read(logits)
	for i := range n {
		lo, hi := i*top, (i+1)*top
		ref.TopIDs = append(ref.TopIDs, ids[lo:hi:hi])
		ref.TopLogits = append(ref.TopLogits, logits[lo:hi:hi])
	}
	return ref, r.err
}

// ids reads token IDs of so many bytes each.
func (r *reader) ids(n, size int) []int32 {
	raw := make([]byte, n*size)
	r.read(raw)
	ids := make([]int32, n)
	for i := range ids {
		for b := size - 1; b >= 0; b-- {
			ids[i] = ids[i]<<8 | int32(raw[i*size+b])
		}
	}
	return ids
}

// KL returns KL(p || q) in nats, over len(ids)+1 buckets: p is given by the logits
// top of the tokens ids and by the log-sum-exp of its whole row, q by its row. The
// rest of the vocabulary is one bucket, so it is a lower bound of the KL over all.
func KL(ids []int32, top []float32, logSumExp float64, row []float32) float64 {
	rest := append([]float32(nil), row...)
	all := make([]float32, 0, len(ids))
	for _, id := range ids {
		all, rest[id] = append(all, row[id]), float32(math.Inf(-1))
	}
	logRest := logSumExpOf(rest)
	norm := logAddExp(logSumExpOf(all), logRest)
	kl, pRest := 0.0, 1.0
	for i, id := range ids {
		logP := float64(top[i]) - logSumExp
		p := math.Exp(logP)
		kl += p * (logP - (float64(row[id]) - norm))
		pRest -= p
	}
	if pRest > 1e-12 { // below, it is rounding
		kl += pRest * (math.Log(pRest) - (logRest - norm))
	}
	return kl
}

// NLL returns the negative log-likelihood of a token under a row of logits.
func NLL(row []float32, id int32) float64 { return logSumExpOf(row) - float64(row[id]) }

// Perplexity returns the perplexity of tokens by the rule of llama-perplexity
// with a context of n: the tokens are cut into whole chunks of n (what is left
// over is dropped), each chunk is its own context from position 0 and without a
// BOS token, and within it the tokens n/2+1 to n-1 are scored, each under the
// distribution after its predecessor. eval evaluates one chunk and returns the
// rows after its tokens from, from+1, ..., len(chunk)-2. Perplexity also returns
// how many tokens it scored.
//
// The rule holds for vocabularies that do not ask for a BOS token, as SmolLM2's;
// for others llama-perplexity puts it in the place of each chunk's first token,
// and eval must do so.
func Perplexity(tokens []int32, n int, eval func(chunk []int32, from int) [][]float32) (float64, int) {
	var nll float64
	scored := 0
	for ; len(tokens) >= n; tokens = tokens[n:] {
		for i, row := range eval(tokens[:n:n], n/2) {
			nll += NLL(row, tokens[n/2+1+i])
			scored++
		}
	}
	return math.Exp(nll / float64(scored)), scored
}

// logAddExp returns log(e^x + e^y).
func logAddExp(x, y float64) float64 {
	if x < y {
		x, y = y, x
	}
	if math.IsInf(y, -1) {
		return x
	}
	return x + math.Log1p(math.Exp(y-x))
}

func logSumExpOf(row []float32) float64 {
	top := math.Inf(-1)
	for _, v := range row {
		top = max(top, float64(v))
	}
	if math.IsInf(top, -1) {
		return top
	}
	var sum float64
	for _, v := range row {
		sum += math.Exp(float64(v) - top)
	}
	return top + math.Log(sum)
}
