package cuda

import (
	"errors"
	"fmt"

	"github.com/holdfast-run/holdfast/bindings/cuda"
	"github.com/holdfast-run/holdfast/device"
)

// pool holds the KV blocks of one kind: [layer][K, V][head][32 tokens][dim], a block
// contiguous over all layers, so that it moves as one copy.
//
// Blocks go straight to and from memory of HostMemory. What else callers have is not
// page-locked, and blocks pass through slots that are: a saved one goes on to the
// caller's memory when its ticket is waited for, when its slot is wanted, or before
// anything is loaded from such memory, whichever comes first. Saves and loads run
// beside the steps, in the order that lane has.
type pool struct {
	p      *program
	kind   device.PoolKind
	block  int // bytes
	blocks int
	slots  [poolSlots]slot
	next   int

	touched []touched // per block

	// Arguments of what runs on the thread.
	from, to               int32
	host                   []byte
	slot                   *slot // nil if host needs none
	copyFn, saveFn, loadFn func() error
}

// poolSlots is how many blocks may be on their way.
const poolSlots = 8

// slot is page-locked memory of one block.
type slot struct {
	pool *pool
	data []byte
	done cuda.Event
	busy bool
	host []byte // where a saved block goes on to; nil if it has
}

// place settles what calls need before there is memory, and after a Rebuild that
// failed. The pool stays in its place for the program's life.
func (q *pool) place(p *program, kind device.PoolKind) {
	*q = pool{p: p, kind: kind, block: p.blockBytes(kind), blocks: p.opts.Blocks[kind]}
	q.touched = make([]touched, q.blocks)
	q.copyFn, q.saveFn, q.loadFn = q.copy, q.save, q.load
	for i := range q.slots {
		q.slots[i].pool = q
	}
}

// open allocates the slots.
func (q *pool) open() (err error) {
	if q.blocks*q.block == 0 { // no layer is of this kind
		return nil
	}
	for i := range q.slots {
		s := &q.slots[i]
		if s.data, err = q.p.driver.MemHostAlloc(q.block, cuda.HostPortable); err != nil {
			return q.p.fail("page-locked memory for blocks", err)
		}
		if s.done, err = q.p.driver.EventCreate(false); err != nil {
			return q.p.fail("event", err)
		}
	}
	return nil
}

// close frees the slots. What was saved and not waited for is dropped: the caller's
// memory may be gone.
func (q *pool) close() error {
	var errs []error
	for i := range q.slots {
		if s := &q.slots[i]; s.data != nil {
			errs = append(errs, q.p.driver.MemFreeHost(s.data))
			if s.done != 0 {
				errs = append(errs, q.p.driver.EventDestroy(s.done))
			}
		}
	}
	return errors.Join(errs...)
}

// BlockBytes implements device.Pool.
func (q *pool) BlockBytes() int { return q.block }

// Blocks implements device.Pool.
func (q *pool) Blocks() int { return q.blocks }

func (q *pool) check(block int32, host []byte) error {
	if block < 0 || int(block) >= q.blocks {
		return fmt.Errorf("cuda: BUG: block %d is not in the pool of %d", block, q.blocks)
	}
	if host != nil && len(host) != q.block {
		return fmt.Errorf("cuda: BUG: %d bytes for a block of %d", len(host), q.block)
	}
	return nil
}

func (q *pool) address(block int32) cuda.DevicePtr {
	return devicePtr(q.p.at.pools[q.kind]) + cuda.DevicePtr(int(block)*q.block)
}

// Copy implements device.Pool.
func (q *pool) Copy(src, dst int32) (device.Ticket, error) {
	if err := errors.Join(q.check(src, nil), q.check(dst, nil)); err != nil {
		return nil, err
	}
	q.from, q.to = src, dst
	return device.Done{}, q.p.thread.do(q.copyFn)
}

func (q *pool) copy() error {
	if q.p.lost != nil {
		return q.p.lost
	}
	if q.from == q.to || q.block == 0 {
		return nil
	}
	to := &q.touched[q.to]
	if err := q.p.follow(&q.p.compute, &q.p.copies, max(q.p.loaded, to.saved)); err != nil {
		return err
	}
	q.p.compute.last++
	to.wrote = q.p.compute.last
	return q.p.fail("copy of a block", q.p.driver.MemcpyDtoDAsync(q.address(q.to), q.address(q.from), uint64(q.block), q.p.compute.stream))
}

// Save implements device.Pool. host is written by the time that the ticket is done; a
// Load from there that is asked for later finds the block, waited for or not.
func (q *pool) Save(block int32, host []byte) (device.Ticket, error) {
	if err := q.check(block, host); err != nil {
		return nil, err
	}
	if q.block == 0 {
		return device.Done{}, nil
	}
	q.from, q.host = block, host
	if err := q.p.thread.do(q.saveFn); err != nil {
		return nil, err
	}
	if q.slot == nil {
		return straight{q.p}, nil
	}
	return &saved{q.slot, &host[0]}, nil
}

func (q *pool) save() error {
	to, err := q.way()
	if err != nil {
		return err
	}
	from := &q.touched[q.from]
	if err := q.p.follow(&q.p.copies, &q.p.compute, from.wrote); err != nil {
		return err
	}
	q.p.copies.last++
	from.saved = q.p.copies.last
	if err := q.p.driver.MemcpyDtoHAsync(to, q.address(q.from), q.p.copies.stream); err != nil {
		return q.p.fail("save of a block", err)
	}
	if q.slot == nil {
		return nil
	}
	q.slot.host = q.host
	return q.slot.mark()
}

// Load implements device.Pool. host, unless it is of HostMemory, may be changed once
// Load has returned.
func (q *pool) Load(host []byte, block int32) (device.Ticket, error) {
	if err := q.check(block, host); err != nil {
		return nil, err
	}
	if q.block == 0 {
		return device.Done{}, nil
	}
	q.to, q.host = block, host
	if err := q.p.thread.do(q.loadFn); err != nil {
		return nil, err
	}
	if q.slot == nil {
		return straight{q.p}, nil
	}
	return device.Done{}, nil
}

func (q *pool) load() error {
	from, err := q.way()
	if err != nil {
		return err
	}
	if q.slot != nil {
		// host may be where an earlier Save goes.
		for i := range q.slots {
			if s := &q.slots[(q.next+i)%poolSlots]; s.host != nil {
				if err := s.finish(); err != nil {
					return err
				}
			}
		}
		copy(from, q.host)
	}
	if err := q.p.follow(&q.p.copies, &q.p.compute, q.p.compute.last); err != nil {
		return err
	}
	q.p.copies.last++
	q.p.loaded = q.p.copies.last
	if err := q.p.driver.MemcpyHtoDAsync(q.address(q.to), from, q.p.copies.stream); err != nil {
		return q.p.fail("load of a block", err)
	}
	if q.slot == nil {
		return nil
	}
	return q.slot.mark()
}

// way returns the page-locked memory that the host's side of a copy has: the caller's,
// or that of the oldest slot, free.
func (q *pool) way() ([]byte, error) {
	if q.slot = nil; q.p.host.has(q.host) {
		return q.host, q.p.lost
	}
	q.slot = &q.slots[q.next]
	q.next = (q.next + 1) % poolSlots
	return q.slot.data, q.slot.finish()
}

// mark notes when the slot's copy is over, in the copy stream's order.
func (s *slot) mark() error {
	s.busy = true
	return s.pool.p.fail("event", s.pool.p.driver.EventRecord(s.done, s.pool.p.copies.stream))
}

// finish waits for the slot's copy and passes a saved block on.
func (s *slot) finish() error {
	p := s.pool.p
	if p.lost != nil {
		return p.lost
	}
	if s.busy {
		if err := p.driver.EventSynchronize(s.done); err != nil {
			return p.fail("copy of a block", err)
		}
		s.busy = false
	}
	copy(s.host, s.data)
	s.host = nil
	return nil
}

// saved is the ticket of a Save.
type saved struct {
	slot *slot
	host *byte // of the caller's memory: the slot may serve another by now
}

// Wait implements device.Ticket.
func (t *saved) Wait() (*device.Output, error) {
	return nil, t.slot.pool.p.thread.do(func() error {
		if s := t.slot; s.host != nil && &s.host[0] == t.host {
			return s.finish()
		}
		return t.slot.pool.p.lost
	})
}
