package model

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/holdfast-run/holdfast/graph"
	"github.com/holdfast-run/holdfast/weights"
)

// Config is what makes a family's graph one model's: its hyperparameters,
// whatever kind of file they were read from. FromGGUF fills it from a GGUF
// file's metadata.
//
// Tensors carry GGUF's names and GGUF's layout: a reader of another format
// presents its own in that form.
type Config struct {
	Family string // a key of families: GGUF's name for the architecture
	Source string // the file or folder that this was read from, for errors

	Layers  int
	Context int // positions that the model was made for
	Width   int // elements of one row between layers
	FFN     int // elements of one row inside of the feed-forward
	Heads   int // query heads
	KVHeads int // they share these in groups of Heads / KVHeads
	HeadDim int // elements of one head, of queries, keys and values alike
	Vocab   int // rows of token_embd.weight
	NormEps float64

	// Window is how many positions a token sees, its own included, in the layers
	// that Windowed marks; 0 means all, in every layer. Windowed has one entry for
	// each layer, or is nil: then Window is that of all layers.
	Window   int
	Windowed []bool

	// RoPE is the rotation of all layers, but for those with a window where
	// WindowRoPE is set.
	RoPE       RoPE
	WindowRoPE *RoPE

	AttentionScale float64 // of q·k; 0 means 1/√HeadDim
	AttentionCap   float64 // soft cap of the scaled scores; 0 means none
	LogitCap       float64 // soft cap of the logits; 0 means none

	// What Granite multiplies the embeddings, what a layer's parts add, and the
	// logits by; 0 means 1.
	EmbeddingScale, ResidualScale, LogitScale float64

	foreign func(name string) string // what the file calls a tensor; nil: as the graph does
}

// Limits of a model's hyperparameters, so that a hostile file cannot make the
// graph itself large.
const (
	maxLayers  = 1024
	maxWidth   = 1 << 20 // elements of one row of activations
	maxVocab   = 1 << 24
	maxContext = 1 << 26 // positions
	maxHeadDim = 1024
)

// Build returns the graph of c. Every weight that it names is in f, with the
// shape that it needs. An error names the tensor or the hyperparameter.
func (c *Config) Build(f *weights.File) (*graph.Graph, error) {
	family, ok := families[c.Family]
	if !ok {
		known := slices.Sorted(maps.Keys(families))
		return nil, fmt.Errorf("%w: architecture %q of %s; known: %s", ErrUnsupported, c.Family, c.Source, strings.Join(known, ", "))
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	n := &net{c: c, file: f, interleaved: family.interleaved}
	if err := n.rotations(); err != nil {
		return nil, err
	}
	g, err := n.Build(family.graph(c, n), c.Context)
	if err != nil {
		return nil, fmt.Errorf("model: %s: %w", c.Source, err)
	}
	for _, t := range g.Tensors() {
		if err := c.checkTensor(f, t); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// check reports hyperparameters that no model can have.
func (c *Config) check() error {
	for _, p := range []struct {
		name  string
		value int
		most  int
	}{
		{"layers", c.Layers, maxLayers}, {"positions of context", c.Context, maxContext}, {"elements of width", c.Width, maxWidth},
		{"elements of feed-forward", c.FFN, maxWidth}, {"heads", c.Heads, maxWidth}, {"KV heads", c.KVHeads, maxWidth},
		{"elements of a head", c.HeadDim, maxHeadDim}, {"rows of vocabulary", c.Vocab, maxVocab},
	} {
		if p.value < 1 || p.value > p.most {
			return fmt.Errorf("model: %s: %d %s; it must be in [1, %d]", c.Source, p.value, p.name, p.most)
		}
	}
	if c.Heads%c.KVHeads != 0 || c.HeadDim%2 != 0 {
		return fmt.Errorf("%w: %s: %d heads of %d over %d KV heads", ErrUnsupported, c.Source, c.Heads, c.HeadDim, c.KVHeads)
	}
	if c.Heads*c.HeadDim > maxWidth {
		return fmt.Errorf("model: %s: %d heads of %d; together at most %d", c.Source, c.Heads, c.HeadDim, maxWidth)
	}
	if c.Window < 0 || c.Window > maxContext || c.Windowed != nil && len(c.Windowed) != c.Layers {
		return fmt.Errorf("model: %s: window of %d positions, marked for %d of %d layers", c.Source, c.Window, len(c.Windowed), c.Layers)
	}
	for _, p := range []struct {
		name  string
		value float64
	}{
		{"norm epsilon", c.NormEps}, {"attention scale", c.AttentionScale}, {"attention soft cap", c.AttentionCap}, {"logit soft cap", c.LogitCap},
		{"embedding scale", c.EmbeddingScale}, {"residual scale", c.ResidualScale}, {"logit scale", c.LogitScale},
	} {
		if !(p.value >= 0) || math.IsInf(p.value, 1) {
			return fmt.Errorf("model: %s: %s of %g; it must be a number that is not negative", c.Source, p.name, p.value)
		}
	}
	return nil
}

// hasWindow reports whether layer i is one of those with a window.
func (c *Config) hasWindow(i int) bool {
	return c.Window > 0 && (c.Windowed == nil || c.Windowed[i])
}

// window returns how many positions a token sees in layer i; 0 means all. One as
// long as the context hides nothing.
func (c *Config) window(i int) int {
	if !c.hasWindow(i) || c.Window >= c.Context {
		return 0
	}
	return c.Window
}

// scale returns what multiplies the scores of attention.
func (c *Config) scale() float64 {
	if c.AttentionScale > 0 {
		return c.AttentionScale
	}
	return 1 / math.Sqrt(float64(c.HeadDim))
}

// everyNthFull marks the layers with a window where each n-th sees everything.
func everyNthFull(layers, n int) []bool {
	windowed := make([]bool, layers)
	for i := range windowed {
		windowed[i] = (i+1)%n != 0
	}
	return windowed
}
