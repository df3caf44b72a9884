package cuda

import (
	"fmt"
	"strings"

	"github.com/holdfast-run/holdfast/bindings/dynload"
)

// oldest is the first version of CUDA whose driver has all that is needed.
const oldest = 12000

// Driver is the loaded driver. It holds nothing but addresses; the package
// comment says which calls belong to which thread.
type Driver struct {
	fn []uintptr
	// Path is the file of the library; "" for one made by New.
	Path string
}

// Open loads libcuda from the folders of drivers, or from the given folder
// alone if it is not "". Where there is none, or it is too old, the error is
// ErrNoDriver with a *dynload.MissingLibraryError. It does not touch any GPU.
func Open(folder string) (*Driver, error) {
	lib, err := library.Load(folder)
	if err != nil {
		return nil, fmt.Errorf("cuda: %w: %w", ErrNoDriver, err)
	}
	return &Driver{fn: lib.Symbols.Addresses(funcs), Path: lib.Path}, nil
}

// New makes a driver from a table of functions by symbol; Functions lists them.
func New(s dynload.Symbols) (*Driver, error) {
	if err := library.Check(s); err != nil {
		return nil, fmt.Errorf("cuda: %w: %w", ErrNoDriver, err)
	}
	return &Driver{fn: s.Addresses(funcs)}, nil
}

// Init starts the driver: the first call to make, from any thread, once a
// process. With many GPUs and no persistence daemon it takes seconds.
func (d *Driver) Init() error {
	c := dynload.NewCall()
	defer c.Free()
	err := d.do(c, fnInit, 0)
	if e, ok := err.(*Error); ok && remedies[e.Code] != "" {
		return fmt.Errorf("%w; %s", err, remedies[e.Code])
	}
	return err
}

// DriverGetVersion returns the CUDA version of the driver: 13000 is 13.0. It
// needs no Init.
func (d *Driver) DriverGetVersion() (int, error) {
	c := dynload.NewCall()
	defer c.Free()
	err := d.do(c, fnDriverGetVersion, c.Out(0))
	return int(c.Int32(0)), err
}

// do calls a function and turns its CUresult into an error.
func (d *Driver) do(c *dynload.Call, fn int, args ...uintptr) error {
	if code := d.code(c, fn, args...); code != Success {
		return d.fail(fn, code)
	}
	return nil
}

// code calls a function that is known to be there, or to be optional.
func (d *Driver) code(c *dynload.Call, fn int, args ...uintptr) Code {
	if d.fn[fn] == 0 {
		return missing
	}
	return Code(c.Do(d.fn[fn], args...))
}

// missing stands for the code of an optional function that is not there.
const missing Code = -1

// fail makes the error of a call.
func (d *Driver) fail(fn int, code Code) error {
	if code == missing {
		return fmt.Errorf("cuda: %w", &dynload.MissingSymbolError{
			Library: libraryName, Symbol: funcs[fn].Symbol, Remedy: remedy})
	}
	c := dynload.NewCall()
	defer c.Free()
	name := "CUDA_ERROR_UNKNOWN_CODE"
	if d.code(c, fnGetErrorName, uintptr(code), c.Out(0)) == Success {
		name = dynload.GoString(uintptr(c.Word(0)), maxName)
	}
	return &Error{Code: code, Name: name, Call: funcs[fn].Symbol}
}

// maxName is the most bytes of a name or text that the driver gives.
const maxName = 256

// probe refuses a driver that is too old.
func probe(s dynload.Symbols) error {
	d := &Driver{fn: s.Addresses(funcs)}
	version, err := d.DriverGetVersion()
	if err != nil {
		return err
	}
	if version < oldest {
		return fmt.Errorf("the driver is for CUDA %d.%d, %d.%d is the least",
			version/1000, version%1000/10, oldest/1000, oldest%1000/10)
	}
	return nil
}

// resolver finds functions by cuGetProcAddress, which knows the versions of a
// function apart; plain symbols serve where the driver does not have it, and for
// the functions that have no newer version than the driver.
func resolver(lookup func(string) uintptr) func(dynload.Func) uintptr {
	getProcAddress, getVersion := lookup("cuGetProcAddress_v2"), lookup("cuDriverGetVersion")
	if getProcAddress == 0 || getVersion == 0 {
		return func(f dynload.Func) uintptr { return lookup(f.Symbol) }
	}
	c := dynload.NewCall()
	defer c.Free()
	c.Do(getVersion, c.Out(0))
	version := int(c.Int32(0))
	return func(f dynload.Func) uintptr {
		if f.Version > version {
			return 0
		}
		c := dynload.NewCall()
		defer c.Free()
		base, _, _ := strings.Cut(f.Symbol, "_v")
		code := Code(c.Do(getProcAddress, c.String(base), c.Out(0), uintptr(f.Version), getProcAddressDefault, c.Out(1)))
		if address := uintptr(c.Word(0)); code == Success && address != 0 {
			return address
		}
		return lookup(f.Symbol)
	}
}

// getProcAddressDefault is a CUdriverProcAddress_flags: the functions whose
// default stream is the legacy one. No stream of ours is the default.
const getProcAddressDefault = 0
