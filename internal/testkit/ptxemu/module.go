package ptxemu

import (
	"encoding/binary"
	"fmt"
	"math"
	"reflect"
)

// Module is PTX that is loaded into a memory. It may be used by several
// goroutines.
type Module struct {
	mem      *Memory
	programs map[string]*program
	globals  map[string]*variable
	held     []uint64 // allocations of its variables
}

// Param is a kernel's parameter: its place in Config.Params.
type Param struct {
	Name                string
	Offset, Size, Align int
}

// Load parses and compiles PTX text and allocates its global and constant
// variables in mem. Errors are *LoadError or *MemoryError.
func Load(mem *Memory, ptx string) (m *Module, err error) {
	if k := remembered(ptx); k != nil {
		m = &Module{mem: mem, programs: k.programs, globals: map[string]*variable{}}
		if err := m.allocate(clone(k.vars)); err != nil {
			m.Unload()
			return nil, err
		}
		return m, nil
	}
	src, err := parse(ptx)
	if err != nil {
		return nil, err
	}
	m = &Module{mem: mem, programs: map[string]*program{}, globals: map[string]*variable{}}
	defer func() {
		if err != nil {
			m.Unload()
		}
	}()
	defer catch(&err)
	if err := m.allocate(src.vars); err != nil {
		return m, err
	}
	for _, f := range src.funcs {
		if f.entry {
			m.programs[f.name] = compile(f)
		}
	}
	remember(ptx, src, m.programs)
	return m, nil
}

// allocate gives variables memory and then their initial values, which may be
// addresses of each other.
func (m *Module) allocate(vars []*variable) error {
	for _, v := range vars {
		if v.space == spaceShared {
			continue
		}
		if v.extern {
			return &LoadError{Line: v.line, Reason: "extern variable " + v.name + ": there is nothing to link with"}
		}
		addr, err := m.mem.Alloc(max(v.size, 1))
		if err != nil {
			return err
		}
		v.addr = addr
		m.held = append(m.held, addr)
		m.globals[v.name] = v
	}
	for _, v := range vars {
		if v.space == spaceShared {
			continue
		}
		data := make([]byte, v.size) // as in CUDA C, zeros where nothing is said
		copy(data, v.init)
		for _, r := range v.relocs {
			binary.LittleEndian.PutUint64(data[r.at:], r.sym.addr+uint64(r.off))
		}
		if err := m.mem.Write(v.addr, data); err != nil {
			return err
		}
	}
	return nil
}

// Unload frees the module's variables.
func (m *Module) Unload() {
	for _, addr := range m.held {
		m.mem.Free(addr)
	}
	m.held = nil
}

// Global returns address and size of a global or constant variable.
func (m *Module) Global(name string) (addr uint64, size int, ok bool) {
	v := m.globals[name]
	if v == nil {
		return 0, 0, false
	}
	return v.addr, v.size, true
}

// Kernels returns the names of the entries, in no order.
func (m *Module) Kernels() []string {
	var names []string
	for name := range m.programs {
		names = append(names, name)
	}
	return names
}

// Params returns a kernel's parameters in order, or nil if there is no such
// kernel.
func (m *Module) Params(kernel string) []Param {
	p := m.programs[kernel]
	if p == nil {
		return nil
	}
	list := []Param{}
	at := 0
	for _, v := range p.fn.params {
		at = (at + v.align - 1) &^ (v.align - 1)
		list = append(list, Param{v.name, at, v.size, v.align})
		at += v.size
	}
	return list
}

// StaticShared returns a kernel's static shared memory, in bytes.
func (m *Module) StaticShared(kernel string) int {
	if p := m.programs[kernel]; p != nil {
		return p.shared
	}
	return 0
}

// MaxThreads returns how many threads a block of the kernel may have.
func (m *Module) MaxThreads(kernel string) int {
	if p := m.programs[kernel]; p != nil && p.fn.maxThread.X > 0 {
		return p.fn.maxThread.size()
	}
	return maxThreads
}

// Pack lays out a kernel's parameters. Values are integers and floats of the
// parameters' sizes, byte slices, or structs that encoding/binary can write
// (with their padding as fields).
func (m *Module) Pack(kernel string, values ...any) ([]byte, error) {
	prog, params := m.programs[kernel], m.Params(kernel)
	if prog == nil {
		return nil, &LaunchError{kernel, "no such kernel in the module"}
	}
	if len(values) != len(params) {
		return nil, &LaunchError{kernel, fmt.Sprintf("%d parameters; the kernel has %d", len(values), len(params))}
	}
	out := make([]byte, prog.paramBytes())
	for i, v := range values {
		b, err := packed(v)
		if err != nil || len(b) != params[i].Size {
			return nil, &LaunchError{kernel, fmt.Sprintf("parameter %d is a %v of %d bytes; the kernel's has %d", i, reflect.TypeOf(v), len(b), params[i].Size)}
		}
		copy(out[params[i].Offset:], b)
	}
	return out, nil
}

func packed(v any) ([]byte, error) {
	switch x := v.(type) {
	case []byte:
		return x, nil
	case float32:
		return binary.LittleEndian.AppendUint32(nil, math.Float32bits(x)), nil
	}
	return binary.Append(nil, binary.LittleEndian, v)
}

// Grids returns the number of launches so far, which is the last one's number.
func (m *Memory) Grids() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return int(m.grid)
}
