package cuda

import (
	"fmt"
	"unsafe"

	"github.com/holdfast-run/holdfast/bindings/dynload"
)

// MemcpyHtoD copies all of src to the GPU and waits.
func (d *Driver) MemcpyHtoD(dst DevicePtr, src []byte) error {
	c := dynload.NewCall()
	defer c.Free()
	return d.do(c, fnMemcpyHtoD, uintptr(dst), c.Bytes(src), uintptr(len(src)))
}

// MemcpyDtoH fills dst from the GPU and waits.
func (d *Driver) MemcpyDtoH(dst []byte, src DevicePtr) error {
	c := dynload.NewCall()
	defer c.Free()
	return d.do(c, fnMemcpyDtoH, c.Bytes(dst), uintptr(src), uintptr(len(dst)))
}

// MemcpyHtoDAsync copies page-locked memory to the GPU in a stream's order.
func (d *Driver) MemcpyHtoDAsync(dst DevicePtr, src []byte, s Stream) error {
	c := dynload.NewCall()
	defer c.Free()
	return d.do(c, fnMemcpyHtoDAsync, uintptr(dst), c.Bytes(src), uintptr(len(src)), uintptr(s))
}

// MemcpyDtoHAsync copies from the GPU to page-locked memory in a stream's order.
func (d *Driver) MemcpyDtoHAsync(dst []byte, src DevicePtr, s Stream) error {
	c := dynload.NewCall()
	defer c.Free()
	return d.do(c, fnMemcpyDtoHAsync, c.Bytes(dst), uintptr(src), uintptr(len(dst)), uintptr(s))
}

// MemcpyDtoDAsync copies within the GPU in a stream's order; the ranges must not
// overlap.
func (d *Driver) MemcpyDtoDAsync(dst, src DevicePtr, bytes uint64, s Stream) error {
	c := dynload.NewCall()
	defer c.Free()
	return d.do(c, fnMemcpyDtoDAsync, uintptr(dst), uintptr(src), uintptr(bytes), uintptr(s))
}

// MemsetD8Async sets n bytes to v.
func (d *Driver) MemsetD8Async(dst DevicePtr, v uint8, n uint64, s Stream) error {
	c := dynload.NewCall()
	defer c.Free()
	return d.do(c, fnMemsetD8Async, uintptr(dst), uintptr(v), uintptr(n), uintptr(s))
}

// MemsetD32Async sets n 32-bit words to v.
func (d *Driver) MemsetD32Async(dst DevicePtr, v uint32, n uint64, s Stream) error {
	c := dynload.NewCall()
	defer c.Free()
	return d.do(c, fnMemsetD32Async, uintptr(dst), uintptr(v), uintptr(n), uintptr(s))
}

// AccessOrder says when the sources of a batch of copies may be read.
type AccessOrder int32

// A CUmemcpySrcAccessOrder.
const (
	// AccessStream reads sources in the stream's order.
	AccessStream AccessOrder = 1
	// AccessDuringCall reads them before the call returns.
	AccessDuringCall AccessOrder = 2
	// AccessAny may read them before earlier work of the stream is done and
	// until the copy is: the fastest, for sources that nothing writes.
	AccessAny AccessOrder = 3
)

// copyAttributes is CUmemcpyAttributes. The location hints are for managed memory.
type copyAttributes struct {
	SrcAccessOrder int32
	SrcLocHint     [2]int32
	DstLocHint     [2]int32
	Flags          uint32
}

// preferOverlap asks the driver to leave the multiprocessors to kernels.
const preferOverlap = 1

// HasMemcpyBatch reports whether the driver has MemcpyBatchAsync: 580 and later.
func (d *Driver) HasMemcpyBatch() bool { return d.fn[fnMemcpyBatchAsync] != 0 }

// MemcpyBatchAsync copies sizes[i] bytes from srcs[i] to dsts[i], for all i, in
// any order among themselves and in the stream's order as a whole. Either side
// is the GPU's memory or HostAddress of page-locked memory. The stream must not be
// 0 or be captured. Drivers before 580 do not have it.
func (d *Driver) MemcpyBatchAsync(dsts, srcs []DevicePtr, sizes []uint64, order AccessOrder, s Stream) error {
	if len(srcs) != len(dsts) || len(sizes) != len(dsts) {
		return fmt.Errorf("cuda: cuMemcpyBatchAsync of %d destinations, %d sources, %d sizes", len(dsts), len(srcs), len(sizes))
	}
	if len(dsts) == 0 {
		return nil
	}
	c := dynload.NewCall()
	defer c.Free()
	attributes := dynload.View[copyAttributes](c, 0)
	attributes.SrcAccessOrder = int32(order)
	attributes.Flags = preferOverlap
	first := c.Out(8) // the attributes hold from copy 0 on
	return d.do(c, fnMemcpyBatchAsync,
		c.Pointer(unsafe.Pointer(&dsts[0])), c.Pointer(unsafe.Pointer(&srcs[0])), c.Pointer(unsafe.Pointer(&sizes[0])),
		uintptr(len(dsts)), c.At(0), first, 1, uintptr(s))
}
