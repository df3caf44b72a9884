package cudaemu

import (
	"encoding/binary"
	"os"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/bindings/cuda"
)

// captured records: x is filled on s; on a second stream y is filled; both are
// joined and copied to the host. Without the join the capture is refused.
func (g *gpu) captured(s, side cuda.Stream, x, y cuda.DevicePtr, h []byte, join bool) (cuda.Graph, error) {
	g.t.Helper()
	fork, back := g.event(), g.event()
	f := g.function("faults", "produce")
	g.ok(g.StreamBeginCapture(s, cuda.CaptureRelaxed))
	g.ok(g.MemsetD8Async(x, 1, 256, s))
	g.ok(g.EventRecord(fork, s))
	g.ok(g.StreamWaitEvent(side, fork))
	g.ok(g.LaunchKernel(f, shape(1, 64, side), params(y)))
	g.ok(g.EventRecord(back, side))
	if join {
		g.ok(g.StreamWaitEvent(s, back))
	}
	g.ok(g.MemcpyDtoHAsync(h[:256], x, s))
	g.ok(g.MemcpyDtoHAsync(h[256:], y, s))
	return g.StreamEndCapture(s)
}

func TestGraph(t *testing.T) {
	for seed := range uint64(6) {
		g := start(t, Options{Seed: seed})
		s, side := g.stream(), g.stream()
		x, y, h := g.alloc(256), g.alloc(256), g.pinned(512)
		_, err := g.captured(s, side, x, y, h, false)
		g.want(cuda.StreamCaptureUnjoined, err)
		graph := must[cuda.Graph](g)(g.captured(s, side, x, y, h, true))
		if h[0] != 0xcd {
			t.Fatal("a capture ran")
		}
		nodes, err := g.GraphGetNodes(graph)
		g.ok(err)
		kinds := map[cuda.NodeType]int{}
		for _, n := range nodes {
			k, err := g.GraphNodeGetType(n)
			g.ok(err)
			kinds[k]++
		}
		if len(nodes) != 4 || kinds[cuda.NodeKernel] != 1 || kinds[cuda.NodeMemcpy] != 2 || kinds[cuda.NodeMemset] != 1 {
			t.Errorf("nodes %v", kinds)
		}
		path := t.TempDir() + "/graph.dot"
		g.ok(g.GraphDebugDotPrint(graph, path))
		if dot, err := os.ReadFile(path); err != nil || !strings.Contains(string(dot), "produce") {
			t.Error(err, string(dot))
		}
		exec := must[cuda.GraphExec](g)(g.GraphInstantiate(graph))
		g.ok(g.GraphDestroy(graph))
		for range 3 {
			clear(h)
			g.ok(g.GraphUpload(exec, s))
			g.ok(g.GraphLaunch(exec, s))
			g.ok(g.StreamSynchronize(s))
			if h[0] != 1 || binary.LittleEndian.Uint32(h[256+4*7:]) != 7 {
				t.Fatalf("seed %d: % x", seed, h[:8])
			}
		}
		// The same shape with other memory.
		x2, y2, h2 := g.alloc(256), g.alloc(256), g.pinned(512)
		other := must[cuda.Graph](g)(g.captured(s, side, x2, y2, h2, true))
		if r, err := g.GraphExecUpdate(exec, other); err == nil || r != cuda.UpdateTopologyChanged {
			t.Error("another kernel handle was taken:", r, err) // function() loads the module anew
		}
		g.ok(g.GraphDestroy(other))
		g.ok(g.GraphExecDestroy(exec))
	}
}

func TestGraphUpdate(t *testing.T) {
	g := start(t, Options{})
	s, h := g.stream(), g.pinned(64)
	record := func(v uint8, n uint64) cuda.Graph {
		x := g.alloc(64)
		g.ok(g.StreamBeginCapture(s, cuda.CaptureThreadLocal))
		g.ok(g.MemsetD8Async(x, v, n, s))
		g.ok(g.MemcpyDtoHAsync(h, x, s))
		return must[cuda.Graph](g)(g.StreamEndCapture(s))
	}
	exec := must[cuda.GraphExec](g)(g.GraphInstantiate(record(5, 64)))
	r, err := g.GraphExecUpdate(exec, record(6, 32))
	if g.ok(err); r != cuda.UpdateSuccess {
		t.Error(r)
	}
	g.ok(g.GraphLaunch(exec, s))
	g.ok(g.StreamSynchronize(s))
	if h[31] != 6 || h[32] != 0xcd {
		t.Errorf("% x", h)
	}
}

// TestCaptureRules: what may not be done while a stream captures.
func TestCaptureRules(t *testing.T) {
	g := start(t, Options{})
	s, e := g.stream(), g.event()
	begin := func(mode cuda.CaptureMode) { g.t.Helper(); g.ok(g.StreamBeginCapture(s, mode)) }
	invalid := func() {
		g.t.Helper()
		if status, err := g.StreamIsCapturing(s); status != cuda.CaptureInvalidated || err != nil {
			t.Error(status, err)
		}
		_, err := g.StreamEndCapture(s)
		g.want(cuda.StreamCaptureInvalidated, err)
	}
	begin(cuda.CaptureRelaxed)
	g.want(cuda.StreamCaptureUnsupported, g.StreamSynchronize(s))
	invalid()
	begin(cuda.CaptureGlobal)
	_, err := g.MemAlloc(64)
	g.want(cuda.StreamCaptureUnsupported, err)
	invalid()
	g.ok(g.EventRecord(e, g.stream()))
	begin(cuda.CaptureRelaxed)
	g.want(captureIsolation, g.StreamWaitEvent(s, e))
	invalid()
	begin(cuda.CaptureRelaxed)
	g.alloc(64) // allowed where the mode is relaxed
	h := g.pinned(64)
	g.want(cuda.StreamCaptureUnsupported, g.MemcpyBatchAsync([]cuda.DevicePtr{g.alloc(64)}, []cuda.DevicePtr{cuda.HostAddress(h)}, []uint64{64}, cuda.AccessStream, s))
	g.want(cuda.InvalidValue, g.StreamBeginCapture(s, cuda.CaptureRelaxed))
	graph := must[cuda.Graph](g)(g.StreamEndCapture(s))
	g.ok(g.GraphDestroy(graph))
	g.want(cuda.StreamCaptureUnsupported, g.StreamBeginCapture(0, cuda.CaptureRelaxed))
}
