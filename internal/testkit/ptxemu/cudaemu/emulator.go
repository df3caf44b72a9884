package cudaemu

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"github.com/holdfast-run/holdfast/bindings/cuda"
	"github.com/holdfast-run/holdfast/bindings/dynload"
	"github.com/holdfast-run/holdfast/internal/testkit/ptxemu"
)

// Options describe the device.
type Options struct {
	// MemoryBytes is the device's memory. The default is 1 GiB.
	MemoryBytes int
	// Multiprocessors is how many it says it has. The default is 132.
	Multiprocessors int
	// Capability is its compute capability times ten. The default is 90.
	Capability int
	// Seed other than 0 delays and shuffles work between streams, and the warps
	// of kernels.
	Seed uint64
	// StepLimit is that of ptxemu.Config.
	StepLimit int
	// NoMemcpyBatch is for a driver before 580.
	NoMemcpyBatch bool
}

// Emulator is a driver with one device. Its methods may be called by tests at
// any time.
type Emulator struct {
	opt Options

	mu       sync.Mutex
	rng      *rand.Rand
	eager    int // the most tasks that run while another is queued; by seed 0, 1 or 2
	inited   bool
	calls    map[string]int // made so far, by symbol
	plans    []plan
	images   []image
	current  map[int]uintptr // thread ID -> context
	retained int
	managed  int      // nvmlInit without nvmlShutdown
	ctx      *context // nil before the first retain, and after the last release
	handles  uintptr  // the last given out
	leaked   map[string]int
	fault    error
}

// plan is what Inject and Hang asked for.
type plan struct {
	symbol string
	n      int
	code   cuda.Code
	hang   chan struct{}
}

// image is a cubin and the PTX that it was compiled from.
type image struct {
	cubin []byte
	ptx   string
}

var active atomic.Pointer[Emulator]

// New makes an emulator and puts it behind the functions of Symbols.
func New(o Options) *Emulator {
	if o.MemoryBytes == 0 {
		o.MemoryBytes = 1 << 30
	}
	if o.Capability == 0 {
		o.Capability = 90
	}
	if o.Multiprocessors == 0 {
		o.Multiprocessors = 132
	}
	e := &Emulator{opt: o, rng: rand.New(rand.NewPCG(o.Seed, 1)), calls: map[string]int{}, current: map[int]uintptr{}, handles: 0x1000}
	e.eager = e.rng.IntN(3)
	active.Store(e)
	return e
}

// Symbols returns the driver's functions, for cuda.New.
func (e *Emulator) Symbols() dynload.Symbols {
	s := dynload.Symbols{}
	for name, address := range callbacks() {
		if !e.opt.NoMemcpyBatch || name != "cuMemcpyBatchAsync_v2" {
			s[name] = address
		}
	}
	return s
}

// AddImage tells the PTX of a cubin that will be loaded.
func (e *Emulator) AddImage(cubin []byte, ptx string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.images = append(e.images, image{cubin, ptx})
}

// Inject makes the n-th call from now of a function (by its symbol, as
// "cuMemAlloc_v2"), counted from 1, return code and do nothing. A code that
// loses the context loses it.
func (e *Emulator) Inject(symbol string, n int, code cuda.Code) {
	e.plan(plan{symbol: symbol, n: n, code: code})
}

// Hang makes the n-th call from now of a function block until release is called;
// then it goes on as usual.
func (e *Emulator) Hang(symbol string, n int) (release func()) {
	p := plan{symbol: symbol, n: n, hang: make(chan struct{})}
	e.plan(p)
	return sync.OnceFunc(func() { close(p.hang) })
}

func (e *Emulator) plan(p plan) {
	if handlers[p.symbol] == nil {
		panic("cudaemu: no function " + p.symbol)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	p.n += e.calls[p.symbol]
	e.plans = append(e.plans, p)
}

// Calls returns how often a function was called.
func (e *Emulator) Calls(symbol string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.calls[symbol]
}

// Fault returns why the context was lost: a *ptxemu.Fault, or what was injected;
// nil if it was not.
func (e *Emulator) Fault() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.fault
}

// Leaks returns how many things of each kind exist, or did when the context was
// released for the last time; a reset frees all and leaks nothing.
func (e *Emulator) Leaks() map[string]int {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ctx != nil {
		return e.ctx.inventory()
	}
	return e.leaked
}

// Memory returns the device's memory, for tests that look into it; nil without
// a context. Work that is queued may still write there.
func (e *Emulator) Memory() *ptxemu.Memory {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ctx == nil {
		return nil
	}
	return e.ctx.mem
}

// call answers a call of the driver.
func (e *Emulator) call(symbol string, f *handler, args []uintptr) cuda.Code {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.calls[symbol]++
	for _, p := range e.plans {
		if p.symbol != symbol || p.n != e.calls[symbol] {
			continue
		}
		if p.hang != nil {
			e.mu.Unlock()
			<-p.hang
			e.mu.Lock()
			continue
		}
		if p.code.ContextLost() {
			e.lose(p.code, fmt.Errorf("cudaemu: %s failed by injection: %w", symbol, p.code))
		}
		return p.code
	}
	if !e.inited && f.needs > needsNothing {
		return cuda.NotInitialized
	}
	if f.needs < needsContext {
		return f.do(e, args)
	}
	if e.ctx == nil || e.current[thread()] != e.ctx.handle {
		return cuda.InvalidContext
	}
	if e.ctx.lost != 0 {
		return e.ctx.lost
	}
	code := f.do(e, args)
	if code == cuda.Success && e.ctx.lost != 0 && f.waits {
		return e.ctx.lost
	}
	return code
}

// lose makes the context unusable, as a fault of a kernel does.
func (e *Emulator) lose(code cuda.Code, why error) {
	e.fault = why
	if e.ctx != nil {
		e.ctx.lost = code
		for _, s := range e.ctx.streams {
			s.queue = nil
		}
	}
}

// handle gives out a new one. They are never used twice.
func (e *Emulator) handle() uintptr {
	e.handles += 16
	return e.handles
}
