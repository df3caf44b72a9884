package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-run/holdfast/chat"
	"github.com/holdfast-run/holdfast/device"
	"github.com/holdfast-run/holdfast/device/cpu"
	"github.com/holdfast-run/holdfast/device/cuda"
	"github.com/holdfast-run/holdfast/device/ref"
	"github.com/holdfast-run/holdfast/graph"
	"github.com/holdfast-run/holdfast/internal/vfs"
	"github.com/holdfast-run/holdfast/model"
	"github.com/holdfast-run/holdfast/tokenizer"
	"github.com/holdfast-run/holdfast/weights"
)

// Config says which model to serve, where, and how much of it at once.
type Config struct {
	// ModelPath is a GGUF file, any part of a split one, or a folder with a
	// config.json and safetensors.
	ModelPath string
	// ModelID is the name that clients use. The default is the base name of the
	// file, without .gguf and the part's number, or of the folder.
	ModelID string
	// Quantize is the type that matrices of F32, F16 and BF16 are given at load:
	// Q8_0 or Q4_0. The default is to leave them.
	Quantize graph.DType
	// Device names the backend. "auto" is "cuda" where a GPU can be used for the
	// model, else "cpu"; the plan says why. The default is "cpu".
	Device string
	// BatchInvariant keeps a GPU to kernels whose results do not depend on the
	// batch, which the CPU's never do.
	BatchInvariant bool
	// Threads is the number of compute threads of the CPU backend. The default
	// is the number of cores that the process may use.
	Threads int
	// ContextLength is the most tokens of one sequence. The default is what
	// the model was made for, at most 8192.
	ContextLength int
	// MaxSequences is the most sequences in a step. The default is 16.
	MaxSequences int
	// KV is the type of stored keys and values: F16, F32 or Q8_0, the last two on the
	// CPU only. The default is F16.
	KV graph.DType
	// ITL is the target for the time between two tokens of one sequence, which
	// chunks of prompts are cut to. The default is 50 ms.
	ITL time.Duration
	// HostBlocks is how many KV blocks of preempted sequences the host's memory
	// holds; what does not fit is computed again. The default is none.
	HostBlocks int
	// Store is the folder of what outlives the process: today the cache of
	// model digests. Empty means that nothing is kept.
	Store string
	// StoreBytes bounds the KV blocks in Store; 0 keeps none.
	StoreBytes int64
	// Restore says how blocks in Store are used. The default is RestoreAuto.
	Restore RestoreMode
	// Log, if set, is told of blocks that could not be read or written, and of a
	// device that was lost.
	Log *slog.Logger
	fs  vfs.FS // of blocks in Store; tests set another
	// Planned, if set, is given the memory plan before anything is loaded.
	Planned func(Plan)
	// Progress, if set, is told of start-up phases: done of total bytes.
	Progress func(phase string, done, total int64)
}

const (
	defaultContext   = 8192
	defaultSequences = 16
	maxSequences     = 1024
	maxStepTokens    = 512  // most tokens in a step
	maxQueue         = 1024 // requests that wait for a row
)

// Devices lists the backends by name.
func Devices() []string { return []string{"auto", "cpu", "cuda", "ref"} }

// backend returns the backend of a name; that of "auto" is tried first.
func backend(cfg Config) (device.Backend, error) {
	switch cfg.Device {
	case "", "cpu":
		return cpu.Backend{}, nil
	case "cuda", "auto":
		return &cuda.Backend{BatchInvariant: cfg.BatchInvariant}, nil
	case "ref":
		return ref.Backend{}, nil
	}
	return nil, fmt.Errorf("engine: device %q is not known; known: %s", cfg.Device, strings.Join(Devices(), ", "))
}

// choose plans the memory on the device that was asked for. With "auto" the CPU
// stands in for a GPU that is not there, has too little memory, or has no kernels for
// the model.
func (l *loaded) choose(cfg Config) error {
	err := l.makePlan(cfg)
	if cfg.Device != "auto" {
		return err
	}
	reason := "auto: a GPU that can be used"
	if err != nil {
		reason = "auto: " + err.Error()
		l.backend, l.opts = cpu.Backend{}, device.Options{}
		if err := l.makePlan(cfg); err != nil {
			return err
		}
	}
	l.plan.Reason = reason
	return nil
}

// loaded is a model that is planned but not yet on its device.
type loaded struct {
	file    *weights.File
	graph   *graph.Graph
	backend device.Backend
	opts    device.Options
	plan    Plan
	info    Info
}

// partNumber is what of a file's name is not the model's.
var partNumber = regexp.MustCompile(`(-\d{5}-of-\d{5})?\.gguf$`)

// load opens the model file and plans its memory.
func load(cfg Config) (*loaded, error) {
	be, err := backend(cfg)
	if err != nil {
		return nil, err
	}
	stat, err := os.Stat(cfg.ModelPath)
	if err != nil {
		return nil, fmt.Errorf("engine: model file: %w", err)
	}
	file, err := model.Open(cfg.ModelPath, cfg.Quantize)
	if err != nil {
		return nil, err
	}
	g, err := model.Build(file)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	l := &loaded{file: file, graph: g, backend: be}
	if err := l.choose(cfg); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	id := cfg.ModelID
	if id == "" {
		id = partNumber.ReplaceAllString(filepath.Base(cfg.ModelPath), "")
	}
	l.info = Info{
		ID:            id,
		Created:       stat.ModTime(),
		ContextLength: l.opts.ContextLength,
		VocabSize:     g.Vocab,
		BlockTokens:   device.BlockTokens,
		Device:        l.backend.Name(),
	}
	return l, nil
}

// Engine serves one model.
type Engine struct {
	info      Info
	plan      Plan
	file      *weights.File
	tokenizer *tokenizer.Tokenizer
	template  *chat.Template // nil if the model has none
	loop      *loop
	wedged    chan struct{} // closed when a step has taken too long
	closing   sync.Once
	closed    error         // what Close found
	measured  atomic.Uint64 // runs of Measure, which seed its prompts
	identity  identity
}

// Open loads a model and starts its step loop. The caller closes the engine.
func Open(ctx context.Context, cfg Config) (*Engine, error) {
	l, err := load(cfg)
	if err != nil {
		return nil, err
	}
	if cfg.Planned != nil {
		cfg.Planned(l.plan)
	}
	e := &Engine{info: l.info, plan: l.plan, file: l.file}
	if err := e.assemble(ctx, l, cfg); err != nil {
		return nil, errors.Join(err, l.file.Close())
	}
	e.run()
	return e, nil
}

// assemble makes all parts of the engine; run starts its goroutines.
func (e *Engine) assemble(ctx context.Context, l *loaded, cfg Config) error {
	var err error
	if e.tokenizer, err = tokenizer.FromFile(l.file); err != nil {
		return err
	}
	if e.tokenizer.VocabSize() > l.graph.Vocab {
		return fmt.Errorf("engine: %s: the tokenizer has %d tokens, tensor token_embd.weight only %d rows",
			l.file.PartOf("token_embd.weight"), e.tokenizer.VocabSize(), l.graph.Vocab)
	}
	if e.template, err = chat.FromFile(l.file, e.tokenizer); err != nil {
		return err
	}
	if cfg.Progress != nil {
		l.opts.Progress = func(done, total int64) { cfg.Progress("weights", done, total) }
	}
	if err := openStore(cfg.Store); err != nil {
		return err
	}
	if err := l.file.Load(ctx, func(done, total int64) {
		if cfg.Progress != nil {
			cfg.Progress("layout", done, total)
		}
	}); err != nil {
		return err
	}
	prog, err := l.backend.Compile(ctx, l.graph, l.file, l.opts)
	if err != nil {
		return err
	}
	e.info.Class = prog.Class()
	e.info.Exact = !strings.HasSuffix(e.info.Class, "-fast") // docs/NUMERICS.md
	e.identity.done = make(chan struct{})
	go func(tok *tokenizer.Tokenizer, class string) { // a large file takes longer to hash than to map
		defer close(e.identity.done)
		digest, err := weightsDigest(l.file, cfg.Store)
		e.identity.id, e.identity.err = l.identity(digest, tok, class), err
	}(e.tokenizer, e.info.Class)
	if e.loop, err = newLoop(prog, l.opts, cfg); err != nil {
		return errors.Join(err, prog.Close())
	}
	e.loop.rebuilds.do = l.rebuilderOf(prog)
	if err := e.loop.openTier(cfg); err != nil {
		return errors.Join(err, e.loop.close(), prog.Close())
	}
	e.wedged = make(chan struct{})
	return nil
}

func (e *Engine) run() {
	go e.loop.run()
	go e.loop.watch(wedgedAfter, e.wedged)
}

// Close stops the loop, ends what still runs with ErrStopped and frees the
// model's memory. It is idempotent.
func (e *Engine) Close() error {
	e.closing.Do(func() {
		e.loop.stop()
		e.closed = errors.Join(e.loop.close(), e.loop.prog.Close(), e.file.Close())
		<-e.identity.done // cut short by the closed file
	})
	return e.closed
}

// Drain accepts nothing new and returns when everything accepted has ended,
// or with ctx's error.
func (e *Engine) Drain(ctx context.Context) error { return e.loop.drain(ctx) }

// Info describes the model.
func (e *Engine) Info() Info { return e.info }

// MemoryPlan is the memory that the engine was planned with.
func (e *Engine) MemoryPlan() Plan { return e.plan }

// Tokenizer is the model's tokenizer.
func (e *Engine) Tokenizer() *tokenizer.Tokenizer { return e.tokenizer }

// ErrNoTemplate is returned by EncodeChat for a model without a chat template.
var ErrNoTemplate = errors.New("engine: the model has no chat template; use completions")

// EncodeChat renders a conversation with the model's template and returns its
// tokens. With in.MaxTokens set, a prompt that is far longer ends in a
// ContextLengthError before all of it is tokenised.
func (e *Engine) EncodeChat(in chat.Input) ([]int32, error) {
	if e.template == nil {
		return nil, ErrNoTemplate
	}
	ids, err := e.template.Tokens(e.tokenizer, in)
	if long := new(chat.TooLongError); errors.As(err, &long) {
		return nil, &ContextLengthError{Prompt: long.Least, Limit: e.info.ContextLength, AtLeast: true}
	}
	return ids, err
}

// Ready returns nil while the step loop makes progress, else what is wrong.
func (e *Engine) Ready() error { return e.loop.ready(time.Now()) }

// Wedged is closed once a step has taken more than five minutes: the process
// should exit.
func (e *Engine) Wedged() <-chan struct{} { return e.wedged }

// Stats returns a snapshot of the counters.
func (e *Engine) Stats() Stats {
	s := e.loop.stats(time.Now())
	if t := e.loop.tier; t != nil {
		disk := t.store.Stats()
		s.StoreBytes, s.StoreLimit, s.CorruptBlocks = disk.Bytes, disk.MaxBytes, disk.Corrupt
	}
	return s
}
