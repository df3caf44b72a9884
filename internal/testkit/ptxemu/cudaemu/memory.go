package cudaemu

import (
	"errors"
	"fmt"
	"unsafe"

	"github.com/holdfast-run/holdfast/bindings/cuda"
	"golang.org/x/sys/unix"
)

// hostRange is page-locked memory.
type hostRange struct {
	data   []byte
	ours   bool // made by cuMemHostAlloc
	mapped bool // the device may address it
}

func (h *hostRange) free() {
	if h.ours {
		unix.Munmap(h.data)
	}
}

// hostBytes is n bytes of page-locked memory at an address, or nil.
func (c *context) hostBytes(address uintptr, n int) []byte {
	for base, h := range c.host {
		if off := address - base; address >= base && off <= uintptr(len(h.data)) && n <= len(h.data)-int(off) {
			return h.data[off : off+uintptr(n)]
		}
	}
	return nil
}

// hostAlloc maps memory outside the Go heap, filled with what nobody wants.
func (e *Emulator) hostAlloc(n int, flags uintptr) (uintptr, cuda.Code) {
	if n <= 0 || flags&^(cuda.HostPortable|cuda.HostDeviceMap|cuda.HostWriteCombined) != 0 {
		return 0, cuda.InvalidValue
	}
	data, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return 0, cuda.OutOfMemory
	}
	for i := range data {
		data[i] = 0xCD
	}
	return e.register(&hostRange{data: data, ours: true, mapped: flags&cuda.HostDeviceMap != 0})
}

func (e *Emulator) register(h *hostRange) (uintptr, cuda.Code) {
	address := uintptr(unsafe.Pointer(&h.data[0]))
	if h.mapped {
		if err := e.ctx.mem.MapHost(uint64(address), h.data); err != nil {
			h.free()
			return 0, cuda.InvalidValue
		}
	}
	e.ctx.host[address] = h
	return address, cuda.Success
}

func (e *Emulator) unregister(address uintptr, ours bool) cuda.Code {
	h := e.ctx.host[address]
	if h == nil || h.ours != ours {
		return cuda.InvalidValue
	}
	if h.mapped {
		e.ctx.mem.Free(uint64(address))
	}
	delete(e.ctx.host, address)
	h.free()
	return cuda.Success
}

// span is one side of a copy: device memory or, if host, page-locked or
// (sync copies only) any memory of the caller.
type span struct {
	address uintptr
	bytes   int
	host    bool
}

// valid checks a side of an Async copy when it is queued.
func (e *Emulator) valid(s span) bool {
	if s.host {
		return e.ctx.hostBytes(s.address, s.bytes) != nil
	}
	base, size, ok := e.ctx.mem.Range(uint64(s.address))
	return ok && s.bytes <= size-int(uint64(s.address)-base)
}

// copySpans moves bytes when a copy runs. The memory may be gone by then.
func (e *Emulator) copySpans(dst, src span) error {
	var b []byte
	if src.host {
		b = e.ctx.hostBytes(src.address, src.bytes)
	} else {
		b = make([]byte, src.bytes)
		if err := e.ctx.mem.Read(uint64(src.address), b); err != nil {
			return err
		}
	}
	if b == nil {
		return errors.New("cudaemu: a queued copy's host memory was freed")
	}
	if !dst.host {
		return e.ctx.mem.Write(uint64(dst.address), b)
	}
	to := e.ctx.hostBytes(dst.address, dst.bytes)
	if to == nil {
		return errors.New("cudaemu: a queued copy's host memory was freed")
	}
	copy(to, b)
	return nil
}

// copyAsync queues a copy.
func (e *Emulator) copyAsync(dst, src span, st uintptr) cuda.Code {
	if dst.bytes == 0 {
		return cuda.Success
	}
	if !e.valid(dst) || !e.valid(src) {
		return cuda.InvalidValue
	}
	return e.queue(st, work{kind: cuda.NodeMemcpy, run: func() error { return e.copySpans(dst, src) }})
}

// memset queues a fill.
func (e *Emulator) memset(address uintptr, pattern []byte, n uintptr, st uintptr) cuda.Code {
	bytes := int(n) * len(pattern)
	if bytes == 0 {
		return cuda.Success
	}
	if !e.valid(span{address: address, bytes: bytes}) || address%uintptr(len(pattern)) != 0 {
		return cuda.InvalidValue
	}
	return e.queue(st, work{kind: cuda.NodeMemset, run: func() error { return e.ctx.mem.Fill(uint64(address), bytes, pattern) }})
}

// copyAttributes is CUmemcpyAttributes.
type copyAttributes struct {
	order int32
	_     [5]uint32
}

// maxCopies bounds a batch.
const maxCopies = 1 << 20

// memcpyBatch is cuMemcpyBatchAsync_v2: its copies run in any order.
func memcpyBatch(e *Emulator, a []uintptr) cuda.Code {
	n := int(a[3])
	s := e.ctx.streams[a[7]]
	if s == nil || a[7] == 0 || n <= 0 || n > maxCopies || a[6] == 0 {
		return cuda.InvalidValue
	}
	if s.capture != nil {
		return cuda.StreamCaptureUnsupported
	}
	dsts := unsafe.Slice((*uintptr)(pointer(a[0])), n)
	srcs := unsafe.Slice((*uintptr)(pointer(a[1])), n)
	sizes := unsafe.Slice((*uint64)(pointer(a[2])), n)
	order := get[copyAttributes](a[4]).order
	if order < int32(cuda.AccessStream) || order > int32(cuda.AccessAny) || get[uint64](a[5]) != 0 {
		return cuda.InvalidValue
	}
	type pair struct{ dst, src span }
	copies := make([]pair, n)
	for i := range copies {
		copies[i] = pair{e.side(dsts[i], sizes[i]), e.side(srcs[i], sizes[i])}
		if sizes[i] == 0 || !e.valid(copies[i].dst) || !e.valid(copies[i].src) {
			return cuda.InvalidValue
		}
	}
	return e.queue(a[7], work{kind: cuda.NodeMemcpy, run: func() error {
		for _, i := range e.rng.Perm(n) {
			if err := e.copySpans(copies[i].dst, copies[i].src); err != nil {
				return fmt.Errorf("copy %d of a batch: %w", i, err)
			}
		}
		return nil
	}})
}

// side tells device from host memory by the address.
func (e *Emulator) side(address uintptr, bytes uint64) span {
	s := span{address: address, bytes: int(bytes), host: true}
	if e.ctx.hostBytes(address, int(bytes)) == nil {
		s.host = false
	}
	return s
}

// unsafeInCapture fails a call that may not be made while a stream captures
// globally or, by this thread, thread-locally.
func (e *Emulator) unsafeInCapture() bool {
	bad := false
	for _, s := range e.ctx.streams {
		if c := s.capture; c != nil && (c.mode == cuda.CaptureGlobal || c.mode == cuda.CaptureThreadLocal && c.thread == thread()) {
			c.invalid, bad = true, true
		}
	}
	return bad
}

var memoryHandlers = map[string]*handler{
	"cuMemGetInfo_v2": plain(needsContext, func(e *Emulator, a []uintptr) cuda.Code {
		put(a[0], uint64(e.ctx.mem.Limit()-e.ctx.mem.Used()))
		put(a[1], uint64(e.ctx.mem.Limit()))
		return cuda.Success
	}),
	"cuMemAlloc_v2": plain(needsContext, func(e *Emulator, a []uintptr) cuda.Code {
		if a[1] == 0 {
			return cuda.InvalidValue
		}
		if e.unsafeInCapture() {
			return cuda.StreamCaptureUnsupported
		}
		p, err := e.ctx.mem.Alloc(int(a[1]))
		if err != nil {
			return cuda.OutOfMemory
		}
		e.ctx.device[p] = true
		put(a[0], p)
		return cuda.Success
	}),
	"cuMemFree_v2": waiting(func(e *Emulator, a []uintptr) cuda.Code {
		if a[0] == 0 {
			return cuda.Success
		}
		if !e.ctx.device[uint64(a[0])] {
			return cuda.InvalidValue
		}
		if e.unsafeInCapture() {
			return cuda.StreamCaptureUnsupported
		}
		e.drain(func() bool { return false })
		delete(e.ctx.device, uint64(a[0]))
		e.ctx.mem.Free(uint64(a[0]))
		return cuda.Success
	}),
	"cuMemHostAlloc": plain(needsContext, func(e *Emulator, a []uintptr) cuda.Code {
		p, code := e.hostAlloc(int(a[1]), a[2])
		if code == cuda.Success {
			put(a[0], p)
		}
		return code
	}),
	"cuMemFreeHost": plain(needsContext, func(e *Emulator, a []uintptr) cuda.Code { return e.unregister(a[0], true) }),
	"cuMemHostRegister_v2": plain(needsContext, func(e *Emulator, a []uintptr) cuda.Code {
		if a[0] == 0 || a[1] == 0 || e.ctx.host[a[0]] != nil {
			return cuda.InvalidValue
		}
		_, code := e.register(&hostRange{data: memory(a[0], int(a[1])), mapped: a[2]&cuda.HostDeviceMap != 0})
		return code
	}),
	"cuMemHostUnregister": plain(needsContext, func(e *Emulator, a []uintptr) cuda.Code { return e.unregister(a[0], false) }),
	"cuMemHostGetDevicePointer_v2": plain(needsContext, func(e *Emulator, a []uintptr) cuda.Code {
		for base, h := range e.ctx.host {
			if h.mapped && a[1] >= base && a[1]-base < uintptr(len(h.data)) && a[2] == 0 {
				put(a[0], a[1])
				return cuda.Success
			}
		}
		return cuda.InvalidValue
	}),
	"cuMemGetAddressRange_v2": plain(needsContext, func(e *Emulator, a []uintptr) cuda.Code {
		base, size, found := e.ctx.mem.Range(uint64(a[2]))
		if !found {
			return cuda.NotFound
		}
		put(a[0], base)
		put(a[1], uint64(size))
		return cuda.Success
	}),
	// The two copies that wait do not wait for streams that are not ordered
	// with the default one, which is all that the bindings make.
	"cuMemcpyHtoD_v2": waiting(func(e *Emulator, a []uintptr) cuda.Code {
		if e.unsafeInCapture() {
			return cuda.StreamCaptureImplicit
		}
		if a[2] > 0 && e.ctx.mem.Write(uint64(a[0]), memory(a[1], int(a[2]))) != nil {
			return cuda.InvalidValue
		}
		return cuda.Success
	}),
	"cuMemcpyDtoH_v2": waiting(func(e *Emulator, a []uintptr) cuda.Code {
		if e.unsafeInCapture() {
			return cuda.StreamCaptureImplicit
		}
		if a[2] > 0 && e.ctx.mem.Read(uint64(a[1]), memory(a[0], int(a[2]))) != nil {
			return cuda.InvalidValue
		}
		return cuda.Success
	}),
	"cuMemcpyHtoDAsync_v2": plain(needsContext, func(e *Emulator, a []uintptr) cuda.Code {
		return e.copyAsync(span{address: a[0], bytes: int(a[2])}, span{address: a[1], bytes: int(a[2]), host: true}, a[3])
	}),
	"cuMemcpyDtoHAsync_v2": plain(needsContext, func(e *Emulator, a []uintptr) cuda.Code {
		return e.copyAsync(span{address: a[0], bytes: int(a[2]), host: true}, span{address: a[1], bytes: int(a[2])}, a[3])
	}),
	"cuMemcpyDtoDAsync_v2": plain(needsContext, func(e *Emulator, a []uintptr) cuda.Code {
		if a[0] < a[1]+a[2] && a[1] < a[0]+a[2] {
			return cuda.InvalidValue // overlapping
		}
		return e.copyAsync(span{address: a[0], bytes: int(a[2])}, span{address: a[1], bytes: int(a[2])}, a[3])
	}),
	"cuMemcpyBatchAsync_v2": plain(needsContext, memcpyBatch),
	"cuMemsetD8Async":       plain(needsContext, func(e *Emulator, a []uintptr) cuda.Code { return e.memset(a[0], []byte{byte(a[1])}, a[2], a[3]) }),
	"cuMemsetD32Async": plain(needsContext, func(e *Emulator, a []uintptr) cuda.Code {
		v := uint32(a[1])
		return e.memset(a[0], []byte{byte(v), byte(v >> 8), byte(v >> 16), byte(v >> 24)}, a[2], a[3])
	}),
}
