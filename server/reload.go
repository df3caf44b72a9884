package server

import (
	"log/slog"
	"os"
	"sync"
	"time"
)

// recheck is how often files are looked at, at most.
const recheck = time.Second

// reloaded is a value that was read from files, and is read again when they
// have changed. Nobody waits for a change: whoever asks for the value looks,
// unless somebody just did.
type reloaded[T any] struct {
	log   *slog.Logger
	paths []string
	read  func() (T, error)

	mu     sync.Mutex
	value  T
	looked time.Time
	files  []os.FileInfo // as they were when last read
}

// newReloaded reads the value for the first time.
func newReloaded[T any](log *slog.Logger, read func() (T, error), paths ...string) (*reloaded[T], error) {
	r := &reloaded[T]{log: log, paths: paths, read: read, files: make([]os.FileInfo, len(paths)), looked: time.Now()}
	r.changed()
	var err error
	r.value, err = read()
	return r, err
}

// get returns the value, at most about a second old.
func (r *reloaded[T]) get() T {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.looked) >= recheck {
		r.looked = time.Now()
		if r.changed() {
			r.update()
		}
	}
	return r.value
}

// reload reads the value again now.
func (r *reloaded[T]) reload() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.looked = time.Now()
	r.changed()
	r.update()
}

// update replaces the value, or says in the log why not.
func (r *reloaded[T]) update() {
	value, err := r.read()
	if err != nil {
		r.log.Error("a changed file is not used; what it said before stays", "error", err)
		return
	}
	r.value = value
	r.log.Info("read again", "files", r.paths)
}

// changed reports whether the files are others than the last time. It is asked
// before they are read, so that what changes meanwhile is seen the next time.
func (r *reloaded[T]) changed() bool {
	any := false
	for i, path := range r.paths {
		now, err := os.Stat(path)
		if err != nil {
			now = nil
		}
		was := r.files[i]
		r.files[i] = now
		if was == nil || now == nil {
			any = any || was != now
			continue
		}
		any = any || !os.SameFile(was, now) || was.Size() != now.Size() || !was.ModTime().Equal(now.ModTime())
	}
	return any
}
