package cuda

import (
	"github.com/holdfast-run/holdfast/bindings/dynload"
)

// Launch says how a kernel runs.
type Launch struct {
	Grid, Block Dim
	SharedBytes uint32 // dynamic; above 48 KB needs FuncMaxDynamicSharedBytes
	Stream      Stream
	// Programmatic lets the kernel start while its predecessor in the stream
	// still runs (programmatic dependent launch, sm_90): it must execute
	// griddepcontrol.wait before it reads what that one wrote.
	Programmatic bool
}

// LaunchKernel starts a kernel. params holds its parameters as the kernel lays
// them out: each at a multiple of its own alignment, in order. The driver has
// copied them when this returns.
//
// Errors of the launch are returned; what the kernel does wrong is reported by
// a later call.
func (d *Driver) LaunchKernel(f Function, l Launch, params []byte) error {
	c := dynload.NewCall()
	defer c.Free()
	extra := packed(c, params)
	if !l.Programmatic {
		return d.do(c, fnLaunchKernel, uintptr(f),
			uintptr(l.Grid.X), uintptr(l.Grid.Y), uintptr(l.Grid.Z),
			uintptr(l.Block.X), uintptr(l.Block.Y), uintptr(l.Block.Z),
			uintptr(l.SharedBytes), uintptr(l.Stream), 0, extra)
	}
	attribute := dynload.View[launchAttribute](c, wordAttribute)
	attribute.ID = programmaticStreamSerialization
	attribute.Value[0] = 1 // a 32-bit int: allowed
	config := dynload.View[launchConfig](c, wordConfig)
	*config = launchConfig{
		Grid: l.Grid, Block: l.Block, SharedBytes: l.SharedBytes, Stream: l.Stream,
		Attributes: c.At(wordAttribute), NumAttributes: 1,
	}
	return d.do(c, fnLaunchKernelEx, c.At(wordConfig), uintptr(f), 0, extra)
}

// Where a launch keeps what in its call's words.
const (
	wordExtra     = 0 // 5 words
	wordSize      = 5
	wordConfig    = 8  // 7 words
	wordAttribute = 16 // 9 words
)

// Keys of the array that hands over packed parameters.
const (
	paramEnd     = 0
	paramPointer = 1
	paramSize    = 2
)

// packed returns the address of the array that says where the parameters are,
// or 0 for a kernel without any.
func packed(c *dynload.Call, params []byte) uintptr {
	if len(params) == 0 {
		return 0
	}
	c.SetWord(wordExtra, paramPointer)
	c.SetWord(wordExtra+1, uint64(c.Bytes(params)))
	c.SetWord(wordExtra+2, paramSize)
	c.SetWord(wordExtra+3, uint64(c.At(wordSize)))
	c.SetWord(wordExtra+4, paramEnd)
	c.SetWord(wordSize, uint64(len(params)))
	return c.At(wordExtra)
}

// launchConfig is CUlaunchConfig.
type launchConfig struct {
	Grid, Block   Dim
	SharedBytes   uint32
	Stream        Stream
	Attributes    uintptr // of launchAttribute
	NumAttributes uint32
}

// launchAttribute is CUlaunchAttribute. Its value is a union of 64 bytes.
type launchAttribute struct {
	ID    int32
	_     int32
	Value [8]uint64
}

// programmaticStreamSerialization is a CUlaunchAttributeID.
const programmaticStreamSerialization = 6
