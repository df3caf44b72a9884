package echo

import (
	"encoding/binary"
	"fmt"

	"github.com/holdfast-run/holdfast/device"
)

// blockBytes is a block of tokens.
const blockBytes = 4 * device.BlockTokens

// pool implements device.Pool.
type pool struct{ p *Program }

// BlockBytes implements device.Pool.
func (pool) BlockBytes() int { return blockBytes }

// Blocks implements device.Pool.
func (q pool) Blocks() int { return q.p.opts.Blocks[device.Full] }

func (q pool) block(b int32) ([]int32, error) {
	if b < 0 || int(b) >= q.Blocks() {
		return nil, fmt.Errorf("echo: block %d is not in the pool of %d", b, q.Blocks())
	}
	return q.p.slots[b*device.BlockTokens : (b+1)*device.BlockTokens], nil
}

// Copy implements device.Pool.
func (q pool) Copy(src, dst int32) (device.Ticket, error) {
	from, err := q.block(src)
	if err != nil {
		return nil, err
	}
	to, err := q.block(dst)
	if err != nil {
		return nil, err
	}
	return q.p.do(&ticket{}, func() error { copy(to, from); return nil }), nil
}

// Save implements device.Pool.
func (q pool) Save(block int32, host []byte) (device.Ticket, error) {
	from, err := q.block(block)
	if err != nil || len(host) != blockBytes {
		return nil, fmt.Errorf("echo: save of block %d to %d bytes: %w", block, len(host), err)
	}
	return q.p.do(&ticket{}, func() error {
		for i, token := range from {
			binary.LittleEndian.PutUint32(host[4*i:], uint32(token))
		}
		return nil
	}), nil
}

// Load implements device.Pool.
func (q pool) Load(host []byte, block int32) (device.Ticket, error) {
	to, err := q.block(block)
	if err != nil || len(host) != blockBytes {
		return nil, fmt.Errorf("echo: load of %d bytes to block %d: %w", len(host), block, err)
	}
	return q.p.do(&ticket{}, func() error {
		for i := range to {
			to[i] = int32(binary.LittleEndian.Uint32(host[4*i:]))
		}
		return nil
	}), nil
}
