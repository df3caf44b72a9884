// Package model turns a model file's metadata into a graph: one file per
// family. A family is a function from hyperparameters to graph.Graph; adding
// one is a file and a line in families.
package model

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/holdfast-run/holdfast/graph"
	"github.com/holdfast-run/holdfast/weights"
)

// ErrUnsupported is returned for a family, or a feature of one, that is not
// carried.
var ErrUnsupported = errors.New("model: not supported")

// families maps GGUF's general.architecture to the family's file.
var families = map[string]func(*source) (*graph.Graph, error){
	"llama": llama,
}

// Limits of a model's hyperparameters, so that a hostile file cannot make the
// graph itself large.
const (
	maxLayers  = 1024
	maxWidth   = 1 << 20 // elements of one row of activations
	maxContext = 1 << 26 // positions
	maxHeadDim = 1024
)

// Build returns the graph of the model in f. Every weight that the graph names
// is in f with the shape that it needs.
func Build(f *weights.File) (*graph.Graph, error) {
	arch, err := f.Meta().String("general.architecture")
	if err != nil {
		return nil, err
	}
	family, ok := families[arch]
	if !ok {
		known := slices.Sorted(maps.Keys(families))
		return nil, fmt.Errorf("%w: general.architecture %q of %s; known: %s", ErrUnsupported, arch, f.Path(), strings.Join(known, ", "))
	}
	s := &source{f: f, arch: arch}
	g, err := family(s)
	if err = errors.Join(s.err, err); err != nil {
		return nil, err
	}
	for _, t := range g.Tensors() {
		if err := check(f, t); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// check reports whether f holds t in the right shape and a type that carries numbers.
func check(f *weights.File, t graph.Tensor) error {
	have, ok := f.Tensor(t.Name)
	if !ok {
		return fmt.Errorf("model: %s: tensor %s is missing", f.Path(), t.Name)
	}
	if !slices.Equal(have.Shape, t.Shape) {
		return fmt.Errorf("model: %s: tensor %s has shape %v; the metadata asks for %v", f.Path(), t.Name, have.Shape, t.Shape)
	}
	if have.Type == graph.I32 {
		return fmt.Errorf("model: %s: tensor %s has type %s; a weight cannot", f.Path(), t.Name, have.Type)
	}
	return nil
}

// source reads hyperparameters under the family's prefix. The first error
// sticks, so that a family reads as its own equations.
type source struct {
	f    *weights.File
	arch string
	err  error
}

func (s *source) fail(err error) {
	if s.err == nil {
		s.err = err
	}
}

// int returns the key arch.name, which must lie in [1, most].
func (s *source) int(name string, most int) int {
	key := s.arch + "." + name
	n, err := s.f.Meta().Uint(key)
	if err != nil {
		s.fail(err)
		return 1
	}
	return s.bounded(key, n, most)
}

// intOr is int with a default for an absent key.
func (s *source) intOr(name string, def, most int) int {
	if !s.f.Meta().Has(s.arch + "." + name) {
		return def
	}
	return s.int(name, most)
}

// window returns how many positions a token sees; 0 means all.
func (s *source) window() int {
	if n, err := s.f.Meta().Uint(s.arch + ".attention.sliding_window"); err == nil && n == 0 {
		return 0
	}
	return s.intOr("attention.sliding_window", 0, maxContext)
}

func (s *source) bounded(key string, n uint64, most int) int {
	if n == 0 || n > uint64(most) {
		s.fail(fmt.Errorf("model: %s: %s is %d; it must be in [1, %d]", s.f.Path(), key, n, most))
		return 1
	}
	return int(n)
}

// floatOr returns the key arch.name, or def if it is absent.
func (s *source) floatOr(name string, def float64) float64 {
	x, err := s.f.Meta().FloatOr(s.arch+"."+name, def)
	if err != nil {
		s.fail(err)
	}
	return x
}

// stringOr returns the key arch.name, or def if it is absent.
func (s *source) stringOr(name, def string) string {
	x, err := s.f.Meta().StringOr(s.arch+"."+name, def)
	if err != nil {
		s.fail(err)
	}
	return x
}

// rows returns the first dimension of a matrix.
func (s *source) rows(name string) int {
	t, ok := s.f.Tensor(name)
	if !ok || len(t.Shape) != 2 || t.Shape[0] > maxWidth*16 {
		s.fail(fmt.Errorf("model: %s: tensor %s is missing or not a matrix", s.f.Path(), name))
		return 1
	}
	return t.Shape[0]
}

// optional returns name if the file has such a tensor, else "".
func (s *source) optional(name string) string {
	if _, ok := s.f.Tensor(name); ok {
		return name
	}
	return ""
}
