// Package model turns what a model file says of itself into a graph: one file
// per family. A family is a function from a Config, its hyperparameters, to a
// graph.Graph; adding one is a file and a line in families.
package model

import (
	"errors"

	"github.com/holdfast-run/holdfast/graph"
	"github.com/holdfast-run/holdfast/weights"
)

// ErrUnsupported is returned for a family, or a feature of one, that is not
// carried.
var ErrUnsupported = errors.New("model: not supported")

// family is what one architecture adds to what all have.
type family struct {
	// graph writes the forward pass and returns its logits.
	graph func(*Config, *net) graph.Value
	// interleaved says that the pairs that RoPE turns are neighbours.
	interleaved bool
	// gguf, if set, reads what FromGGUF does not read for every family.
	gguf func(*source, *Config)
}

// families has the families by GGUF's general.architecture.
var families = map[string]family{
	"gemma2":  {graph: gemma2, gguf: gemma2GGUF},
	"gemma3":  {graph: gemma3, gguf: gemma3GGUF},
	"granite": {graph: granite, interleaved: true, gguf: graniteGGUF},
	"llama":   {graph: llama, interleaved: true, gguf: llamaGGUF},
	"phi3":    {graph: phi3},
	"qwen2":   {graph: qwen2},
	"qwen3":   {graph: qwen3},
}

// Build returns the graph of the model in f, which Open opened. Every weight that
// the graph names is in f with the shape that it needs; of a folder, the graph
// reads all.
func Build(f *weights.File) (*graph.Graph, error) {
	if !f.Folder() {
		c, err := FromGGUF(f)
		if err != nil {
			return nil, err
		}
		return c.Build(f)
	}
	c, err := FromFolder(f)
	if err != nil {
		return nil, err
	}
	g, err := c.Build(f)
	if err != nil {
		return nil, err
	}
	return g, c.checkUsed(f, g)
}
