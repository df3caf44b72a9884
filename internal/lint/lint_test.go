// Package lint holds the import arrows of docs/ARCHITECTURE.md.
package lint

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/holdfast-run/holdfast/"

// layers lists the packages from top to bottom: a package imports only from
// layers below its own, or what exceptions say.
var layers = [][]string{
	{"cmd", "test", "bench"},
	{"server"},
	{"engine"},
	{"scheduler", "model", "chat", "session"},
	{"tokenizer"},
	{"kvcache", "tokenlog"},
	{"device"},
	{"kernels", "weights"},
	{"bindings"},
	{"graph", "sampler", "api"},
	{"internal"},
}

// only says which packages may import a module.
var only = map[string][]string{
	"github.com/valyala/fasthttp":  {"server"},
	"github.com/ebitengine/purego": {"bindings"},
	"github.com/alecthomas/kong":   {"cmd"},
	"github.com/VictoriaMetrics/":  {"server"},
}

// pure packages import nothing of the module but what is listed.
var pure = map[string][]string{
	"graph":     {},
	"scheduler": {"internal"},
	"sampler":   {"internal"},
	"kvcache":   {"internal"},
	"tokenlog":  {"internal"},
	"session":   {"tokenlog", "internal"},
}

type pkg struct {
	ImportPath string
	Imports    []string
}

func TestArrows(t *testing.T) {
	pkgs := list(t)
	if len(pkgs) < 10 {
		t.Fatalf("go list found %d packages", len(pkgs))
	}
	for _, p := range pkgs {
		from := top(p.ImportPath)
		for _, imp := range p.Imports {
			checkForeign(t, from, imp)
			to := top(imp)
			if to == "" || to == from {
				continue
			}
			if rank(t, from) >= rank(t, to) && !strings.Contains(p.ImportPath, "internal/testkit") {
				t.Errorf("%s imports %s: the arrow goes up", p.ImportPath, imp)
			}
			if allowed, ok := pure[from]; ok && !slices.Contains(allowed, to) {
				t.Errorf("%s imports %s: %s may import only %v", p.ImportPath, imp, from, allowed)
			}
		}
	}
}

func checkForeign(t *testing.T, from, imp string) {
	for prefix, allowed := range only {
		if strings.HasPrefix(imp, prefix) && !slices.Contains(allowed, from) {
			t.Errorf("%s imports %s: only %v may", from, imp, allowed)
		}
	}
}

// top returns the first folder of a package of this module, or "".
func top(path string) string {
	rest, ok := strings.CutPrefix(path, module)
	if !ok {
		return ""
	}
	folder, _, _ := strings.Cut(rest, "/")
	return folder
}

func rank(t *testing.T, folder string) int {
	for i, l := range layers {
		if slices.Contains(l, folder) {
			return i
		}
	}
	t.Fatalf("folder %s has no layer; give it one", folder)
	return 0
}

func list(t *testing.T) []pkg {
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", module+"...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var pkgs []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
}
