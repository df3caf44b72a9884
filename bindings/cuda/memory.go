package cuda

import (
	"unsafe"

	"github.com/holdfast-run/holdfast/bindings/dynload"
)

// Flags of MemHostAlloc and MemHostRegister.
const (
	HostPortable      = 1 // page-locked for every context
	HostDeviceMap     = 2 // the GPU may address it: MemHostGetDevicePointer
	HostWriteCombined = 4 // MemHostAlloc only: fast to write, very slow for the CPU to read
)

// MemGetInfo returns the bytes of the GPU's memory that are free and all.
func (d *Driver) MemGetInfo() (free, total uint64, err error) {
	c := dynload.NewCall()
	defer c.Free()
	err = d.do(c, fnMemGetInfo, c.Out(0), c.Out(1))
	return c.Word(0), c.Word(1), err
}

// MemAlloc allocates memory on the GPU, aligned to at least 256 bytes. Its
// contents are anything.
func (d *Driver) MemAlloc(bytes uint64) (DevicePtr, error) {
	c := dynload.NewCall()
	defer c.Free()
	err := d.do(c, fnMemAlloc, c.Out(0), uintptr(bytes))
	return DevicePtr(c.Word(0)), err
}

// MemFree frees memory of MemAlloc; it waits for work that uses it.
func (d *Driver) MemFree(p DevicePtr) error {
	c := dynload.NewCall()
	defer c.Free()
	return d.do(c, fnMemFree, uintptr(p))
}

// MemGetAddressRange returns the allocation that p lies in.
func (d *Driver) MemGetAddressRange(p DevicePtr) (base DevicePtr, bytes uint64, err error) {
	c := dynload.NewCall()
	defer c.Free()
	err = d.do(c, fnMemGetAddressRange, c.Out(0), c.Out(1), uintptr(p))
	return DevicePtr(c.Word(0)), c.Word(1), err
}

// MemHostAlloc allocates page-locked host memory, off the Go heap. It is valid
// until MemFreeHost, or until its context is gone.
func (d *Driver) MemHostAlloc(bytes int, flags uint32) ([]byte, error) {
	c := dynload.NewCall()
	defer c.Free()
	if err := d.do(c, fnMemHostAlloc, c.Out(0), uintptr(bytes), uintptr(flags)); err != nil {
		return nil, err
	}
	return unsafe.Slice((*byte)(c.Address(0)), bytes), nil
}

// MemFreeHost frees what MemHostAlloc returned.
func (d *Driver) MemFreeHost(b []byte) error {
	c := dynload.NewCall()
	defer c.Free()
	return d.do(c, fnMemFreeHost, c.Bytes(b))
}

// MemHostRegister page-locks memory that the caller mapped (not the Go heap,
// which the collector may give back); MemHostUnregister undoes it.
func (d *Driver) MemHostRegister(b []byte, flags uint32) error {
	c := dynload.NewCall()
	defer c.Free()
	return d.do(c, fnMemHostRegister, c.Bytes(b), uintptr(len(b)), uintptr(flags))
}

// MemHostUnregister undoes MemHostRegister.
func (d *Driver) MemHostUnregister(b []byte) error {
	c := dynload.NewCall()
	defer c.Free()
	return d.do(c, fnMemHostUnregister, c.Bytes(b))
}

// MemHostGetDevicePointer returns where the GPU sees host memory that was
// allocated or registered with HostDeviceMap.
func (d *Driver) MemHostGetDevicePointer(b []byte) (DevicePtr, error) {
	c := dynload.NewCall()
	defer c.Free()
	err := d.do(c, fnMemHostGetDevicePointer, c.Out(0), c.Bytes(b), 0)
	return DevicePtr(c.Word(0)), err
}

// HostAddress returns page-locked memory as an operand of MemcpyBatchAsync.
func HostAddress(b []byte) DevicePtr { return DevicePtr(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) }
