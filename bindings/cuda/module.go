package cuda

import (
	"bytes"
	"fmt"

	"github.com/holdfast-run/holdfast/bindings/dynload"
)

// FunctionAttribute is a CUfunction_attribute.
type FunctionAttribute int32

// The attributes in use.
const (
	FuncMaxThreadsPerBlock     FunctionAttribute = 0
	FuncSharedSizeBytes        FunctionAttribute = 1 // static
	FuncConstSizeBytes         FunctionAttribute = 2
	FuncLocalSizeBytes         FunctionAttribute = 3 // stack and spills, per thread
	FuncNumRegs                FunctionAttribute = 4
	FuncPTXVersion             FunctionAttribute = 5
	FuncBinaryVersion          FunctionAttribute = 6 // 90 for sm_90
	FuncMaxDynamicSharedBytes  FunctionAttribute = 8 // settable
	FuncPreferredSharedPercent FunctionAttribute = 9 // settable: of L1, -1 is the driver's choice
)

// ModuleLoadData loads machine code (a cubin) or PTX, which ends with a zero
// byte. The driver copies it.
func (d *Driver) ModuleLoadData(image []byte) (Module, error) {
	c := dynload.NewCall()
	defer c.Free()
	err := d.do(c, fnModuleLoadData, c.Out(0), c.Bytes(image))
	return Module(c.Word(0)), err
}

// Options of ModuleLoadDataEx.
const (
	jitErrorLogBuffer = 5
	jitErrorLogBytes  = 6
	maxJITLog         = 16 << 10 // bytes

	wordOptions = 1 // where they lie in the call's words
	wordValues  = 2
)

// ModuleLoadPTX compiles PTX for the current GPU and loads it. The error has
// what the compiler said.
func (d *Driver) ModuleLoadPTX(ptx []byte) (Module, error) {
	c := dynload.NewCall()
	defer c.Free()
	log := make([]byte, maxJITLog)
	options := dynload.View[[2]uint32](c, wordOptions)
	options[0], options[1] = jitErrorLogBuffer, jitErrorLogBytes
	c.SetWord(wordValues, uint64(c.Bytes(log)))
	c.SetWord(wordValues+1, uint64(len(log)))
	text := string(bytes.TrimRight(ptx, "\x00"))
	err := d.do(c, fnModuleLoadDataEx, c.Out(0), c.String(text), 2, c.At(wordOptions), c.At(wordValues))
	if err != nil {
		said, _, _ := bytes.Cut(log, []byte{0})
		if len(said) > 0 {
			err = fmt.Errorf("%w: %s", err, bytes.TrimSpace(said))
		}
		return 0, err
	}
	return Module(c.Word(0)), nil
}

// ModuleUnload frees a module; its functions are then none.
func (d *Driver) ModuleUnload(m Module) error {
	c := dynload.NewCall()
	defer c.Free()
	return d.do(c, fnModuleUnload, uintptr(m))
}

// ModuleGetFunction returns a kernel by its name in the image.
func (d *Driver) ModuleGetFunction(m Module, name string) (Function, error) {
	c := dynload.NewCall()
	defer c.Free()
	if err := d.do(c, fnModuleGetFunction, c.Out(0), uintptr(m), c.String(name)); err != nil {
		return 0, fmt.Errorf("%w: kernel %s", err, name)
	}
	return Function(c.Word(0)), nil
}

// ModuleGetGlobal returns a variable's address and size.
func (d *Driver) ModuleGetGlobal(m Module, name string) (DevicePtr, uint64, error) {
	c := dynload.NewCall()
	defer c.Free()
	if err := d.do(c, fnModuleGetGlobal, c.Out(0), c.Out(1), uintptr(m), c.String(name)); err != nil {
		return 0, 0, fmt.Errorf("%w: variable %s", err, name)
	}
	return DevicePtr(c.Word(0)), c.Word(1), nil
}

// FuncLoad loads a kernel that the driver would otherwise load at its first
// launch, which may be in a capture. Drivers before CUDA 12.4 do not have it.
func (d *Driver) FuncLoad(f Function) error {
	c := dynload.NewCall()
	defer c.Free()
	return d.do(c, fnFuncLoad, uintptr(f))
}

// FuncGetAttribute returns a property of a kernel.
func (d *Driver) FuncGetAttribute(a FunctionAttribute, f Function) (int, error) {
	c := dynload.NewCall()
	defer c.Free()
	err := d.do(c, fnFuncGetAttribute, c.Out(0), uintptr(a), uintptr(f))
	return int(c.Int32(0)), err
}

// FuncSetAttribute sets one of those that can be set.
func (d *Driver) FuncSetAttribute(f Function, a FunctionAttribute, value int) error {
	c := dynload.NewCall()
	defer c.Free()
	return d.do(c, fnFuncSetAttribute, uintptr(f), uintptr(a), uintptr(value))
}

// FuncGetParamInfo returns where a kernel's parameter lies in its packed
// parameters, and its size; InvalidValue past the last. Drivers before CUDA 12.4
// do not have it.
func (d *Driver) FuncGetParamInfo(f Function, i int) (offset, size int, err error) {
	c := dynload.NewCall()
	defer c.Free()
	err = d.do(c, fnFuncGetParamInfo, uintptr(f), uintptr(i), c.Out(0), c.Out(1))
	return int(c.Word(0)), int(c.Word(1)), err
}

// OccupancyMaxActiveBlocks returns how many blocks of a kernel fit on one
// multiprocessor.
func (d *Driver) OccupancyMaxActiveBlocks(f Function, threads int, sharedBytes uint64) (int, error) {
	c := dynload.NewCall()
	defer c.Free()
	err := d.do(c, fnOccupancyMaxActiveBlocks, c.Out(0), uintptr(f), uintptr(threads), uintptr(sharedBytes))
	return int(c.Int32(0)), err
}

// OccupancyMaxPotentialBlockSize returns the threads per block that fill a
// multiprocessor best, and the least grid that fills the GPU with them.
func (d *Driver) OccupancyMaxPotentialBlockSize(f Function, sharedBytes uint64, limit int) (grid, threads int, err error) {
	c := dynload.NewCall()
	defer c.Free()
	const sameShared = 0 // no function of the block size
	err = d.do(c, fnOccupancyMaxPotentialBlockSize, c.Out(0), c.Out(1), uintptr(f), sameShared, uintptr(sharedBytes), uintptr(limit))
	return int(c.Int32(0)), int(c.Int32(1)), err
}

// OccupancyAvailableDynamicSMem returns the shared memory that each of n blocks
// on one multiprocessor can have.
func (d *Driver) OccupancyAvailableDynamicSMem(f Function, n, threads int) (uint64, error) {
	c := dynload.NewCall()
	defer c.Free()
	err := d.do(c, fnOccupancyAvailableDynamicSMem, c.Out(0), uintptr(f), uintptr(n), uintptr(threads))
	return c.Word(0), err
}
