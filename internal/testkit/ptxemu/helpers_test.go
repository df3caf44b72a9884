package ptxemu

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
)

// bench holds a memory and a module for one test.
type bench struct {
	t   testing.TB
	mem *Memory
	mod *Module
}

func load(t testing.TB, file string) *bench {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", file+".ptx"))
	if err != nil {
		t.Fatal(err)
	}
	return loadText(t, string(text))
}

func loadText(t testing.TB, text string) *bench {
	t.Helper()
	b := &bench{t: t, mem: NewMemory(64 << 20)}
	mod, err := Load(b.mem, text)
	if err != nil {
		t.Fatal(err)
	}
	b.mod = mod
	return b
}

// alloc puts values, a slice of fixed-size numbers, into device memory.
func alloc[T any](b *bench, values []T) uint64 {
	b.t.Helper()
	data, err := binary.Append(nil, binary.LittleEndian, values)
	if err != nil {
		b.t.Fatal(err)
	}
	addr, err := b.mem.Alloc(len(data))
	if err != nil {
		b.t.Fatal(err)
	}
	if err := b.mem.Write(addr, data); err != nil {
		b.t.Fatal(err)
	}
	return addr
}

// read fetches n numbers.
func read[T any](b *bench, addr uint64, n int) []T {
	b.t.Helper()
	out := make([]T, n)
	data := make([]byte, binary.Size(out))
	if err := b.mem.Read(addr, data); err != nil {
		b.t.Fatal(err)
	}
	if _, err := binary.Decode(data, binary.LittleEndian, out); err != nil {
		b.t.Fatal(err)
	}
	return out
}

// launch runs a kernel with the parameters packed.
func (b *bench) launch(kernel string, cfg Config, params ...any) error {
	b.t.Helper()
	p, err := b.mod.Pack(kernel, params...)
	if err != nil {
		b.t.Fatal(err)
	}
	cfg.Params = p
	return b.mod.Launch(kernel, cfg)
}

func (b *bench) run(kernel string, cfg Config, params ...any) {
	b.t.Helper()
	if err := b.launch(kernel, cfg, params...); err != nil {
		b.t.Fatal(err)
	}
}
