package cudaemu

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/holdfast-run/holdfast/bindings/cuda"
	"github.com/holdfast-run/holdfast/bindings/dynload"
)

// node is work in a graph and what it comes after.
type node struct {
	work
	after []*node
}

// graph is nodes in the order of their recording, which their edges follow.
type graph struct {
	nodes  []*node
	handle map[*node]uintptr
}

// capture records the work of a stream, and of those that joined by events.
type capture struct {
	graph   *graph
	origin  *stream
	mode    cuda.CaptureMode
	thread  int
	invalid bool
	tails   map[*stream][]*node // what the stream's next node comes after
}

// capturePoint is an event recorded in a capture.
type capturePoint struct {
	capture *capture
	tail    []*node
}

// add appends a node behind a stream's last.
func (c *capture) add(s *stream, w work) cuda.Code {
	if c.invalid {
		return cuda.StreamCaptureInvalidated
	}
	n := &node{work: w, after: slices.Clone(c.tails[s])}
	c.graph.nodes = append(c.graph.nodes, n)
	c.tails[s] = []*node{n}
	return cuda.Success
}

func (c *capture) point(s *stream) *capturePoint {
	return &capturePoint{c, slices.Clone(c.tails[s])}
}

// join makes a stream's next node come after the event; a stream that does not
// capture yet begins to.
func (p *capturePoint) join(s *stream) cuda.Code {
	switch {
	case p.capture.origin.capture != p.capture:
		return cuda.InvalidValue // the capture is over
	case s.capture != nil && s.capture != p.capture:
		return captureUnmatched
	case s.capture == nil:
		s.capture = p.capture
	}
	for _, n := range p.tail {
		if !slices.Contains(p.capture.tails[s], n) {
			p.capture.tails[s] = append(p.capture.tails[s], n)
		}
	}
	return cuda.Success
}

// unjoined reports whether some node does not come before the origin's end.
func (c *capture) unjoined() bool {
	seen := map[*node]bool{}
	var walk func(list []*node)
	walk = func(list []*node) {
		for _, n := range list {
			if !seen[n] {
				seen[n] = true
				walk(n.after)
			}
		}
	}
	walk(c.tails[c.origin])
	return len(seen) != len(c.graph.nodes)
}

// replay runs a graph's nodes, each after those that it depends on, otherwise
// in an order that is drawn.
func (e *Emulator) replay(s *stream, nodes []*node) {
	done := map[*node]bool{}
	number := map[*node]int{} // of kernels: of their launch
	for len(done) < len(nodes) && e.ctx.lost == 0 {
		var ready []*node
		for _, n := range nodes {
			if !done[n] && !slices.ContainsFunc(n.after, func(d *node) bool { return !done[d] }) {
				ready = append(ready, n)
			}
		}
		n := ready[0]
		if e.opt.Seed != 0 {
			n = ready[e.rng.IntN(len(ready))]
		}
		if n.launch != nil {
			var before []int
			for _, d := range n.after {
				before = append(before, number[d])
			}
			number[n] = e.kernel(n.launch, before)
		} else if n.run != nil {
			e.check(n.run())
		}
		done[n] = true
	}
	s.kernel = 0 // programmatic launches do not reach across graphs
}

// sameShape reports whether an instantiated graph can take another's nodes.
func sameShape(a, b *graph) bool {
	if len(a.nodes) != len(b.nodes) {
		return false
	}
	index := func(g *graph, list []*node) (at []int) {
		for _, n := range list {
			at = append(at, slices.Index(g.nodes, n))
		}
		return at
	}
	for i, n := range a.nodes {
		m := b.nodes[i]
		if n.kind != m.kind || !slices.Equal(index(a, n.after), index(b, m.after)) || n.launch != nil && n.launch.fn != m.launch.fn {
			return false
		}
	}
	return true
}

// dot is the graph in Graphviz's language.
func (g *graph) dot() string {
	var b strings.Builder
	b.WriteString("digraph {\n")
	for i, n := range g.nodes {
		name := fmt.Sprint("type ", n.kind)
		if n.launch != nil {
			name = n.launch.fn.name
		}
		fmt.Fprintf(&b, "\t%d [label=%q]\n", i, name)
		for _, d := range n.after {
			fmt.Fprintf(&b, "\t%d -> %d\n", slices.Index(g.nodes, d), i)
		}
	}
	return b.String() + "}\n"
}

func beginCapture(e *Emulator, a []uintptr) cuda.Code {
	s, mode := e.ctx.streams[a[0]], cuda.CaptureMode(int32(a[1]))
	switch {
	case s == nil || s.gone:
		return cuda.InvalidHandle
	case a[0] == 0:
		return cuda.StreamCaptureUnsupported
	case s.capture != nil || mode < cuda.CaptureGlobal || mode > cuda.CaptureRelaxed:
		return cuda.InvalidValue
	}
	s.capture = &capture{graph: &graph{handle: map[*node]uintptr{}}, origin: s, mode: mode, thread: thread(), tails: map[*stream][]*node{}}
	return cuda.Success
}

func endCapture(e *Emulator, a []uintptr) cuda.Code {
	s := e.ctx.streams[a[0]]
	switch {
	case s == nil || s.gone:
		return cuda.InvalidHandle
	case s.capture == nil:
		return cuda.InvalidValue
	case s.capture.origin != s:
		return captureUnmatched
	case s.capture.mode != cuda.CaptureRelaxed && s.capture.thread != thread():
		return cuda.StreamCaptureWrongThread
	}
	c := s.capture
	for _, other := range e.ctx.streams {
		if other.capture == c {
			other.capture = nil
		}
	}
	put(a[1], uintptr(0))
	if c.invalid {
		return cuda.StreamCaptureInvalidated
	}
	if c.unjoined() {
		return cuda.StreamCaptureUnjoined
	}
	h := e.handle()
	e.ctx.graphs[h] = c.graph
	put(a[1], h)
	return cuda.Success
}

func getNodes(e *Emulator, a []uintptr) cuda.Code {
	g := e.ctx.graphs[a[0]]
	if g == nil || a[2] == 0 {
		return cuda.InvalidValue
	}
	if a[1] != 0 {
		for i, n := range g.nodes[:min(uint64(len(g.nodes)), get[uint64](a[2]))] {
			if g.handle[n] == 0 {
				g.handle[n] = e.handle()
				e.ctx.nodes[g.handle[n]] = n
			}
			put(a[1]+uintptr(8*i), g.handle[n])
		}
	}
	put(a[2], uint64(len(g.nodes)))
	return cuda.Success
}

var graphHandlers = map[string]*handler{
	"cuStreamBeginCapture_v2": plain(needsContext, beginCapture),
	"cuStreamEndCapture":      plain(needsContext, endCapture),
	"cuStreamIsCapturing": plain(needsContext, func(e *Emulator, a []uintptr) cuda.Code {
		s := e.ctx.streams[a[0]]
		if s == nil {
			return cuda.InvalidHandle
		}
		status := cuda.CaptureNone
		if s.capture != nil {
			status = cuda.CaptureActive
			if s.capture.invalid {
				status = cuda.CaptureInvalidated
			}
		}
		put(a[1], status)
		return cuda.Success
	}),
	"cuThreadExchangeStreamCaptureMode": plain(needsInit, func(e *Emulator, a []uintptr) cuda.Code {
		put(a[0], cuda.CaptureGlobal) // every thread's mode, and it stays
		return cuda.Success
	}),
	"cuGraphInstantiateWithFlags": plain(needsContext, func(e *Emulator, a []uintptr) cuda.Code {
		g := e.ctx.graphs[a[1]]
		if g == nil || a[2] != 0 {
			return cuda.InvalidValue
		}
		h := e.handle()
		e.ctx.execs[h] = &graph{nodes: g.nodes}
		put(a[0], h)
		return cuda.Success
	}),
	"cuGraphUpload": plain(needsContext, func(e *Emulator, a []uintptr) cuda.Code {
		if e.ctx.execs[a[0]] == nil || e.ctx.streams[a[1]] == nil {
			return cuda.InvalidHandle
		}
		return cuda.Success
	}),
	"cuGraphLaunch": plain(needsContext, func(e *Emulator, a []uintptr) cuda.Code {
		g, s := e.ctx.execs[a[0]], e.ctx.streams[a[1]]
		switch {
		case g == nil || s == nil || s.gone:
			return cuda.InvalidHandle
		case s.capture != nil:
			return cuda.StreamCaptureUnsupported // graphs in graphs are not emulated
		}
		e.push(s, task{list: slices.Clone(g.nodes)})
		return cuda.Success
	}),
	"cuGraphExecUpdate_v2": plain(needsContext, func(e *Emulator, a []uintptr) cuda.Code {
		exec, g := e.ctx.execs[a[0]], e.ctx.graphs[a[1]]
		if exec == nil || g == nil {
			return cuda.InvalidValue
		}
		if !sameShape(exec, g) {
			put(a[2], cuda.UpdateTopologyChanged)
			return cuda.GraphExecUpdateFailure
		}
		exec.nodes = g.nodes
		put(a[2], cuda.UpdateSuccess)
		return cuda.Success
	}),
	"cuGraphExecDestroy": plain(needsContext, func(e *Emulator, a []uintptr) cuda.Code {
		if e.ctx.execs[a[0]] == nil {
			return cuda.InvalidHandle
		}
		delete(e.ctx.execs, a[0])
		return cuda.Success
	}),
	"cuGraphDestroy": plain(needsContext, func(e *Emulator, a []uintptr) cuda.Code {
		g := e.ctx.graphs[a[0]]
		if g == nil {
			return cuda.InvalidHandle
		}
		for _, h := range g.handle {
			delete(e.ctx.nodes, h)
		}
		delete(e.ctx.graphs, a[0])
		return cuda.Success
	}),
	"cuGraphGetNodes": plain(needsContext, getNodes),
	"cuGraphNodeGetType": plain(needsContext, func(e *Emulator, a []uintptr) cuda.Code {
		n := e.ctx.nodes[a[0]]
		if n == nil {
			return cuda.InvalidHandle
		}
		put(a[1], n.kind)
		return cuda.Success
	}),
	"cuGraphDebugDotPrint": plain(needsContext, func(e *Emulator, a []uintptr) cuda.Code {
		g := e.ctx.graphs[a[0]]
		if g == nil || os.WriteFile(dynload.GoString(a[1], 4096), []byte(g.dot()), 0o600) != nil {
			return cuda.InvalidValue
		}
		return cuda.Success
	}),
}

func init() {
	handlers = map[string]*handler{}
	for _, m := range []map[string]*handler{deviceHandlers, memoryHandlers, streamHandlers, moduleHandlers, graphHandlers} {
		for name, h := range m {
			handlers[name] = h
		}
	}
}
