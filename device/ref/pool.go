package ref

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/holdfast-run/holdfast/device"
	"github.com/holdfast-run/holdfast/graph"
	"github.com/holdfast-run/holdfast/internal/f16"
)

// pool keeps the KV of one kind in float64. A block is
// [layer][K, V][slot][head · dim].
type pool struct {
	kv     []graph.KVLayer
	offset []int // of each of the graph's layers in a block, in elements
	elems  int   // of one block
	blocks int
	quants bool // KV is of Q8_0
	data   []float64
}

func blockElems(g *graph.Graph, kind device.PoolKind) int {
	n := 0
	for _, l := range g.KV {
		if device.KindOf(l) == kind {
			n += 2 * device.BlockTokens * l.Heads * l.HeadDim
		}
	}
	return n
}

func newPool(g *graph.Graph, o device.Options, kind device.PoolKind) *pool {
	p := &pool{kv: g.KV, elems: blockElems(g, kind), blocks: o.Blocks[kind], quants: o.KV == graph.Q8_0}
	at := 0
	for _, l := range g.KV {
		p.offset = append(p.offset, at)
		if device.KindOf(l) == kind {
			at += 2 * device.BlockTokens * l.Heads * l.HeadDim
		}
	}
	p.data = make([]float64, p.blocks*p.elems)
	return p
}

// rows returns the K and V rows of a slot in a layer.
func (p *pool) rows(layer, slot int) (k, v []float64) {
	w := p.kv[layer].Heads * p.kv[layer].HeadDim
	at := slot/device.BlockTokens*p.elems + p.offset[layer] + slot%device.BlockTokens*w
	half := device.BlockTokens * w
	return p.data[at : at+w], p.data[at+half : at+half+w]
}

func (p *pool) store(layer, slot int, k, v []float64) {
	kr, vr := p.rows(layer, slot)
	copy(kr, k)
	copy(vr, v)
	if p.quants {
		roundQ8(kr)
		roundQ8(vr)
	}
}

// hadamard is the Walsh-Hadamard transform of 32 values, whose square is 32.
func hadamard(x []float64) {
	for h := 1; h < 32; h *= 2 {
		for i := range 32 {
			if i&h == 0 {
				x[i], x[i+h] = x[i]+x[i+h], x[i]-x[i+h]
			}
		}
	}
}

// roundQ8 replaces values by what Q8_0 keeps of them: of 32, transformed, whole
// multiples, up to 127, of an f16 number.
func roundQ8(x []float64) {
	for ; len(x) > 0; x = x[32:] {
		hadamard(x)
		largest := 0.0
		for _, v := range x[:32] {
			largest = max(largest, math.Abs(v))
		}
		d := float64(f16.ToFloat32(f16.FromFloat32(float32(largest / 127))))
		for i, v := range x[:32] {
			if largest > 0 {
				x[i] = d / 32 * math.RoundToEven(v*127/largest)
			}
		}
		hadamard(x)
	}
}

func (p *pool) head(layer, slot, head int) (k, v []float64) {
	k, v = p.rows(layer, slot)
	d := p.kv[layer].HeadDim
	return k[head*d : (head+1)*d], v[head*d : (head+1)*d]
}

func (p *pool) BlockBytes() int { return 8 * p.elems }
func (p *pool) Blocks() int     { return p.blocks }

func (p *pool) block(b int32) ([]float64, error) {
	if b < 0 || int(b) >= p.Blocks() {
		return nil, fmt.Errorf("ref: BUG: block %d is not in the pool of %d", b, p.Blocks())
	}
	return p.data[int(b)*p.elems : (int(b)+1)*p.elems], nil
}

func (p *pool) Copy(src, dst int32) (device.Ticket, error) {
	from, err := p.block(src)
	if err != nil {
		return nil, err
	}
	to, err := p.block(dst)
	if err != nil {
		return nil, err
	}
	copy(to, from)
	return device.Done{}, nil
}

func (p *pool) Save(block int32, host []byte) (device.Ticket, error) {
	from, err := p.block(block)
	if err != nil {
		return nil, err
	}
	if len(host) != p.BlockBytes() {
		return nil, fmt.Errorf("ref: BUG: %d bytes for a block of %d", len(host), p.BlockBytes())
	}
	for i, x := range from {
		binary.LittleEndian.PutUint64(host[8*i:], math.Float64bits(x))
	}
	return device.Done{}, nil
}

func (p *pool) Load(host []byte, block int32) (device.Ticket, error) {
	to, err := p.block(block)
	if err != nil {
		return nil, err
	}
	if len(host) != p.BlockBytes() {
		return nil, fmt.Errorf("ref: BUG: %d bytes for a block of %d", len(host), p.BlockBytes())
	}
	for i := range to {
		to[i] = math.Float64frombits(binary.LittleEndian.Uint64(host[8*i:]))
	}
	return device.Done{}, nil
}
