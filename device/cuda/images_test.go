package cuda

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/bindings/cuda"
	"github.com/holdfast-run/holdfast/bindings/nvrtc"
	"github.com/holdfast-run/holdfast/device"
	"github.com/holdfast-run/holdfast/graph"
	"github.com/holdfast-run/holdfast/internal/testkit/cudatest"
	"github.com/holdfast-run/holdfast/internal/testkit/devicetest"
	"github.com/holdfast-run/holdfast/internal/testkit/golden"
	"github.com/holdfast-run/holdfast/internal/testkit/ptxemu/cudaemu"
	kernels "github.com/holdfast-run/holdfast/kernels/cuda"
)

// counted is a compiler that counts what it is asked for.
type counted struct {
	version string
	archs   []int
	compile func(nvrtc.Program) (nvrtc.Image, error)

	mu   sync.Mutex
	made []string
}

func (c *counted) Version() string       { return c.version }
func (c *counted) Archs() ([]int, error) { return c.archs, nil }

func (c *counted) Compile(p nvrtc.Program) (nvrtc.Image, error) {
	c.mu.Lock()
	c.made = append(c.made, p.Name+" "+p.Arch)
	c.mu.Unlock()
	return c.compile(p)
}

// pinned is the compiler that scripts/cuda-wheels.sh installed.
func pinned(t *testing.T) *counted {
	folder, err := filepath.Abs("../../build/cuda/nvidia/cu13/lib")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(folder); err != nil {
		t.Skip("no NVRTC: run scripts/cuda-wheels.sh")
	}
	c, err := nvrtc.Open(folder)
	if err != nil {
		t.Fatal(err)
	}
	archs, err := c.Archs()
	if err != nil {
		t.Fatal(err)
	}
	return &counted{version: c.Version(), archs: archs, compile: c.Compile}
}

// TestCompilesForOtherGPUs: the real NVRTC makes machine code of the embedded sources
// for an architecture that has none built in, once.
func TestCompilesForOtherGPUs(t *testing.T) {
	c := pinned(t)
	cache := imageCache{filepath.Join(t.TempDir(), "new", "folder")}
	m := newMaker(c, cache)
	for want, info := range map[string]cuda.DeviceInfo{
		"sm_100": {Major: 10, Minor: 0}, "sm_103": {Major: 10, Minor: 9}, "sm_120": {Major: 12, Minor: 0}, "": {Major: 99},
	} {
		if got := m.arch(info); got != want {
			t.Errorf("for %d.%d: %q, want %q", info.Major, info.Minor, got, want)
		}
	}
	const module, arch = "embed", "sm_100"
	image, err := m.image(module, arch)
	if err != nil {
		t.Fatal(err)
	}
	file, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		t.Fatal("no cubin:", err)
	}
	if const190 := elf.Machine(190); file.Machine != const190 {
		t.Errorf("machine %v, want that of CUDA, %v", file.Machine, const190)
	}
	for _, k := range kernels.Kernels {
		if k.Module == module && file.Section(".text."+k.Name) == nil {
			t.Errorf("no code of %s", k.Name)
		}
	}

	// again gives the same, by so many compilations.
	again := func(what string, m *maker, compilations int) {
		t.Helper()
		c.made = nil
		got, err := m.image(module, arch)
		if err != nil || !bytes.Equal(got, image) {
			t.Errorf("%s: another image, %v", what, err)
		}
		if len(c.made) != compilations {
			t.Errorf("%s: compiled %q, want %d", what, c.made, compilations)
		}
	}
	again("kept", newMaker(c, cache), 0)
	files, err := os.ReadDir(cache.dir)
	if err != nil || len(files) != 1 {
		t.Fatalf("%v in the folder, %v", files, err)
	}
	path := filepath.Join(cache.dir, files[0].Name())
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, whole[:len(whole)-1], 0o600); err != nil {
		t.Fatal(err)
	}
	again("a byte short", m, 1)
	again("a byte short, mended", m, 0)
	// From here on the compiler has only to have been asked.
	c.compile = func(nvrtc.Program) (nvrtc.Image, error) { return nvrtc.Image{Cubin: image}, nil }
	for what, damage := range map[string]func(b []byte) []byte{
		"a bit of the code": func(b []byte) []byte { b[len(b)/2] ^= 4; return b },
		"a bit of the sum":  func(b []byte) []byte { b[3] ^= 4; return b },
		"cut":               func(b []byte) []byte { return b[:len(b)-100] },
		"all but the sum":   func(b []byte) []byte { return b[:32] },
		"empty":             func([]byte) []byte { return nil },
	} {
		if err := os.WriteFile(path, damage(slices.Clone(whole)), 0o600); err != nil {
			t.Fatal(err)
		}
		again(what, m, 1)
		again(what+", mended", m, 0)
	}
	c.version = "99.9"
	again("another compiler", newMaker(c, cache), 1)
	again("no folder", newMaker(c, imageCache{}), 1)
	again("a folder that cannot be", newMaker(c, imageCache{filepath.Join(path, "below a file")}), 1)
}

// TestCacheIsBounded: the files that were not used for longest go.
func TestCacheIsBounded(t *testing.T) {
	c := imageCache{t.TempDir()}
	key := func(i int) string { return fmt.Sprintf("%064d", i) }
	for i := range maxCached {
		c.put(key(i), []byte{byte(i)})
		then := time.Unix(int64(1e9+i), 0)
		if err := os.Chtimes(c.path(key(i)), then, then); err != nil {
			t.Fatal(err)
		}
	}
	if c.get(key(0)) == nil { // used again
		t.Fatal("gone already")
	}
	c.put(key(maxCached), []byte{1})
	c.put(key(maxCached+1), make([]byte, maxCachedBytes)) // too large to keep
	for i := range maxCached + 2 {
		if kept := c.get(key(i)) != nil; kept != (i != 1 && i <= maxCached) {
			t.Errorf("image %d kept: %v", i, kept)
		}
	}
}

// TestUnknownGPU: where no image is built in, what the compiler makes runs, and is made
// once; without one, or if the driver refuses what it made, the driver's own compiler
// takes PTX. The bits are those of the built-in images, and nothing is left behind.
func TestUnknownGPU(t *testing.T) {
	c := golden.TinyCase(t, "bf16")
	o := device.Options{KV: graph.F16, MaxRows: 8, MaxTokens: 8, ContextLength: 32, Blocks: [device.PoolKinds]int{4}}
	run := func(t *testing.T, capability int, b *Backend) (class string, logits [][]float32) {
		b.Driver, _ = cudatest.Start(t, cudaemu.Options{Capability: capability, Seed: 3})
		b.BatchInvariant = true
		r := devicetest.Open(t, b, c.Path, o)
		return r.Program.Class(), append(r.Feed(0, 1, c.Tokens[:7], 7), r.Feed(0, 1, c.Tokens[7:9], 1)...)
	}
	var want [][]float32
	t.Run("built in", func(t *testing.T) { _, want = run(t, 90, &Backend{Compiler: &counted{}}) })
	stand := func(p nvrtc.Program) (nvrtc.Image, error) { // gives what the emulator knows
		if len(p.Headers) == 0 || p.Source == "" {
			return nvrtc.Image{}, errors.New("no source")
		}
		cubin, err := kernels.Cubin(strings.TrimSuffix(p.Name, ".cu"), "sm_90a")
		return nvrtc.Image{Cubin: cubin}, err
	}
	folder := t.TempDir()
	for _, test := range []struct {
		name    string
		compile func(nvrtc.Program) (nvrtc.Image, error)
		archs   []int
		class   string
		made    int
	}{
		{"compiled", stand, []int{90, 100}, "cuda-1-sm100-nvrtc7.5", len(kernels.Modules)},
		{"kept", nil, []int{90, 100}, "cuda-1-sm100-nvrtc7.5", 0},
		{"unknown to the compiler", stand, []int{90}, "cuda-1-sm100", 0},
		{"does not compile", func(nvrtc.Program) (nvrtc.Image, error) { return nvrtc.Image{}, errors.New("no") }, []int{101, 100}, "cuda-1-sm100", len(kernels.Modules)},
		{"refused", func(p nvrtc.Program) (nvrtc.Image, error) {
			image, err := stand(p)
			if strings.HasPrefix(p.Name, "sample") { // after others were loaded
				image.Cubin = slices.Clone(image.Cubin)
				image.Cubin[len(image.Cubin)-1] ^= 1
			}
			return image, err
		}, []int{100}, "cuda-1-sm100", len(kernels.Modules)},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := &Backend{Compiler: &counted{version: "7.5", archs: test.archs, compile: test.compile}, Cache: folder}
			if test.class == "cuda-1-sm100" {
				b.Cache = t.TempDir()
			}
			class, got := run(t, 100, b)
			if class != test.class {
				t.Errorf("class %s, want %s", class, test.class)
			}
			if made := b.Compiler.(*counted).made; len(made) != test.made {
				t.Errorf("compiled %q, want %d", made, test.made)
			}
			for i := range want {
				if !slices.Equal(got[i], want[i]) {
					t.Fatalf("row %d has other bits than by the built-in images", i)
				}
			}
		})
	}
	t.Run("left", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		leave := &counted{version: "1", archs: []int{100}, compile: func(p nvrtc.Program) (nvrtc.Image, error) { cancel(); return stand(p) }}
		d, _ := cudatest.Start(t, cudaemu.Options{Capability: 100})
		b := &Backend{Driver: d, Compiler: leave, Cache: t.TempDir()}
		if set, err := b.compiled(ctx, cuda.DeviceInfo{Major: 10}); !errors.Is(err, context.Canceled) {
			t.Errorf("%v, %v", set, err)
		}
	})
}
