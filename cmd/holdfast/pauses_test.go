package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/engine"
	"github.com/holdfast-run/holdfast/internal/loadgen"
	"github.com/holdfast-run/holdfast/internal/sysinfo"
	"github.com/holdfast-run/holdfast/server"
)

var (
	pausesFile  = flag.String("pauses", "", "where BenchmarkPauses writes its table, a Markdown file")
	pausesPhase = flag.Duration("phase", 20*time.Second, "how long BenchmarkPauses measures each phase")
)

const (
	pauseModel   = "../../models/SmolLM2-135M-Instruct.Q4_1.gguf"
	pauseStreams = 16
	pausePrompt  = 128 // tokens of a request
	pauseOutput  = 128
)

// BenchmarkPauses measures what the collector and full compute threads do to
// everybody else in the process: stop-the-world pauses, how late goroutines run,
// how long a sync takes. First with nothing to do, then beside streams over HTTP,
// then beside streams and a writer that syncs like a log. Clients and server share
// the process. Run it with -benchtime 1x.
func BenchmarkPauses(b *testing.B) {
	if _, err := os.Stat(pauseModel); err != nil {
		b.Skip("needs the default model: make model")
	}
	threads := runtime.NumCPU()
	setProcs(threads)
	e, err := engine.Open(b.Context(), engine.Config{
		ModelPath: pauseModel, Threads: threads, ContextLength: 2 * (pausePrompt + pauseOutput), MaxSequences: pauseStreams,
	})
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close()
	for b.Loop() {
		table := pausesHeader(threads, stalls(threads, *pausesPhase))
		for _, p := range []struct {
			name           string
			streams, syncs bool
		}{{"nothing", false, false}, {"streams", true, false}, {"streams and a writer", true, true}} {
			f := pausesPhaseOf(b, e, p.streams, p.syncs)
			table += f.row(p.name)
		}
		fmt.Print(table)
		if *pausesFile == "" {
			continue
		}
		if err := os.WriteFile(*pausesFile, []byte(table), 0o644); err != nil {
			b.Fatal(err)
		}
	}
}

func pausesPhaseOf(b *testing.B, e *engine.Engine, streams, syncs bool) (f pauseFigures) {
	if streams {
		defer offerStreams(b, e)()
	}
	w := newPauseWatch(b, syncs)
	before := e.Stats().CompletionTokens
	f = w.run(b, *pausesPhase)
	f.rate = float64(e.Stats().CompletionTokens-before) / pausesPhase.Seconds()
	return f
}

// offerStreams starts a server and its clients, and returns when they have as many
// tokens as there are streams; end returns when no stream is left.
func offerStreams(b *testing.B, e *engine.Engine) (end func()) {
	s, err := server.New(server.Config{Worker: newWorker(e), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	go s.Serve(listener)
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := loadgen.Run(ctx, loadgen.Config{
			URL: "http://" + listener.Addr().String(), Arrivals: loadgen.Spaced(100_000, 1, false, 1, pausePrompt, pauseOutput),
			Concurrency: pauseStreams, IgnoreEOS: true, Seed: uint64(time.Now().UnixNano()), Timeout: time.Hour,
		})
		ended <- err
	}()
	for before := e.Stats().CompletionTokens; e.Stats().CompletionTokens < before+pauseStreams; {
		select {
		case err := <-ended:
			b.Fatal(err)
		case <-time.After(10 * time.Millisecond):
		}
	}
	return func() {
		cancel()
		<-ended
		if err := s.Shutdown(context.Background()); err != nil {
			b.Error(err)
		}
	}
}

func pausesHeader(threads int, stalled []time.Duration) string {
	load, _ := os.ReadFile("/proc/loadavg")
	first, _, _ := strings.Cut(string(load), " ")
	gaps := summary(stalled)
	return fmt.Sprintf(`# Pauses

%s, %s/%s, %d cores, %s, SmolLM2 135M Q4_1, %d threads, %d streams of %d tokens after %d, %v a phase, a forced collection every %v.
Clock of a core at the start %.2f GHz, load average %s. Written by `+"`make bench-pauses`"+`.

Milliseconds: median, 99th percentile, most. Late is how much later than asked a goroutine runs that sleeps 1 ms at a time. Runnable is how long
goroutines waited for a processor, pauses how long all of them stood still: the runtime's histograms, of whose buckets these are the upper ends.

The machine by itself: as many threads that only looked at the clock for %v, with nothing beside them, were kept from it %d times for more than 0.1 ms:
%.2f, %.2f, %.2f. No pause can be shorter than the one of these that falls into it.

| beside | tok/s | collections | pauses | whole collections | late | runnable | write and sync |
| --- | --- | --- | --- | --- | --- | --- | --- |
`, time.Now().UTC().Format(time.DateOnly), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version(), threads, pauseStreams, pauseOutput, pausePrompt,
		*pausesPhase, forcedEvery, sysinfo.Clock(threads)/1e9, first, *pausesPhase, len(stalled), gaps[0], gaps[1], gaps[2])
}
