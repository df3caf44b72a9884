package cuda

import "github.com/holdfast-run/holdfast/bindings/dynload"

// Limit is a CUlimit.
type Limit int32

// The limits in use, in bytes.
const (
	LimitStackSize         Limit = 0
	LimitPersistingL2Cache Limit = 6
)

// How a thread waits for the GPU, for DevicePrimaryCtxSetFlags.
const (
	ScheduleAuto     = 0
	ScheduleSpin     = 1
	ScheduleYield    = 2
	ScheduleBlocking = 4
)

// DevicePrimaryCtxRetain returns the context that the process shares on a GPU,
// making it at the first call. It is not current yet.
func (d *Driver) DevicePrimaryCtxRetain(dev Device) (Context, error) {
	c := dynload.NewCall()
	defer c.Free()
	err := d.do(c, fnDevicePrimaryCtxRetain, c.Out(0), uintptr(dev))
	return Context(c.Word(0)), err
}

// DevicePrimaryCtxRelease gives the context back; the last frees it.
func (d *Driver) DevicePrimaryCtxRelease(dev Device) error {
	c := dynload.NewCall()
	defer c.Free()
	return d.do(c, fnDevicePrimaryCtxRelease, uintptr(dev))
}

// DevicePrimaryCtxReset destroys all that the process has on a GPU, whoever holds
// it: the way back from a Code that is ContextLost.
func (d *Driver) DevicePrimaryCtxReset(dev Device) error {
	c := dynload.NewCall()
	defer c.Free()
	return d.do(c, fnDevicePrimaryCtxReset, uintptr(dev))
}

// DevicePrimaryCtxSetFlags says how threads wait: one of ScheduleAuto and others.
func (d *Driver) DevicePrimaryCtxSetFlags(dev Device, flags uint32) error {
	c := dynload.NewCall()
	defer c.Free()
	return d.do(c, fnDevicePrimaryCtxSetFlags, uintptr(dev), uintptr(flags))
}

// DevicePrimaryCtxGetState returns the flags and whether the context exists.
func (d *Driver) DevicePrimaryCtxGetState(dev Device) (flags uint32, active bool, err error) {
	c := dynload.NewCall()
	defer c.Free()
	err = d.do(c, fnDevicePrimaryCtxGetState, uintptr(dev), c.Out(0), c.Out(1))
	return uint32(c.Word(0)), c.Int32(1) != 0, err
}

// CtxSetCurrent makes ctx the calling thread's context. The goroutine must be
// locked to its thread.
func (d *Driver) CtxSetCurrent(ctx Context) error {
	c := dynload.NewCall()
	defer c.Free()
	return d.do(c, fnCtxSetCurrent, uintptr(ctx))
}

// CtxGetCurrent returns the calling thread's context, or 0.
func (d *Driver) CtxGetCurrent() (Context, error) {
	c := dynload.NewCall()
	defer c.Free()
	err := d.do(c, fnCtxGetCurrent, c.Out(0))
	return Context(c.Word(0)), err
}

// CtxSynchronize waits for all work of the context.
func (d *Driver) CtxSynchronize() error {
	c := dynload.NewCall()
	defer c.Free()
	return d.do(c, fnCtxSynchronize)
}

// CtxGetLimit returns a limit of the context.
func (d *Driver) CtxGetLimit(l Limit) (uint64, error) {
	c := dynload.NewCall()
	defer c.Free()
	err := d.do(c, fnCtxGetLimit, c.Out(0), uintptr(l))
	return c.Word(0), err
}

// CtxSetLimit asks for a limit; the driver may round it.
func (d *Driver) CtxSetLimit(l Limit, value uint64) error {
	c := dynload.NewCall()
	defer c.Free()
	return d.do(c, fnCtxSetLimit, uintptr(l), uintptr(value))
}

// CtxGetStreamPriorityRange returns the range of streams' priorities: greatest
// is numerically the lower, 0 and -5 for example.
func (d *Driver) CtxGetStreamPriorityRange() (least, greatest int, err error) {
	c := dynload.NewCall()
	defer c.Free()
	err = d.do(c, fnCtxGetStreamPriorityRange, c.Out(0), c.Out(1))
	return int(c.Int32(0)), int(c.Int32(1)), err
}
