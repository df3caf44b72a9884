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
	// Tokens is the whole text, without special tokens. Position i of the
	// fields below is the distribution after Tokens[i].
	Tokens []int32
	Vocab  int
	// TopIDs and TopLogits are each position's greatest logits, in descending
	// order; LogSumExp is over the whole row.
	TopIDs    [][]uint16
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
	MeanKL         float64 `json:"mean_kl"` // by the rule of MeanKL
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

// TextPath returns the path of the text that SmolLM2's reference is about. The
// tokens leave out its final newline.
func TextPath(t testing.TB) string {
	t.Helper()
	return filepath.Join(Root(t), "internal", "testkit", "golden", "testdata", "text.txt")
}

// SmolLM2 returns the reference for SmolLM2-135M-Instruct Q4_1.
func SmolLM2(t testing.TB) *Reference {
	t.Helper()
	dir := filepath.Dir(TextPath(t))
	data, err := os.ReadFile(filepath.Join(dir, "smollm2.golden"))
	if err != nil {
		t.Fatal(err)
	}
	ref, err := parseReference(data)
	if err != nil {
		t.Fatalf("golden: smollm2.golden: %v", err)
	}
	data, err = os.ReadFile(filepath.Join(dir, "peer.json"))
	if err != nil {
		t.Fatal(err)
	}
	var peer struct {
		Reference struct{ Perplexity float64 }
		Peer      Peer
	}
	if err := json.Unmarshal(data, &peer); err != nil {
		t.Fatalf("golden: peer.json: %v", err)
	}
	ref.Perplexity, ref.Peer = peer.Reference.Perplexity, peer.Peer
	return ref
}

func parseReference(data []byte) (*Reference, error) {
	r := reader{r: bytes.NewReader(data)}
	r.magic("HFKL0001")
	n, top, vocab, text := r.u32(), r.u32(), r.u32(), r.u32()
	if r.err == nil && len(data) != 24+2*text+n*(8+6*top) {
		r.err = fmt.Errorf("%d bytes for %d positions of %d and %d tokens", len(data), n, top, text)
	}
	if r.err != nil {
		return nil, r.err
	}
	ref := &Reference{Vocab: vocab, LogSumExp: make([]float64, n)}
	tokens, ids, logits := make([]uint16, text), make([]uint16, n*top), make([]float32, n*top)
	for _, v := range []any{tokens, ref.LogSumExp, ids, logits} {
		r.read(v)
	}
	for _, id := range tokens {
		ref.Tokens = append(ref.Tokens, int32(id))
	}
	for i := range n {
		lo, hi := i*top, (i+1)*top
		ref.TopIDs = append(ref.TopIDs, ids[lo:hi:hi])
		ref.TopLogits = append(ref.TopLogits, logits[lo:hi:hi])
	}
	return ref, r.err
}

// MeanKL returns the mean over all positions of KL(reference || logits), in
// nats. Row i of logits is the distribution after ref.Tokens[:i+1]; rows are
// asked for in ascending order, each once.
//
// The estimate has a bucket for each of the reference's top tokens and one for
// the rest, so it is a lower bound of the KL over the whole vocabulary.
func MeanKL(ref *Reference, logits func(pos int) []float32) float64 {
	var sum float64
	for i := range ref.TopIDs {
		sum += KL(ref.TopIDs[i], ref.TopLogits[i], ref.LogSumExp[i], logits(i))
	}
	return sum / float64(len(ref.TopIDs))
}

// KL returns KL(p || q) over len(ids)+1 buckets: p is given by the logits top of
// the tokens ids and by the log-sum-exp of its whole row, q by its row.
func KL(ids []uint16, top []float32, logSumExp float64, row []float32) float64 {
	in := make(map[uint16]bool, len(ids))
	for _, id := range ids {
		in[id] = true
	}
	var rest []float32
	for id, v := range row {
		if !in[uint16(id)] {
			rest = append(rest, v)
		}
	}
	norm := logSumExpOf(row)
	kl, pRest := 0.0, 1.0
	for i, id := range ids {
		logP := float64(top[i]) - logSumExp
		p := math.Exp(logP)
		kl += p * (logP - (float64(row[id]) - norm))
		pRest -= p
	}
	if pRest > 1e-12 { // below, it is rounding
		kl += pRest * (math.Log(pRest) - (logSumExpOf(rest) - norm))
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
// for others llama-perplexity puts it in the place of each chunk's first token.
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
