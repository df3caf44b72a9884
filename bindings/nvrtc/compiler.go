package nvrtc

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unsafe"

	"github.com/holdfast-run/holdfast/bindings/dynload"
)

// oldest is the first major version that can be used.
const oldest = 12

// Compiler is a loaded libnvrtc. All methods are safe for concurrent use;
// several compilations may run at once.
type Compiler struct {
	fn []uintptr
	// Path is the file of the library; "" for one made by New.
	Path string
	// Major and Minor are the compiler's version: CUDA 13.0 is 13 and 0.
	Major, Minor int
}

// Open loads libnvrtc from the toolkit's folders, or from the given folder
// alone if it is not "". It returns a *dynload.MissingLibraryError when there
// is none of version 12 or later.
func Open(folder string) (*Compiler, error) {
	lib, err := library.Load(folder)
	if err != nil {
		return nil, fmt.Errorf("nvrtc: %w", err)
	}
	c, err := New(lib.Symbols)
	if err != nil {
		return nil, err
	}
	c.Path = lib.Path
	// The second half of the compiler is opened by its bare name at the first
	// compilation. Not every release looks beside itself for it.
	builtins := fmt.Sprintf("libnvrtc-builtins.so.%d.%d", c.Major, c.Minor)
	if err := lib.Companion(builtins); err != nil {
		return nil, fmt.Errorf("nvrtc: %s is incomplete: %w; %s", lib.Path, err, library.Remedy)
	}
	return c, nil
}

// New makes a compiler from a table of functions.
func New(s dynload.Symbols) (*Compiler, error) {
	if err := library.Check(s); err != nil {
		return nil, fmt.Errorf("nvrtc: %w", err)
	}
	c := &Compiler{fn: s.Addresses(funcs)}
	major, minor, err := c.version()
	c.Major, c.Minor = major, minor
	return c, err
}

// probe refuses a version that cannot be used.
func probe(s dynload.Symbols) error {
	c := &Compiler{fn: s.Addresses(funcs)}
	major, minor, err := c.version()
	if err != nil {
		return err
	}
	if major < oldest {
		return fmt.Errorf("version %d.%d is too old, %d.0 is the least", major, minor, oldest)
	}
	return nil
}

// Version returns the compiler's version, for example "13.0".
func (c *Compiler) Version() string { return fmt.Sprintf("%d.%d", c.Major, c.Minor) }

func (c *Compiler) version() (major, minor int, err error) {
	call := dynload.NewCall()
	defer call.Free()
	err = c.do(call, fnVersion, call.Out(0), call.Out(1))
	return int(call.Int32(0)), int(call.Int32(1)), err
}

// Archs returns the architectures that the compiler knows, ascending: 90 is
// sm_90.
func (c *Compiler) Archs() ([]int, error) {
	call := dynload.NewCall()
	defer call.Free()
	if err := c.do(call, fnGetNumSupportedArchs, call.Out(0)); err != nil {
		return nil, err
	}
	n := int(call.Int32(0))
	if n <= 0 {
		return nil, nil
	}
	list := make([]int32, n)
	if err := c.do(call, fnGetSupportedArchs, call.Pointer(unsafe.Pointer(&list[0]))); err != nil {
		return nil, err
	}
	archs := make([]int, n)
	for i, a := range list {
		archs[i] = int(a)
	}
	return archs, nil
}

// Program is what to compile.
type Program struct {
	Name    string   // as messages call it
	Source  string   // CUDA C++
	Arch    string   // "sm_90a" for a cubin and its PTX, "compute_90" for PTX alone
	Options []string // NVRTC's own, one per string: "--use_fast_math"
	Headers []Header // #include finds these before any folder
}

// Header is the text of a file to include.
type Header struct {
	Name string // as the #include says it
	Text string
}

// Image is a compiled program.
type Image struct {
	PTX   []byte // text, without a zero byte at its end
	Cubin []byte // an ELF file; nil if Arch is compute_XX
	Log   string // warnings and, with --ptxas-options=-v, resource use
}

// Compile compiles a program. The same compiler, program and options give the same
// bytes. A program that does not compile is a *CompileError.
func (c *Compiler) Compile(p Program) (Image, error) {
	call := dynload.NewCall()
	defer call.Free()

	headers := make([]string, len(p.Headers))
	names := make([]string, len(p.Headers))
	for i, h := range p.Headers {
		headers[i], names[i] = h.Text, h.Name
	}
	err := c.do(call, fnCreateProgram, call.Out(0), call.String(p.Source), call.String(p.Name),
		uintptr(len(p.Headers)), call.Strings(headers), call.Strings(names))
	if err != nil {
		return Image{}, err
	}
	prog := uintptr(call.Word(0))
	defer c.destroy(prog)
	return c.compile(prog, p)
}

func (c *Compiler) compile(prog uintptr, p Program) (Image, error) {
	call := dynload.NewCall()
	defer call.Free()
	options := append([]string{"--gpu-architecture=" + p.Arch}, p.Options...)
	failed := c.do(call, fnCompileProgram, prog, uintptr(len(options)), call.Strings(options))

	log, err := c.read(prog, fnGetProgramLogSize, fnGetProgramLog)
	image := Image{Log: string(bytes.TrimRight(log, "\x00"))}
	if failed != nil {
		ce := &CompileError{Program: p.Name, Arch: p.Arch, Log: image.Log}
		errors.As(failed, &ce.Err)
		return image, ce
	}
	if err != nil {
		return image, err
	}
	if image.PTX, err = c.read(prog, fnGetPTXSize, fnGetPTX); err != nil {
		return image, err
	}
	image.PTX = bytes.TrimRight(image.PTX, "\x00")
	if strings.HasPrefix(p.Arch, "sm_") {
		image.Cubin, err = c.read(prog, fnGetCUBINSize, fnGetCUBIN)
	}
	return image, err
}

// read returns one of the program's outputs: its size is asked for, then the
// bytes.
func (c *Compiler) read(prog uintptr, size, get int) ([]byte, error) {
	call := dynload.NewCall()
	defer call.Free()
	if err := c.do(call, size, prog, call.Out(0)); err != nil {
		return nil, err
	}
	b := make([]byte, call.Word(0))
	if len(b) == 0 {
		return nil, nil
	}
	return b, c.do(call, get, prog, call.Bytes(b))
}

func (c *Compiler) destroy(prog uintptr) {
	call := dynload.NewCall()
	defer call.Free()
	call.Out(0)
	call.SetWord(0, uint64(prog))
	_ = c.do(call, fnDestroyProgram, call.At(0)) // fails only for a program that is none
}

// do calls a function that returns an nvrtcResult.
func (c *Compiler) do(call *dynload.Call, fn int, args ...uintptr) error {
	code := Code(call.Do(c.fn[fn], args...))
	if code == Success {
		return nil
	}
	name := dynload.GoString(call.Do(c.fn[fnGetErrorString], uintptr(code)), maxName)
	return &Error{Code: code, Name: name, Call: funcs[fn].Symbol}
}

// maxName is the most bytes of an error's name.
const maxName = 256
