package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-run/holdfast/engine"
	"github.com/holdfast-run/holdfast/graph"
	"github.com/holdfast-run/holdfast/internal/sysinfo"
	"github.com/holdfast-run/holdfast/server"
	"github.com/holdfast-run/holdfast/tokenizer"
	"github.com/holdfast-run/holdfast/weights"
)

// modelFlags are the flags of all commands that load a model.
type modelFlags struct {
	Model          string `required:"" placeholder:"PATH" help:"The model: a GGUF file (any part of a split one), or a folder with config.json and safetensors."`
	Device         string `default:"cpu" enum:"auto,cpu,cuda,ref" help:"Backend: cpu; cuda, an NVIDIA GPU (not yet run on one: docs/CUDA.md); auto, a GPU if one can be used; ref, the slow reference. Default ${default}."`
	Threads        int    `placeholder:"N" help:"Compute threads of the CPU backend. Default: all cores that the process may use."`
	BatchInvariant bool   `help:"On a GPU, keep to kernels whose results do not depend on the batch. The CPU's never do."`
	Quantize       string `placeholder:"TYPE" help:"Quantise matrices of F32, F16 and BF16 at load: q8_0 or q4_0; embedding and head have at least q8_0. Default: leave them."`
	KVCacheDType   string `name:"kv-cache-dtype" default:"f16" enum:"f16,q8_0,f32" placeholder:"TYPE" help:"Type of stored keys and values: f16; q8_0, about half of its bytes and a little less exact (docs/NUMERICS.md); f32. Default ${default}."`
	Context        int    `placeholder:"N" help:"Most tokens of prompt and completion together. Default: what the model was made for, at most 8192."`
}

// Validate is called by the flag parser.
func (f *modelFlags) Validate() error {
	if f.Threads < 0 {
		return fmt.Errorf("--threads is %d; give 1 or more", f.Threads)
	}
	if f.Context < 0 {
		return fmt.Errorf("--context is %d; give 1 or more", f.Context)
	}
	if _, ok := quantizeTypes[f.Quantize]; !ok {
		return fmt.Errorf("--quantize is %q; give q8_0 or q4_0", f.Quantize)
	}
	return nil
}

// kvTypes are the values of --kv-cache-dtype.
var kvTypes = map[string]graph.DType{"f16": graph.F16, "q8_0": graph.Q8_0, "f32": graph.F32}

// quantizeTypes are the values of --quantize.
var quantizeTypes = map[string]graph.DType{"": graph.Invalid, "q8_0": graph.Q8_0, "q4_0": graph.Q4_0}

func (f *modelFlags) config() engine.Config {
	return engine.Config{
		ModelPath: f.Model, Device: f.Device, BatchInvariant: f.BatchInvariant, Quantize: quantizeTypes[f.Quantize],
		KV: kvTypes[f.KVCacheDType], Threads: f.Threads, ContextLength: f.Context,
	}
}

// openModel plans and loads a model, and says on w how that goes, unless w is
// nil. With planOnly it returns a nil engine after the plan.
func openModel(ctx context.Context, cfg engine.Config, w io.Writer, planOnly bool) (*engine.Engine, error) {
	if w == nil {
		w = io.Discard
	}
	start := time.Now()
	cfg.Planned = func(plan engine.Plan) {
		fmt.Fprintf(w, "model %s, planned in %s\n", cfg.ModelPath, round(time.Since(start)))
		printPlan(w, plan)
		start = time.Now()
	}
	if planOnly {
		plan, err := engine.MakePlan(cfg)
		if err != nil {
			return nil, modelError(cfg, err)
		}
		cfg.Planned(plan)
		return nil, nil
	}
	setProcs(cfg.Threads)
	cfg.Progress = progress(w)
	e, err := engine.Open(ctx, cfg)
	if err != nil {
		return nil, modelError(cfg, err)
	}
	info := e.Info()
	fmt.Fprintf(w, "loaded on %s, numerics class %s, in %s\n", info.Device, info.Class, round(time.Since(start)))
	return e, nil
}

// setProcs leaves room for the runtime and the network beside the threads that
// compute: these spin, and code in assembly cannot be preempted.
func setProcs(threads int) {
	if os.Getenv("GOMAXPROCS") != "" {
		return
	}
	if threads == 0 {
		threads = sysinfo.CPUs()
	}
	runtime.GOMAXPROCS(threads + 2)
}

// printPlan writes the memory plan as a table.
func printPlan(w io.Writer, p engine.Plan) {
	width := len("total")
	for _, it := range p.Items {
		width = max(width, len(it.Name))
	}
	if p.Reason != "" {
		fmt.Fprintf(w, "device %s (%s)\n", p.Device, p.Reason)
	}
	fmt.Fprintln(w, "memory plan:")
	for _, it := range p.Items {
		fmt.Fprintf(w, "  %-*s %10s\n", width, it.Name, bytesText(it.Bytes))
	}
	fmt.Fprintf(w, "  %-*s %10s of %s available\n", width, "total", bytesText(p.Total), bytesText(p.Available))
	fmt.Fprintf(w, "  context of %d tokens, at most %d sequences at once, %d blocks of %d tokens, %s of KV for a token\n",
		p.ContextLength, p.MaxSequences, p.Blocks, p.BlockTokens, bytesText(p.BytesPerToken))
}

// progress returns a callback that keeps one line of a terminal up to date; for
// anything but a terminal it returns nil.
func progress(w io.Writer) func(phase string, done, total int64) {
	if !isTerminal(w) {
		return nil
	}
	var last time.Time
	return func(phase string, done, total int64) {
		if now := time.Now(); done < total && now.Sub(last) > 100*time.Millisecond {
			last = now
			fmt.Fprintf(w, "\r%s: %s of %s\x1b[K", phase, bytesText(done), bytesText(total))
		} else if done >= total && !last.IsZero() {
			fmt.Fprint(w, "\r\x1b[K")
		}
	}
}

// modelError says of an error in opening a model what it is about and what to
// do about it.
func modelError(cfg engine.Config, err error) error {
	var pathErr *fs.PathError
	var format *weights.FormatError
	switch {
	case errors.Is(err, context.Canceled):
		return errors.New("start: interrupted: nothing was served")
	case errors.As(err, &pathErr):
		return fmt.Errorf("model file: %s: %v: give an existing GGUF file or folder with --model ('make model' fetches one)", pathErr.Path, pathErr.Err)
	case errors.As(err, &format) && errors.Is(err, weights.ErrUnsupported):
		return fmt.Errorf("model file: %s: see the README for what is supported", trim(err))
	case errors.As(err, &format):
		return fmt.Errorf("model file: %s: the file is damaged or cut short, fetch it again", trim(err))
	}
	text := trim(err)
	if !strings.Contains(text, cfg.ModelPath) {
		text = cfg.ModelPath + ": " + text
	}
	return fmt.Errorf("model: %s", text)
}

// trim drops the package's name from an error that a user reads.
func trim(err error) string {
	text := err.Error()
	for _, p := range []string{"engine: ", "device: ", "weights: ", "model: ", "tokenizer: ", "server: ", "session: ", "tokenlog: ", "cuda: ", "nvml: ", "nvrtc: ", "cublaslt: "} {
		text = strings.TrimPrefix(text, p)
	}
	return text
}

// worker makes of an engine what the server asks for.
type worker struct {
	*engine.Engine
	maxTokenBytes int
}

func newWorker(e *engine.Engine) worker {
	w := worker{e, 1}
	var piece []byte
	for id := range e.Tokenizer().VocabSize() {
		piece = w.AppendToken(piece[:0], int32(id), true)
		w.maxTokenBytes = max(w.maxTokenBytes, len(piece))
	}
	return w
}

func (w worker) Ends() (bos, eos int32) {
	bos, _ = w.Tokenizer().BOS()
	eos, _ = w.Tokenizer().EOS()
	return bos, eos
}

func (w worker) MaxTokenBytes() int { return w.maxTokenBytes }

func (w worker) Generate(ctx context.Context, r engine.Request) ([]server.Stream, error) {
	all, err := w.GenerateChoices(ctx, r)
	if err != nil {
		return nil, err
	}
	streams := make([]server.Stream, len(all))
	for i, g := range all {
		streams[i] = g
	}
	return streams, nil
}

func (w worker) AppendToken(dst []byte, token int32, names bool) []byte {
	if tok := w.Tokenizer(); names || !tok.Control(token) {
		return tok.AppendPiece(dst, token)
	}
	return dst
}

func (w worker) Encode(text string, begin bool) []int32 {
	tok := w.Tokenizer()
	var ids []int32
	if bos, ok := tok.BOS(); ok && begin && tok.AddBOS() {
		ids = append(ids, bos)
	}
	return tok.EncodeTemplate(ids, text)
}

func (w worker) Decode(tokens []int32) string { return w.Tokenizer().Decode(tokens, true) }

// EncodeAfter is Encode for a text that goes on.
func (w worker) EncodeAfter(text string) []int32 {
	return w.Tokenizer().EncodeSpansAfter(nil, []tokenizer.Span{{Text: text}})
}

// parseSize reads a number of bytes, as in 16GiB.
func parseSize(text string) (int64, error) {
	number, unit := text, int64(1)
	for i, suffix := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if rest, ok := strings.CutSuffix(text, suffix); ok {
			number, unit = rest, 1<<(10*(i+1))
		}
	}
	n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/unit {
		return 0, fmt.Errorf("--store-size is %q; give a number of bytes, as in 16GiB", text)
	}
	return n * unit, nil
}

// bytesText writes a number of bytes for people.
func bytesText(n int64) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d B", n)
	case n < 1<<20:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	case n < 1<<30:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
}

func round(d time.Duration) time.Duration { return d.Round(100 * time.Microsecond) }

// isTerminal reports whether a stream is a terminal.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	return err == nil
}
