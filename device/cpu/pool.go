package cpu

import (
	"fmt"
	"unsafe"

	"github.com/holdfast-run/holdfast/device"
	"github.com/holdfast-run/holdfast/graph"
	"github.com/holdfast-run/holdfast/internal/slab"
	kernels "github.com/holdfast-run/holdfast/kernels/cpu"
)

// pool holds the KV blocks of one kind. A block is contiguous over all layers
// of that kind: [layer][KV head][K: dim × 32 slots, V: 32 slots × dim].
type pool struct {
	slab   *slab.Slab
	data   []byte
	kv     []graph.KVLayer
	offset []int // of each of the graph's layers in a block, in bytes
	block  int   // bytes of one block
	blocks int
	dtype  graph.DType

	longest int // bytes of the longest sequence
	touched int // bytes from the start that have pages, or will have soon
}

func blockBytes(g *graph.Graph, t graph.DType, kind device.PoolKind) int {
	n := 0
	for _, l := range g.KV {
		if device.KindOf(l) == kind {
			n += 2 * l.Heads * kernels.KVBytes(t, l.HeadDim)
		}
	}
	return n
}

func newPool(g *graph.Graph, o device.Options, kind device.PoolKind) (*pool, error) {
	p := &pool{kv: g.KV, block: blockBytes(g, o.KV, kind), blocks: o.Blocks[kind], dtype: o.KV}
	at := 0
	for _, l := range g.KV {
		p.offset = append(p.offset, at)
		if device.KindOf(l) == kind {
			at += 2 * l.Heads * kernels.KVBytes(o.KV, l.HeadDim)
		}
	}
	var err error
	if p.slab, err = slab.New(p.blocks * p.block); err != nil {
		return nil, err
	}
	p.data = p.slab.Take(p.blocks * p.block)
	p.longest = min(o.MaxBlocks(), p.blocks) * p.block
	return p, nil
}

// touch backs the memory of the first sequence with pages. Without it, what is read
// from the disk after a restart waits for the kernel longer than for the disk.
func (p *pool) touch() {
	p.slab.Touch(0, p.longest)
	p.touched = p.longest
}

// touchAhead keeps the memory behind the blocks in use backed with pages, for as
// many as a sequence may have: blocks are handed out from the first one on.
func (p *pool) touchAhead(used []int32) {
	end := 0
	for _, b := range used {
		end = max(end, (int(b)+1)*p.block)
	}
	if end > p.touched-p.longest/2 {
		p.touched = end + p.longest
		p.slab.TouchAhead(p.touched)
	}
}

// head returns where a block keeps the K and the V of one head of a layer.
func (p *pool) head(block int32, layer, head int) (k, v []byte) {
	n := kernels.KVBytes(p.dtype, p.kv[layer].HeadDim)
	at := int(block)*p.block + p.offset[layer] + 2*head*n
	return p.data[at : at+n], p.data[at+n : at+2*n]
}

// chunk points c at the blocks of one chunk, as far as blocks reaches, and at none
// that come next.
func (p *pool) chunk(c *kernels.Chunk, blocks []int32, layer, head int) {
	c.Type, c.Dim = p.dtype, p.kv[layer].HeadDim
	for i := range c.K {
		c.K[i], c.V[i], c.Next[i] = nil, nil, nil
		if i < len(blocks) {
			k, v := p.head(blocks[i], layer, head)
			c.K[i], c.V[i] = unsafe.Pointer(&k[0]), unsafe.Pointer(&v[0])
		}
	}
}

// next points c at the blocks of the chunk that is computed after it.
func (p *pool) next(c *kernels.Chunk, blocks []int32, layer, head int) {
	for i, b := range blocks {
		k, _ := p.head(b, layer, head)
		c.Next[i] = unsafe.Pointer(&k[0])
	}
}

// BlockBytes implements device.Pool.
func (p *pool) BlockBytes() int { return p.block }

// Blocks implements device.Pool.
func (p *pool) Blocks() int { return p.blocks }

func (p *pool) bytes(b int32) ([]byte, error) {
	if b < 0 || int(b) >= p.Blocks() {
		return nil, fmt.Errorf("cpu: BUG: block %d is not in the pool of %d", b, p.Blocks())
	}
	return p.data[int(b)*p.block : (int(b)+1)*p.block], nil
}

// Bytes implements device.Mapped.
func (p *pool) Bytes(block int32) []byte {
	b, err := p.bytes(block)
	if err != nil {
		panic(err)
	}
	return b
}

// Copy implements device.Pool.
func (p *pool) Copy(src, dst int32) (device.Ticket, error) {
	from, err := p.bytes(src)
	if err != nil {
		return nil, err
	}
	return p.Load(from, dst)
}

// Save implements device.Pool.
func (p *pool) Save(block int32, host []byte) (device.Ticket, error) {
	from, err := p.bytes(block)
	if err != nil {
		return nil, err
	}
	if len(host) != p.block {
		return nil, fmt.Errorf("cpu: BUG: %d bytes for a block of %d", len(host), p.block)
	}
	copy(host, from)
	return device.Done{}, nil
}

// Load implements device.Pool.
func (p *pool) Load(host []byte, block int32) (device.Ticket, error) {
	to, err := p.bytes(block)
	if err != nil {
		return nil, err
	}
	if len(host) != p.block {
		return nil, fmt.Errorf("cpu: BUG: %d bytes for a block of %d", len(host), p.block)
	}
	copy(to, host)
	return device.Done{}, nil
}
