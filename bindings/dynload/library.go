package dynload

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/ebitengine/purego"
)

// Func is one C function of a table.
type Func struct {
	// Symbol is the exported name, with the version suffix if it has one.
	Symbol string
	// Args has a letter per argument: i for a 32-bit integer or enum, u
	// for an unsigned one, q for a 64-bit integer, p for a pointer or
	// handle. Tests check them against the vendor's headers.
	Args string
	// Optional functions may be missing; their address is then 0.
	Optional bool
	// Version is the interface's version where a library is asked for one
	// (Library.Resolver), in the library's own numbers; else 0.
	Version int
}

// Symbols holds addresses of C functions by exported name.
type Symbols map[string]uintptr

// Addresses returns the addresses of funcs in their order: what a binding
// indexes with its constants.
func (s Symbols) Addresses(funcs []Func) []uintptr {
	a := make([]uintptr, len(funcs))
	for i, f := range funcs {
		a[i] = s[f.Symbol]
	}
	return a
}

// Library says how to find a library and what is wanted of it.
type Library struct {
	Name    string   // as people call it: "libnvrtc"
	Files   []string // file names to try in each folder, the best first
	Folders []string // absolute, the best first
	Remedy  string   // what to install when it is missing: an imperative
	Funcs   []Func
	// Resolver, if set, returns how this library finds its functions, given
	// plain symbol look-up (0 if there is none); nil means that look-up itself.
	Resolver func(lookup func(symbol string) uintptr) func(Func) uintptr
	// Probe, if set, decides whether these functions can be used: it calls
	// what tells the version. With several files the first that passes wins.
	Probe func(Symbols) error
}

// Loaded is a library in this process.
type Loaded struct {
	Symbols Symbols
	Path    string
}

// Companion loads another file of the same folder, for a library that will open
// it by its bare name and then finds it loaded.
func (l Loaded) Companion(name string) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	_, err := purego.Dlopen(filepath.Join(filepath.Dir(l.Path), name), purego.RTLD_NOW|purego.RTLD_LOCAL)
	return err
}

// Load opens the first usable file of the library in its folders, or in the
// given folder alone if that is not "". The error is a *MissingLibraryError
// unless the folder is not an absolute path.
func (l *Library) Load(folder string) (Loaded, error) {
	folders := l.Folders
	if folder != "" {
		if !filepath.IsAbs(folder) {
			return Loaded{}, fmt.Errorf("%s: folder %q is not an absolute path", l.Name, folder)
		}
		folders = []string{folder}
	}
	missing := &MissingLibraryError{Library: l.Name, Folders: folders, Remedy: l.Remedy}
	for _, f := range folders {
		for _, name := range l.Files {
			path := filepath.Join(f, name)
			if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
				continue
			}
			symbols, err := l.open(path)
			if err == nil {
				return Loaded{Symbols: symbols, Path: path}, nil
			}
			missing.Looked = append(missing.Looked, Tried{Path: path, Err: err})
		}
	}
	return Loaded{}, missing
}

// Check returns an error if a function that is needed has no address, or what
// Probe says. Load has called it; a binding made from other symbols calls it.
func (l *Library) Check(s Symbols) error {
	for _, f := range l.Funcs {
		if s[f.Symbol] == 0 && !f.Optional {
			return &MissingSymbolError{Library: l.Name, Symbol: f.Symbol, Remedy: l.Remedy}
		}
	}
	if l.Probe != nil {
		return l.Probe(s)
	}
	return nil
}

// open loads the file and resolves its functions. A file that cannot be used is
// closed again.
func (l *Library) open(path string) (Symbols, error) {
	// dlerror speaks of the calling thread's last failure.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	handle, err := purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return nil, err
	}
	lookup := func(symbol string) uintptr {
		address, err := purego.Dlsym(handle, symbol)
		if err != nil {
			return 0
		}
		return address
	}
	resolve := func(f Func) uintptr { return lookup(f.Symbol) }
	if l.Resolver != nil {
		resolve = l.Resolver(lookup)
	}
	symbols := make(Symbols, len(l.Funcs))
	for _, f := range l.Funcs {
		if address := resolve(f); address != 0 {
			symbols[f.Symbol] = address
		}
	}
	if err := l.Check(symbols); err != nil {
		_ = purego.Dlclose(handle) // nothing points into it
		return nil, err
	}
	return symbols, nil
}
