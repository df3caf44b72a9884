package cudaemu

import (
	"errors"
	"fmt"

	"github.com/holdfast-run/holdfast/bindings/cuda"
	"github.com/holdfast-run/holdfast/internal/testkit/ptxemu"
)

// work is something that a stream does, or a node of a graph.
type work struct {
	kind   cuda.NodeType
	run    func() error
	launch *launch // of kernels; run is then nil
}

// task is queued work. It waits until its marker, if any, is passed.
type task struct {
	work
	after *marker
	mark  *marker // passed when the task is done
	list  []*node // of a graph launch
}

// marker is a point in a stream: what an event recorded.
type marker struct{ passed bool }

// stream runs its tasks in order.
type stream struct {
	queue   []task
	capture *capture
	kernel  int  // number of the last launch, if a kernel was the last thing run; else 0
	gone    bool // destroyed, with tasks left
}

type event struct {
	mark     *marker
	captured *capturePoint
	timing   bool
}

// queue adds work to a stream, or a node to the graph that it captures.
func (e *Emulator) queue(st uintptr, w work) cuda.Code {
	s := e.ctx.streams[st]
	if s == nil || s.gone {
		return cuda.InvalidHandle
	}
	if s.capture != nil {
		return s.capture.add(s, w)
	}
	e.push(s, task{work: w})
	return cuda.Success
}

// push queues a task and lets some work run: with Seed 0 all that can.
func (e *Emulator) push(s *stream, t task) {
	s.queue = append(s.queue, t)
	if e.opt.Seed == 0 {
		e.drain(func() bool { return false })
		return
	}
	for range e.rng.IntN(1 + e.eager) {
		e.step()
	}
}

// drain runs work until enough or until there is none left that can run.
func (e *Emulator) drain(enough func() bool) {
	for !enough() && e.step() {
	}
}

// step runs one task of a stream drawn from those that can go on, and reports
// whether there was one.
func (e *Emulator) step() bool {
	c := e.ctx
	if c.lost != 0 {
		return false
	}
	var ready []uintptr
	for id, s := range c.streams {
		if len(s.queue) > 0 && (s.queue[0].after == nil || s.queue[0].after.passed) {
			ready = append(ready, id)
		}
	}
	if len(ready) == 0 {
		return false
	}
	s := c.streams[e.draw(ready)]
	t := s.queue[0]
	s.queue = s.queue[1:]
	e.do(s, t)
	for id, s := range c.streams {
		if s.gone && len(s.queue) == 0 {
			delete(c.streams, id)
		}
	}
	return true
}

// draw picks one of the handles: the map they come from has no order, the draw
// has the seed's.
func (e *Emulator) draw(list []uintptr) uintptr {
	least := func(from uintptr) uintptr {
		best := ^uintptr(0)
		for _, h := range list {
			if h >= from {
				best = min(best, h)
			}
		}
		return best
	}
	h := least(0)
	for range e.rng.IntN(len(list)) {
		h = least(h + 1)
	}
	return h
}

// do runs a task.
func (e *Emulator) do(s *stream, t task) {
	switch {
	case t.list != nil:
		e.replay(s, t.list)
	case t.launch != nil:
		before := s.kernel
		s.kernel = e.kernel(t.launch, []int{before})
	case t.run != nil:
		s.kernel = 0
		e.check(t.run())
	}
	if t.mark != nil && e.ctx.lost == 0 {
		t.mark.passed = true
	}
}

// check loses the context if queued work failed.
func (e *Emulator) check(err error) {
	if err != nil && e.ctx.lost == 0 {
		e.lose(codeOf(err), err)
	}
}

// codeOf is what a driver reports for a fault.
func codeOf(err error) cuda.Code {
	var f *ptxemu.Fault
	if !errors.As(err, &f) {
		return cuda.IllegalAddress // a copy whose memory is gone
	}
	switch f.Kind {
	case ptxemu.OutOfBounds:
		return cuda.IllegalAddress
	case ptxemu.Misaligned:
		return cuda.MisalignedAddress
	case ptxemu.StepLimit:
		return cuda.LaunchTimeout
	}
	return cuda.LaunchFailed
}

// kernel runs a launch and returns its number. before holds the launches that
// came just before it; those that it may overlap with are unfinished.
func (e *Emulator) kernel(l *launch, before []int) int {
	cfg := l.cfg
	if e.opt.Seed != 0 {
		cfg.Seed = e.rng.Uint64() | 1
	}
	if l.programmatic {
		for _, n := range before {
			if n != 0 {
				cfg.Unfinished = append(cfg.Unfinished, n)
			}
		}
	}
	if err := l.fn.mod.mod.Launch(l.fn.name, cfg); err != nil {
		e.check(fmt.Errorf("cudaemu: kernel %s: %w", l.fn.name, err))
	}
	return e.ctx.mem.Grids()
}

// stream finds one that may be waited for; a capturing one may not.
func (e *Emulator) waitable(st uintptr) (*stream, cuda.Code) {
	s := e.ctx.streams[st]
	if s == nil || s.gone {
		return nil, cuda.InvalidHandle
	}
	if s.capture != nil {
		s.capture.invalid = true
		return nil, cuda.StreamCaptureUnsupported
	}
	return s, cuda.Success
}

// progress lets a little work run, as time passes between two questions.
func (e *Emulator) progress() {
	if e.opt.Seed != 0 {
		for range 1 + e.rng.IntN(2) {
			e.step()
		}
	}
}

// answer is what a query returns.
func (e *Emulator) answer(done bool) cuda.Code {
	switch {
	case e.ctx.lost != 0:
		return e.ctx.lost
	case done:
		return cuda.Success
	}
	return cuda.NotReady
}

var streamHandlers = map[string]*handler{
	"cuStreamCreateWithPriority": plain(needsContext, func(e *Emulator, a []uintptr) cuda.Code {
		if a[1] > 1 {
			return cuda.InvalidValue
		}
		h := e.handle()
		e.ctx.streams[h] = &stream{}
		put(a[0], h)
		return cuda.Success
	}),
	"cuStreamDestroy_v2": plain(needsContext, func(e *Emulator, a []uintptr) cuda.Code {
		s, code := e.waitable(a[0])
		if code != cuda.Success {
			return code
		}
		if a[0] == 0 {
			return cuda.InvalidHandle
		}
		if s.gone = true; len(s.queue) == 0 {
			delete(e.ctx.streams, a[0])
		}
		return cuda.Success
	}),
	"cuStreamSynchronize": waiting(func(e *Emulator, a []uintptr) cuda.Code {
		s, code := e.waitable(a[0])
		if code != cuda.Success {
			return code
		}
		e.drain(func() bool { return len(s.queue) == 0 })
		return cuda.Success
	}),
	"cuStreamQuery": plain(needsContext, func(e *Emulator, a []uintptr) cuda.Code {
		s, code := e.waitable(a[0])
		if code != cuda.Success {
			return code
		}
		e.progress()
		return e.answer(len(s.queue) == 0)
	}),
	"cuStreamWaitEvent": plain(needsContext, func(e *Emulator, a []uintptr) cuda.Code {
		s, ev := e.ctx.streams[a[0]], e.ctx.events[a[1]]
		switch {
		case s == nil || s.gone || ev == nil:
			return cuda.InvalidHandle
		case a[2] != 0:
			return cuda.InvalidValue
		case ev.captured != nil:
			return ev.captured.join(s)
		case s.capture != nil && ev.mark != nil:
			s.capture.invalid = true
			return captureIsolation // it was recorded outside the capture
		case s.capture == nil && ev.mark != nil:
			e.push(s, task{after: ev.mark})
		}
		return cuda.Success
	}),
	"cuEventCreate": plain(needsContext, func(e *Emulator, a []uintptr) cuda.Code {
		if a[1] > 7 {
			return cuda.InvalidValue
		}
		h := e.handle()
		e.ctx.events[h] = &event{timing: a[1]&2 == 0}
		put(a[0], h)
		return cuda.Success
	}),
	"cuEventDestroy_v2": plain(needsContext, func(e *Emulator, a []uintptr) cuda.Code {
		if e.ctx.events[a[0]] == nil {
			return cuda.InvalidHandle
		}
		delete(e.ctx.events, a[0])
		return cuda.Success
	}),
	"cuEventRecord": plain(needsContext, func(e *Emulator, a []uintptr) cuda.Code {
		ev, s := e.ctx.events[a[0]], e.ctx.streams[a[1]]
		if ev == nil || s == nil || s.gone {
			return cuda.InvalidHandle
		}
		if s.capture != nil {
			ev.captured, ev.mark = s.capture.point(s), nil
			return cuda.Success
		}
		ev.captured, ev.mark = nil, &marker{}
		e.push(s, task{mark: ev.mark})
		return cuda.Success
	}),
	"cuEventQuery": plain(needsContext, func(e *Emulator, a []uintptr) cuda.Code {
		ev := e.ctx.events[a[0]]
		if ev == nil {
			return cuda.InvalidHandle
		}
		if ev.captured != nil {
			return captureIllegal
		}
		e.progress()
		return e.answer(ev.mark == nil || ev.mark.passed)
	}),
	"cuEventSynchronize": waiting(func(e *Emulator, a []uintptr) cuda.Code {
		ev := e.ctx.events[a[0]]
		if ev == nil {
			return cuda.InvalidHandle
		}
		if ev.captured != nil {
			return captureIllegal
		}
		e.drain(func() bool { return ev.mark == nil || ev.mark.passed })
		return cuda.Success
	}),
	// Time does not pass here: a microsecond lies between any two events.
	"cuEventElapsedTime": plain(needsContext, func(e *Emulator, a []uintptr) cuda.Code {
		from, to := e.ctx.events[a[1]], e.ctx.events[a[2]]
		switch {
		case from == nil || to == nil || !from.timing || !to.timing || from.mark == nil || to.mark == nil:
			return cuda.InvalidHandle
		case !from.mark.passed || !to.mark.passed:
			return cuda.NotReady
		}
		put(a[0], float32(0.001))
		return cuda.Success
	}),
}
