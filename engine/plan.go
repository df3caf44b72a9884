package engine

import (
	"fmt"
	"math"
	"runtime"

	"github.com/holdfast-run/holdfast/device"
	"github.com/holdfast-run/holdfast/graph"
	"github.com/holdfast-run/holdfast/internal/sysinfo"
	"github.com/holdfast-run/holdfast/scheduler"
	"github.com/holdfast-run/holdfast/weights"
)

// availableMemory is sysinfo's; tests set another.
var availableMemory = sysinfo.AvailableMemory

// Plan is the memory plan: what the model will hold, counted before it loads.
type Plan struct {
	Items         []device.PlanItem
	Total         int64 // bytes of Items
	Available     int64 // bytes that the device, the machine or the cgroup has left
	ContextLength int   // most tokens of one sequence
	MaxSequences  int   // most sequences in a step
	Threads       int   // compute threads of the CPU backend
	Blocks        int   // KV blocks
	BlockTokens   int   // tokens in a block
	BytesPerToken int64 // KV of one token
	Device        string
	Reason        string // why that device, if it was left to us
}

// MakePlan plans the memory of cfg without loading the model.
func MakePlan(cfg Config) (Plan, error) {
	l, err := load(cfg)
	if err != nil {
		return Plan{}, err
	}
	return l.plan, l.file.Close()
}

// makePlan settles the options and counts the memory; it fails if there is
// too little.
func (l *loaded) makePlan(cfg Config) error {
	o := &l.opts
	o.Threads = cfg.Threads
	if o.Threads == 0 {
		o.Threads = sysinfo.CPUs()
	}
	if o.Threads < 1 || o.Threads > 4*runtime.NumCPU() {
		return fmt.Errorf("engine: threads is %d; this machine can use 1 to %d", cfg.Threads, runtime.NumCPU())
	}
	o.ContextLength = cfg.ContextLength
	if o.ContextLength == 0 {
		o.ContextLength = min(l.graph.ContextLength, defaultContext)
	}
	if o.ContextLength < 1 || o.ContextLength > l.graph.ContextLength {
		return fmt.Errorf("engine: context is %d; the model was made for 1 to %d", cfg.ContextLength, l.graph.ContextLength)
	}
	o.MaxRows = cfg.MaxSequences
	if o.MaxRows == 0 {
		o.MaxRows = defaultSequences
	}
	if o.MaxRows < 1 || o.MaxRows > maxSequences {
		return fmt.Errorf("engine: max sequences is %d; it must be in [1, %d]", cfg.MaxSequences, maxSequences)
	}
	if cfg.HostBlocks < 0 || cfg.HostBlocks > math.MaxInt32 || cfg.ITL < 0 {
		return fmt.Errorf("engine: %d host blocks and a target of %v between tokens; neither may be negative", cfg.HostBlocks, cfg.ITL)
	}
	o.KV = cfg.KV
	if o.KV == graph.Invalid {
		o.KV = graph.F16
	}
	o.MaxTokens = max(maxStepTokens, o.MaxRows)
	available := availableMemory()
	gpu, apart := l.backend.(interface{ Memory() (int64, error) })
	if apart { // the device has memory of its own
		var err error
		if available, err = gpu.Memory(); err != nil {
			return err
		}
	}

	// The window pool takes what its rows can use, and as much again to find
	// prefixes in. Then the price of a block of the full pool; then as many as all
	// rows can use, within a quarter of the memory, but at least one whole context.
	if o.Window = l.graph.Window(); o.Window > 0 {
		o.Blocks[device.Window] = 2 * scheduler.WindowBlocks(o.MaxRows, o.MaxTokens, min(o.Window, o.ContextLength))
	}
	o.Blocks[device.Full] = 1
	one, err := l.backend.Plan(l.graph, l.file, *o)
	if err != nil {
		return err
	}
	o.Blocks[device.Full] = 2
	two, err := l.backend.Plan(l.graph, l.file, *o)
	if err != nil {
		return err
	}
	blockBytes := max(two.Total()-one.Total(), 1)
	o.Blocks[device.Full] = max(min(o.MaxRows*o.MaxBlocks(), int(available/4/blockBytes)), o.MaxBlocks())

	items, err := l.backend.Plan(l.graph, l.file, *o)
	if err != nil {
		return err
	}
	onDevice := items.Total()
	if made := madeBytes(l.graph, l.file); made > 0 {
		items = append(items, device.PlanItem{Name: "tables made at load", Bytes: made})
	}
	if cfg.HostBlocks > 0 {
		items = append(items, device.PlanItem{Name: "KV of preempted sequences", Bytes: int64(cfg.HostBlocks) * blockBytes})
	}
	l.plan = Plan{
		Items: items, Total: items.Total(), Available: available,
		ContextLength: o.ContextLength, MaxSequences: o.MaxRows, Threads: o.Threads,
		Device: l.backend.Name(), Blocks: o.Blocks[device.Full], BlockTokens: device.BlockTokens, BytesPerToken: blockBytes / device.BlockTokens,
	}
	need := l.plan.Total
	if apart {
		need = onDevice
	}
	if need > available {
		return fmt.Errorf("%w: the plan needs %d MiB and %d MiB are available; lower the context (%d tokens) or take a smaller model",
			device.ErrNoMemory, need>>20, available>>20, o.ContextLength)
	}
	return nil
}

// madeBytes returns what tensors that are made at load hold beside what the
// backend has of them: the tables that embeddings are read from stay; of the
// others each goes once it is packed, so the largest counts.
func madeBytes(g *graph.Graph, f *weights.File) int64 {
	tables := map[string]bool{}
	for _, n := range g.Nodes {
		if op, ok := n.Op.(graph.Embed); ok {
			tables[op.Table.Name] = true
		}
	}
	stay, largest := 0, 0
	for _, t := range f.Tensors() {
		switch {
		case !f.Made(t.Name):
		case tables[t.Name]:
			stay += len(t.Data)
		default:
			largest = max(largest, len(t.Data))
		}
	}
	return int64(stay + largest)
}
