package cheader

import (
	"reflect"
	"testing"

	"github.com/holdfast-run/holdfast/bindings/dynload"
)

// CheckLayout holds a Go struct against one of the header. members says which C
// member each Go field is, or, for a struct or array field, which it starts at.
func (h *Header) CheckLayout(t *testing.T, v any, name string, members map[string]string) {
	t.Helper()
	typ := reflect.TypeOf(v)
	size, fields, ok := h.Struct(name)
	if !ok || size != int(typ.Size()) {
		t.Errorf("%s has %d bytes (%v), %v has %d", name, size, ok, typ, typ.Size())
	}
	for i := range typ.NumField() {
		g := typ.Field(i)
		if g.Name == "_" {
			continue
		}
		c, ok := fields[members[g.Name]]
		if !ok || c.Offset != int(g.Offset) {
			t.Errorf("%v.%s lies at %d, %s.%s at %+v (%v)", typ, g.Name, g.Offset, name, members[g.Name], c, ok)
		}
		if kind := g.Type.Kind(); kind != reflect.Struct && c.Size != int(g.Type.Size()) {
			t.Errorf("%v.%s has %d bytes, not %d", typ, g.Name, g.Type.Size(), c.Size)
		}
	}
}

// CheckFuncs holds a binding's table against the header's functions.
func (h *Header) CheckFuncs(t *testing.T, funcs []dynload.Func) {
	t.Helper()
	for _, f := range funcs {
		if want, err := h.Func(f.Symbol); err != nil || want != f.Args {
			t.Errorf("%s takes %q in the header (%v), the table says %q", f.Symbol, want, err, f.Args)
		}
	}
}

// CheckConsts holds numbers against the header's, by name.
func (h *Header) CheckConsts(t *testing.T, consts map[string]int64) {
	t.Helper()
	for name, got := range consts {
		if want, ok := h.Const(name); !ok || got != want {
			t.Errorf("%s is %d in the header (%v), not %d", name, want, ok, got)
		}
	}
}
