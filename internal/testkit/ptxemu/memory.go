package ptxemu

import (
	"fmt"
	"sort"
	"sync"
)

// Memory is a device's global memory: separate allocations at addresses that
// are never used twice, so that a stale pointer is always found out. It may be
// used by several goroutines. Between a launch and a copy nothing is ordered
// here: that is the driver's job.
type Memory struct {
	mu     sync.Mutex
	limit  int
	used   int
	next   uint64
	live   regions // sorted by base; replaced, never changed in place
	freed  []span  // the last freedKept, for messages
	grid   uint32  // number of launches so far
	atomic sync.Mutex
}

// region is one allocation. writer holds, for every granule of 16 bytes, the
// number of the last launch that wrote there.
type region struct {
	base   uint64
	data   []byte
	host   bool
	writer []uint32
}

const (
	deviceBase  = 0x2000_0000_0000
	allocAlign  = 512
	guardBytes  = 1 << 20 // between allocations, never mapped
	freedKept   = 256
	granule     = 16
	maxAllocate = 16 << 30
)

// poison fills memory that nobody has written.
const poison = 0xCD

// NewMemory returns a device memory that holds at most limit bytes.
func NewMemory(limit int) *Memory { return &Memory{limit: limit, next: deviceBase} }

// MemoryError is a host-side mistake with device memory: an address outside the
// live allocations, a wrong free, no room.
type MemoryError struct {
	Op      string
	Address uint64
	Size    int
	Reason  string
}

func (e *MemoryError) Error() string {
	return fmt.Sprintf("ptxemu: %s of %d bytes at %#x: %s", e.Op, e.Size, e.Address, e.Reason)
}

// Alloc reserves size bytes, aligned to 512, filled with 0xCD, and returns
// their address.
func (m *Memory) Alloc(size int) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if size <= 0 || size > maxAllocate || size > m.limit-m.used {
		return 0, &MemoryError{Op: "alloc", Size: size, Reason: fmt.Sprintf("%d of %d bytes are free", m.limit-m.used, m.limit)}
	}
	data := make([]byte, size)
	fill(data, poison)
	r := &region{base: m.next, data: data, writer: make([]uint32, (size+granule-1)/granule)}
	m.next += uint64(size+guardBytes+allocAlign-1) &^ (allocAlign - 1)
	m.used += size
	m.insert(r)
	return r.base, nil
}

// MapHost makes host memory readable and writable by kernels at addr, which is
// where it lies in this process. The bytes stay the caller's, outside the Go
// heap, until Free.
func (m *Memory) MapHost(addr uint64, data []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(data) == 0 || addr>>windowShift < deviceBase>>windowShift && addr>>windowShift >= windowShared {
		return &MemoryError{Op: "map", Address: addr, Size: len(data), Reason: "no host address"}
	}
	m.insert(&region{base: addr, data: data, host: true, writer: make([]uint32, (len(data)+granule-1)/granule)})
	return nil
}

func (m *Memory) insert(r *region) {
	i := sort.Search(len(m.live), func(i int) bool { return m.live[i].base > r.base })
	live := make(regions, 0, len(m.live)+1)
	live = append(live, m.live[:i]...)
	live = append(live, r)
	m.live = append(live, m.live[i:]...)
}

// Free gives back what Alloc or MapHost made; addr is its start.
func (m *Memory) Free(addr uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, r := range m.live {
		if r.base != addr {
			continue
		}
		m.live = append(append(regions{}, m.live[:i]...), m.live[i+1:]...)
		if r.host {
			return nil
		}
		m.used -= len(r.data)
		m.freed = append(m.freed, span{r.base, len(r.data)})
		if len(m.freed) > freedKept {
			m.freed = m.freed[1:]
		}
		return nil
	}
	return &MemoryError{Op: "free", Address: addr, Reason: "no allocation starts here" + m.wasFreed(addr)}
}

// Write copies b to the device address.
func (m *Memory) Write(addr uint64, b []byte) error {
	dst, err := m.bytes("write", addr, len(b))
	copy(dst, b)
	return err
}

// Read fills b from the device address.
func (m *Memory) Read(addr uint64, b []byte) error {
	src, err := m.bytes("read", addr, len(b))
	copy(b, src)
	return err
}

// Copy moves size bytes inside the device memory; the ranges may overlap.
func (m *Memory) Copy(dst, src uint64, size int) error {
	from, err := m.bytes("copy", src, size)
	if err != nil {
		return err
	}
	to, err := m.bytes("copy", dst, size)
	copy(to, from)
	return err
}

// Fill repeats pattern over size bytes at addr.
func (m *Memory) Fill(addr uint64, size int, pattern []byte) error {
	dst, err := m.bytes("fill", addr, size)
	for i := range dst {
		dst[i] = pattern[i%len(pattern)]
	}
	return err
}

func (m *Memory) bytes(op string, addr uint64, size int) ([]byte, error) {
	if size == 0 {
		return nil, nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	r, reason := m.live.find(addr, size)
	if reason != "" {
		return nil, &MemoryError{Op: op, Address: addr, Size: size, Reason: "outside " + reason + m.wasFreed(addr)}
	}
	off := addr - r.base
	return r.data[off : off+uint64(size)], nil
}

// Used returns the bytes that are allocated, without mapped host memory.
func (m *Memory) Used() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.used
}

// Limit returns the capacity in bytes.
func (m *Memory) Limit() int { return m.limit }

// Range returns start and size of the allocation that holds addr.
func (m *Memory) Range(addr uint64) (base uint64, size int, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, reason := m.live.find(addr, 1)
	if reason != "" {
		return 0, 0, false
	}
	return r.base, len(r.data), true
}

// Live returns the number of allocations and mapped host ranges.
func (m *Memory) Live() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.live)
}

type span struct {
	base uint64
	size int
}

// regions is sorted by base.
type regions []*region

// find returns the region that holds size bytes at addr, or says where they
// lie instead.
func (rs regions) find(addr uint64, size int) (*region, string) {
	i := sort.Search(len(rs), func(i int) bool { return rs[i].base > addr }) - 1
	if i < 0 {
		return nil, "every allocation"
	}
	r := rs[i]
	off, n := addr-r.base, uint64(len(r.data))
	if off < n && uint64(size) <= n-off {
		return r, ""
	}
	if off < n+guardBytes {
		return nil, fmt.Sprintf("the allocation [%#x, +%d), %d bytes past its start", r.base, n, off)
	}
	return nil, "every allocation"
}

// wasFreed says that addr lies in memory that was given back, if so.
func (m *Memory) wasFreed(addr uint64) string {
	for _, s := range m.freed {
		if addr-s.base < uint64(s.size) {
			return fmt.Sprintf(" (freed: [%#x, +%d))", s.base, s.size)
		}
	}
	return ""
}

func (m *Memory) lockedFreed(addr uint64) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.wasFreed(addr)
}
