package cuda

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"path"
	"runtime"
	"slices"
	"sync"

	"github.com/holdfast-run/holdfast/bindings/cuda"
	"github.com/holdfast-run/holdfast/bindings/nvrtc"
	kernels "github.com/holdfast-run/holdfast/kernels/cuda"
)

// Compiler makes images for architectures that none is built in for. *nvrtc.Compiler is
// one. Methods are called from several goroutines.
type Compiler interface {
	// Version is a part of the numerics class: other compilers make other code.
	Version() string
	// Archs lists the architectures that it knows: 90 is sm_90.
	Archs() ([]int, error)
	Compile(nvrtc.Program) (nvrtc.Image, error)
}

// images are the modules for one GPU.
type images struct {
	of       map[string][]byte // by module
	text     bool              // PTX, which the driver compiles
	compiler string            // the version of that which made them at this start; "" for built in
	overlaps bool              // a kernel waits for the one before by itself, so that it may be set up early
}

// builtIn returns the images made with the program, if there are some for a GPU.
func builtIn(info cuda.DeviceInfo) (*images, error) {
	switch {
	case info.Major == 8:
		return stored("sm_80", kernels.Cubin)
	case info.Major == 9 && info.Minor == 0:
		set, err := stored("sm_90a", kernels.Cubin)
		if err == nil {
			set.overlaps = true
		}
		return set, err
	}
	return nil, nil
}

// text is PTX for any GPU: of the oldest architecture, which knows of no overlap.
func text() (*images, error) {
	set, err := stored("sm_80", kernels.PTX)
	if err == nil {
		set.text = true
	}
	return set, err
}

func stored(arch string, get func(module, arch string) ([]byte, error)) (*images, error) {
	set := &images{of: map[string][]byte{}}
	for _, name := range kernels.Modules {
		image, err := get(name, arch)
		if err != nil {
			return nil, err
		}
		set.of[name] = image
	}
	return set, nil
}

// maker compiles images, or finds them where they were kept.
type maker struct {
	compiler Compiler
	cache    imageCache
	files    map[string][]byte
	digest   string // of the files, and of our own compiler's options
}

func newMaker(c Compiler, cache imageCache) *maker {
	files := kernels.Sources()
	return &maker{c, cache, files, kernels.Digest(files)}
}

// arch returns the best architecture for a GPU that the compiler knows, or "": machine
// code runs on later ones of the same major number.
func (m *maker) arch(info cuda.DeviceInfo) string {
	known, err := m.compiler.Archs()
	if err != nil {
		return ""
	}
	best := 0
	for _, a := range known {
		if a/10 == info.Major && a%10 <= info.Minor {
			best = max(best, a)
		}
	}
	if best == 0 {
		return ""
	}
	return fmt.Sprintf("sm_%d", best)
}

// all returns the images of all modules, compiled on as many cores as there are.
func (m *maker) all(ctx context.Context, arch string) (*images, error) {
	set := &images{of: map[string][]byte{}, compiler: m.compiler.Version(), overlaps: true}
	var (
		mu    sync.Mutex
		wg    sync.WaitGroup
		first error
		turns = make(chan struct{}, runtime.GOMAXPROCS(0))
	)
	for _, name := range kernels.Modules {
		wg.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			image, err := []byte(nil), ctx.Err()
			if err == nil {
				image, err = m.image(name, arch)
			}
			mu.Lock()
			defer mu.Unlock()
			if set.of[name] = image; first == nil {
				first = err
			}
		})
	}
	wg.Wait()
	return set, first
}

// image returns the machine code of one module.
func (m *maker) image(module, arch string) ([]byte, error) {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %s %s %s", m.digest, m.compiler.Version(), module, arch))
	key := hex.EncodeToString(sum[:])
	if image := m.cache.get(key); image != nil {
		return image, nil
	}
	program := nvrtc.Program{Name: module + ".cu", Source: string(m.files[module+".cu"]), Arch: arch, Options: kernels.Options}
	for _, name := range slices.Sorted(maps.Keys(m.files)) {
		if path.Ext(name) == ".cuh" {
			program.Headers = append(program.Headers, nvrtc.Header{Name: name, Text: string(m.files[name])})
		}
	}
	made, err := m.compiler.Compile(program)
	if err != nil {
		return nil, fmt.Errorf("cuda: %s for %s: %w", module, arch, err)
	}
	m.cache.put(key, made.Cubin)
	return made.Cubin, nil
}

// compiled returns images for a GPU that none are built in for, or nil where there is
// no compiler that can make them. An error is ctx's.
func (b *Backend) compiled(ctx context.Context, info cuda.DeviceInfo) (*images, error) {
	c := b.Compiler
	if c == nil {
		found, err := nvrtc.Open("")
		if err != nil {
			return nil, nil
		}
		c = found
	}
	dir := b.Cache
	if dir == "" {
		dir = defaultCache()
	}
	m := newMaker(c, imageCache{dir})
	arch := m.arch(info)
	if arch == "" {
		return nil, nil
	}
	set, err := m.all(ctx, arch)
	if err != nil {
		return nil, ctx.Err() // what does not compile here, the driver may
	}
	return set, nil
}
