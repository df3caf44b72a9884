package cuda

import (
	"bytes"
	"fmt"

	"github.com/holdfast-run/holdfast/bindings/dynload"
)

// Attribute is a CUdevice_attribute.
type Attribute int32

// The attributes in use.
const (
	MaxThreadsPerBlock          Attribute = 1
	WarpSize                    Attribute = 10
	ClockRate                   Attribute = 13 // kHz
	MultiprocessorCount         Attribute = 16
	KernelExecTimeout           Attribute = 17
	Integrated                  Attribute = 18
	CanMapHostMemory            Attribute = 19
	ComputeMode                 Attribute = 20
	ECCEnabled                  Attribute = 32
	MemoryClockRate             Attribute = 36 // kHz
	GlobalMemoryBusWidth        Attribute = 37 // bits
	L2CacheSize                 Attribute = 38 // bytes
	MaxThreadsPerMultiprocessor Attribute = 39
	AsyncEngineCount            Attribute = 40
	UnifiedAddressing           Attribute = 41
	ComputeCapabilityMajor      Attribute = 75
	ComputeCapabilityMinor      Attribute = 76
	MaxSharedPerMultiprocessor  Attribute = 81 // bytes
	MaxRegsPerMultiprocessor    Attribute = 82
	CooperativeLaunch           Attribute = 95
	MaxSharedPerBlockOptin      Attribute = 97 // bytes
	MaxBlocksPerMultiprocessor  Attribute = 106
	ReservedSharedPerBlock      Attribute = 111 // bytes
	HostNUMAID                  Attribute = 134
)

// DeviceGetCount returns how many GPUs this process may use.
func (d *Driver) DeviceGetCount() (int, error) {
	c := dynload.NewCall()
	defer c.Free()
	err := d.do(c, fnDeviceGetCount, c.Out(0))
	return int(c.Int32(0)), err
}

// DeviceGet returns the GPU with an ordinal below the count.
func (d *Driver) DeviceGet(ordinal int) (Device, error) {
	c := dynload.NewCall()
	defer c.Free()
	err := d.do(c, fnDeviceGet, c.Out(0), uintptr(ordinal))
	return Device(c.Int32(0)), err
}

// DeviceGetName returns the product's name.
func (d *Driver) DeviceGetName(dev Device) (string, error) {
	return d.text(fnDeviceGetName, dev)
}

// DeviceGetPCIBusID returns the GPU's place on the bus: "0000:1b:00.0".
func (d *Driver) DeviceGetPCIBusID(dev Device) (string, error) {
	return d.text(fnDeviceGetPCIBusID, dev)
}

// text calls a function that writes a string about a GPU.
func (d *Driver) text(fn int, dev Device) (string, error) {
	c := dynload.NewCall()
	defer c.Free()
	var b [maxName]byte
	if err := d.do(c, fn, c.Bytes(b[:]), uintptr(len(b)), uintptr(dev)); err != nil {
		return "", err
	}
	s, _, _ := bytes.Cut(b[:], []byte{0})
	return string(s), nil
}

// DeviceGetUUID returns the GPU's identity as NVIDIA's tools write it.
func (d *Driver) DeviceGetUUID(dev Device) (string, error) {
	c := dynload.NewCall()
	defer c.Free()
	var u [16]byte
	if err := d.do(c, fnDeviceGetUuid, c.Bytes(u[:]), uintptr(dev)); err != nil {
		return "", err
	}
	return fmt.Sprintf("GPU-%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:]), nil
}

// DeviceTotalMem returns the bytes of memory that the GPU has.
func (d *Driver) DeviceTotalMem(dev Device) (uint64, error) {
	c := dynload.NewCall()
	defer c.Free()
	err := d.do(c, fnDeviceTotalMem, c.Out(0), uintptr(dev))
	return c.Word(0), err
}

// DeviceGetAttribute returns one property of a GPU.
func (d *Driver) DeviceGetAttribute(a Attribute, dev Device) (int, error) {
	c := dynload.NewCall()
	defer c.Free()
	err := d.do(c, fnDeviceGetAttribute, c.Out(0), uintptr(a), uintptr(dev))
	return int(c.Int32(0)), err
}

// DeviceCanAccessPeer reports whether dev can address the memory of peer.
func (d *Driver) DeviceCanAccessPeer(dev, peer Device) (bool, error) {
	c := dynload.NewCall()
	defer c.Free()
	err := d.do(c, fnDeviceCanAccessPeer, c.Out(0), uintptr(dev), uintptr(peer))
	return c.Int32(0) != 0, err
}

// DeviceInfo is what a person, or a plan, wants to know of a GPU.
type DeviceInfo struct {
	Device       Device
	Name         string
	UUID         string
	PCIBusID     string
	MemoryBytes  uint64
	Major, Minor int // compute capability: 9 and 0 is sm_90

	Multiprocessors      int
	SharedPerSMBytes     int
	SharedPerBlockBytes  int // the most that a kernel can opt in to
	RegistersPerSM       int
	ThreadsPerSM         int
	BlocksPerSM          int
	L2Bytes              int
	CopyEngines          int
	ClockKHz             int
	MemoryClockKHz       int
	MemoryBusBits        int
	ECC                  bool
	Integrated           bool // shares the host's memory
	KernelsHaveTimeLimit bool // a display is attached
	HostNUMANode         int  // -1 if unknown
}

// DeviceInfo asks for all of it.
func (d *Driver) DeviceInfo(ordinal int) (DeviceInfo, error) {
	dev, err := d.DeviceGet(ordinal)
	if err != nil {
		return DeviceInfo{}, err
	}
	info := DeviceInfo{Device: dev}
	if info.Name, err = d.DeviceGetName(dev); err != nil {
		return info, err
	}
	if info.UUID, err = d.DeviceGetUUID(dev); err != nil {
		return info, err
	}
	if info.PCIBusID, err = d.DeviceGetPCIBusID(dev); err != nil {
		return info, err
	}
	if info.MemoryBytes, err = d.DeviceTotalMem(dev); err != nil {
		return info, err
	}
	var ecc, integrated, timeout int
	for _, a := range []struct {
		attribute Attribute
		value     *int
	}{
		{ComputeCapabilityMajor, &info.Major},
		{ComputeCapabilityMinor, &info.Minor},
		{MultiprocessorCount, &info.Multiprocessors},
		{MaxSharedPerMultiprocessor, &info.SharedPerSMBytes},
		{MaxSharedPerBlockOptin, &info.SharedPerBlockBytes},
		{MaxRegsPerMultiprocessor, &info.RegistersPerSM},
		{MaxThreadsPerMultiprocessor, &info.ThreadsPerSM},
		{MaxBlocksPerMultiprocessor, &info.BlocksPerSM},
		{L2CacheSize, &info.L2Bytes},
		{AsyncEngineCount, &info.CopyEngines},
		{ClockRate, &info.ClockKHz},
		{MemoryClockRate, &info.MemoryClockKHz},
		{GlobalMemoryBusWidth, &info.MemoryBusBits},
		{ECCEnabled, &ecc},
		{Integrated, &integrated},
		{KernelExecTimeout, &timeout},
	} {
		if *a.value, err = d.DeviceGetAttribute(a.attribute, dev); err != nil {
			return info, err
		}
	}
	info.ECC, info.Integrated, info.KernelsHaveTimeLimit = ecc != 0, integrated != 0, timeout != 0
	if info.HostNUMANode, err = d.DeviceGetAttribute(HostNUMAID, dev); err != nil {
		info.HostNUMANode = -1 // drivers before 12.2 do not know
	}
	return info, nil
}
