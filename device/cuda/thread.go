package cuda

import "runtime"

// thread is the operating system's thread that owns the context: the driver keeps
// the current context by thread. All calls that need it run here, one at a time.
type thread struct {
	work chan func() error
	done chan error
}

func newThread() *thread {
	t := &thread{work: make(chan func() error), done: make(chan error)}
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		for f := range t.work {
			t.done <- f()
		}
	}()
	return t
}

// do runs f on the thread and returns what it does. f is made once, not per call,
// where calls must not allocate.
func (t *thread) do(f func() error) error {
	t.work <- f
	return <-t.done
}

// close ends the thread.
func (t *thread) close() { close(t.work) }
