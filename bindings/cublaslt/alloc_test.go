//go:build !race

package cublaslt

import (
	"testing"

	"github.com/ebitengine/purego"
	"github.com/holdfast-run/holdfast/bindings/dynload"
)

// TestRunAllocatesNothing calls a C function that does nothing: it returns
// success as long as its first two arguments differ.
func TestRunAllocatesNothing(t *testing.T) {
	address, err := purego.Dlsym(purego.RTLD_DEFAULT, "pthread_equal")
	if err != nil {
		t.Fatal(err)
	}
	s := dynload.Symbols{}
	for _, f := range funcs {
		s[f.Symbol] = address
	}
	l, err := New(s)
	if err != nil {
		t.Fatal(err)
	}
	m, algo := &Matmul{lib: l, desc: 5}, &Algorithm{}
	if n := testing.AllocsPerRun(200, func() { err = m.Run(7, algo, Operands{Alpha: 1}, 9) }); n != 0 || err != nil {
		t.Errorf("a product allocates %v times: %v", n, err)
	}
}
