package cuda

import (
	"errors"
	"fmt"
	"unsafe"

	"github.com/holdfast-run/holdfast/bindings/cuda"
	"github.com/holdfast-run/holdfast/device"
	"github.com/holdfast-run/holdfast/internal/slab"
)

// hostMemory is what HostMemory gave. It is mapped here and page-locked by the driver,
// not allocated by it, so that it outlives a lost context.
type hostMemory struct {
	slab   *slab.Slab // nil if nobody asked
	data   []byte
	locked bool
}

var _ device.HostAllocator = (*program)(nil)

// HostMemory implements device.HostAllocator. All of the memory is backed by pages at
// once. Where a Rebuild cannot lock it again blocks pass through slots.
func (p *program) HostMemory(n int) ([]byte, error) {
	if n <= 0 || p.host.slab != nil {
		return nil, fmt.Errorf("cuda: BUG: %d bytes of host memory, after %d", n, len(p.host.data))
	}
	s, err := slab.New(n)
	if err != nil {
		return nil, err
	}
	p.host = hostMemory{slab: s, data: s.Take(n)}
	if err := p.thread.do(p.lockHost); err != nil {
		return nil, errors.Join(err, p.host.close())
	}
	return p.host.data, nil
}

// lockHost page-locks the host memory, on the thread.
func (p *program) lockHost() error {
	if p.lost != nil {
		return p.lost
	}
	err := p.driver.MemHostRegister(p.host.data, cuda.HostPortable)
	p.host.locked = err == nil
	return p.fail("page-locking of host memory", err)
}

// unlock gives up the lock, on the thread. Nothing is under way.
func (h *hostMemory) unlock(d *cuda.Driver) error {
	if !h.locked {
		return nil
	}
	h.locked = false
	return d.MemHostUnregister(h.data)
}

// close gives the memory back.
func (h *hostMemory) close() error {
	if h.slab == nil {
		return nil
	}
	s := h.slab
	*h = hostMemory{}
	return s.Close()
}

// has reports whether a block's host memory is page-locked here.
func (h *hostMemory) has(block []byte) bool {
	if !h.locked {
		return false
	}
	// Memory below wraps around and is too far.
	at := uintptr(unsafe.Pointer(&block[0])) - uintptr(unsafe.Pointer(&h.data[0]))
	return at < uintptr(len(h.data)) && len(block) <= len(h.data)-int(at)
}

// straight is the ticket of a copy between a block and memory of HostMemory.
type straight struct{ p *program }

// Wait implements device.Ticket. It waits for all copies that were asked for.
func (t straight) Wait() (*device.Output, error) {
	p := t.p
	return nil, p.thread.do(func() error {
		if p.lost != nil {
			return p.lost
		}
		return p.fail("copy of a block", p.driver.StreamSynchronize(p.copies.stream))
	})
}
