package ptxemu

import (
	"fmt"
	"math/bits"
	"runtime"
	"sync"
	"sync/atomic"
)

// Dim3 is an extent or a place in three dimensions. In a Config, zeros count
// as ones.
type Dim3 struct{ X, Y, Z int }

func (d Dim3) String() string { return fmt.Sprintf("(%d,%d,%d)", d.X, d.Y, d.Z) }

func (d Dim3) atLeastOne() Dim3 { return Dim3{max(d.X, 1), max(d.Y, 1), max(d.Z, 1)} }

// size is the number of places.
func (d Dim3) size() int { return d.X * d.Y * d.Z }

// place is the i-th place, X first.
func (d Dim3) place(i int) Dim3 { return Dim3{i % d.X, i / d.X % d.Y, i / (d.X * d.Y)} }

// Config says how to launch a kernel.
type Config struct {
	Grid, Block Dim3
	SharedBytes int    // dynamic shared memory
	Params      []byte // as the kernel's parameters lie; see Module.Pack
	// Seed other than 0 gives the blocks and their warps a random order and
	// random slices of time.
	Seed uint64
	// StepLimit is the number of warp instructions that one block may run. The
	// default is 1 << 26.
	StepLimit int
	// Unfinished holds the numbers (Memory.Grids) of launches that may still
	// run beside this one, as programmatic dependent launch allows: until
	// griddepcontrol.wait, writing is a fault, and so is reading what those
	// launches wrote.
	Unfinished []int
	// Workers is the number of blocks run at a time. The default is
	// GOMAXPROCS.
	Workers int
}

// LaunchError is a launch that a driver would refuse.
type LaunchError struct {
	Kernel, Reason string
}

func (e *LaunchError) Error() string {
	return fmt.Sprintf("ptxemu: launch of %s: %s", e.Kernel, e.Reason)
}

// Limits of a block and of a grid, as on sm_90.
const (
	maxThreads = 1024
	maxShared  = 227 << 10
	maxStatic  = 48 << 10
	maxGrid    = 1 << 31
)

// grid is a launch under way.
type grid struct {
	prog    *program
	cfg     Config
	mem     *Memory
	live    regions
	threads int // a block
	number  uint32
	stop    atomic.Bool
}

// Launch runs a kernel to its end. It returns a *LaunchError before anything
// ran, or the *Fault that ended the launch. Several launches may run at a time.
func (m *Module) Launch(kernel string, cfg Config) error {
	prog, cfg, err := m.check(kernel, cfg)
	if err != nil {
		return err
	}
	g := &grid{prog: prog, cfg: cfg, mem: m.mem, threads: cfg.Block.size()}
	m.mem.mu.Lock()
	m.mem.grid++
	g.number, g.live = m.mem.grid, m.mem.live
	m.mem.mu.Unlock()
	return g.run()
}

// Check returns the *LaunchError that Launch would return, or nil.
func (m *Module) Check(kernel string, cfg Config) error {
	_, _, err := m.check(kernel, cfg)
	return err
}

// check fills in what a Config leaves out.
func (m *Module) check(kernel string, cfg Config) (*program, Config, error) {
	prog := m.programs[kernel]
	if prog == nil {
		return nil, cfg, &LaunchError{kernel, "no such kernel in the module"}
	}
	cfg.Grid, cfg.Block = cfg.Grid.atLeastOne(), cfg.Block.atLeastOne()
	if cfg.StepLimit == 0 {
		cfg.StepLimit = 1 << 26
	}
	if cfg.Workers == 0 {
		cfg.Workers = runtime.GOMAXPROCS(0)
	}
	if reason := refuse(prog, cfg); reason != "" {
		return nil, cfg, &LaunchError{kernel, reason}
	}
	return prog, cfg, nil
}

// refuse returns why a launch is not valid, or "".
func refuse(prog *program, cfg Config) string {
	threads := cfg.Block.size()
	limit, exact := prog.fn.maxThread, prog.fn.reqThread
	switch {
	case cfg.Block.X > maxThreads || cfg.Block.Y > maxThreads || cfg.Block.Z > 64 || threads > maxThreads:
		return fmt.Sprintf("block of %v; at most %d threads", cfg.Block, maxThreads)
	case limit.X > 0 && threads > limit.size():
		return fmt.Sprintf("block of %d threads; the kernel's launch bounds are %d", threads, limit.size())
	case exact.X > 0 && cfg.Block != exact:
		return fmt.Sprintf("block of %v; the kernel requires %v", cfg.Block, exact)
	case cfg.Grid.X >= maxGrid || cfg.Grid.Y > 65535 || cfg.Grid.Z > 65535:
		return fmt.Sprintf("grid of %v", cfg.Grid)
	case cfg.SharedBytes < 0 || prog.shared+cfg.SharedBytes > maxShared:
		return fmt.Sprintf("%d static and %d dynamic bytes of shared memory; at most %d", prog.shared, cfg.SharedBytes, maxShared)
	case len(cfg.Params) != prog.paramBytes():
		return fmt.Sprintf("%d bytes of parameters; the kernel has %d", len(cfg.Params), prog.paramBytes())
	}
	return ""
}

// run shares the blocks out to workers. Of several faults the one in the first
// block, in the order of running, is returned.
func (g *grid) run() error {
	total := g.cfg.Grid.size()
	var (
		next  atomic.Int64
		mu    sync.Mutex
		first *Fault
		where int64
		wg    sync.WaitGroup
	)
	for range min(g.cfg.Workers, total) {
		wg.Go(func() {
			b := g.block()
			for !g.stop.Load() {
				i := next.Add(1) - 1
				if i >= int64(total) {
					b.giveBack()
					return
				}
				if f := b.try(g.cfg.Grid.place(g.scatter(int(i), total))); f != nil {
					g.stop.Store(true)
					mu.Lock()
					if first == nil || i < where {
						first, where = f, i
					}
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	if first != nil {
		return first
	}
	return nil
}

// scatter is a permutation of the blocks: i*k+seed for a k that shares no
// factor with their number.
func (g *grid) scatter(i, total int) int {
	if g.cfg.Seed == 0 || total >= 1<<31 {
		return i
	}
	k := uint64(total)*5/8 | 1
	for gcd(k, uint64(total)) != 1 {
		k += 2
	}
	return int((uint64(i)*k + g.cfg.Seed%uint64(total)) % uint64(total))
}

func gcd(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// try runs a block and returns its fault.
func (b *block) try(id Dim3) (f *Fault) {
	defer func() {
		switch e := recover().(type) {
		case nil:
		case *Fault:
			f = e
		default:
			panic(e)
		}
	}()
	b.run(id)
	return nil
}

// fault ends the launch: it completes f with what runs where and panics; try
// catches it. lanes are those concerned.
func (w *warp) fault(f *Fault, lanes uint32) {
	in := &w.blk.prog.code[w.here]
	f.Kernel, f.Block = w.blk.prog.fn.name, w.blk.id
	f.Thread = w.blk.grid.cfg.Block.place(32*w.id + bits.TrailingZeros32(lanes)%32)
	f.Line, f.Source, f.Instr = in.from.line, in.from.source, in.from.name()
	panic(f)
}

// divergence words who is where.
func divergence(here, elsewhere, exited uint32) string {
	s := fmt.Sprintf("partial warp: lanes %#08x wait here", here)
	if elsewhere != 0 {
		s += fmt.Sprintf(", lanes %#08x elsewhere", elsewhere)
	}
	if exited != 0 {
		s += fmt.Sprintf(", lanes %#08x have exited", exited)
	}
	return s
}
