package dynload

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ebitengine/purego"
)

// mathLibrary returns the path of libm, which every system with glibc has and
// this binary is not linked with.
func mathLibrary(t *testing.T) string {
	t.Helper()
	for _, folder := range append(systemFolders(), "/lib64") {
		path := filepath.Join(folder, "libm.so.6")
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	t.Fatal("no libm.so.6 in the system's folders")
	return ""
}

// folderWith returns a folder in which libtest.so.N is libm for each given N.
func folderWith(t *testing.T, versions ...string) string {
	folder := t.TempDir()
	for _, v := range versions {
		if err := os.Symlink(mathLibrary(t), filepath.Join(folder, "libtest.so."+v)); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

func library(folders ...string) *Library {
	return &Library{
		Name:    "libtest",
		Files:   []string{"libtest.so.2", "libtest.so.1"},
		Folders: folders,
		Remedy:  "install libtest",
		Funcs:   []Func{{Symbol: "cbrt"}, {Symbol: "no_such_function", Optional: true}},
	}
}

func TestLoad(t *testing.T) {
	empty, one, both := t.TempDir(), folderWith(t, "1"), folderWith(t, "1", "2")
	f := func(l *Library, folder, want string) {
		t.Helper()
		lib, err := l.Load(folder)
		if err != nil {
			t.Fatal(err)
		}
		if lib.Path != want {
			t.Errorf("loaded %s, not %s", lib.Path, want)
		}
		if lib.Symbols["cbrt"] == 0 || lib.Symbols["no_such_function"] != 0 {
			t.Errorf("the symbols are %v", lib.Symbols)
		}
		if a := lib.Symbols.Addresses(l.Funcs); len(a) != 2 || a[0] != lib.Symbols["cbrt"] || a[1] != 0 {
			t.Errorf("the addresses are %v", a)
		}
	}
	f(library(empty, one, both), "", filepath.Join(one, "libtest.so.1")) // folders go first
	f(library(both, one), "", filepath.Join(both, "libtest.so.2"))       // then files
	f(library(one), both, filepath.Join(both, "libtest.so.2"))           // a given folder
	if _, err := library(one).Load(empty); err == nil {
		t.Error("a given folder is not the only one")
	}
	if _, err := purego.Dlsym(purego.RTLD_DEFAULT, "cbrt"); err == nil {
		t.Error("a loaded library's functions are global")
	}
}

// TestLoadOnlyFromFolders: what the loader would find by itself is not found.
func TestLoadOnlyFromFolders(t *testing.T) {
	folder := t.TempDir()
	l := library(folder)
	l.Files = []string{filepath.Base(mathLibrary(t))}
	_, err := l.Load("")
	var missing *MissingLibraryError
	if !errors.As(err, &missing) || len(missing.Looked) != 0 {
		t.Fatal(err)
	}
	if want := "libtest not found in " + folder + "; install libtest"; err.Error() != want {
		t.Errorf("%q", err)
	}
	if _, err := l.Load("lib"); err == nil || !strings.Contains(err.Error(), `"lib" is not an absolute path`) {
		t.Error(err)
	}
}

func TestLoadWhatCannotBeUsed(t *testing.T) {
	folder := folderWith(t, "1")
	text := filepath.Join(folder, "libtest.so.2")
	if err := os.WriteFile(text, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	if lib, err := library(folder).Load(""); err != nil || filepath.Base(lib.Path) != "libtest.so.1" {
		t.Errorf("a file that is no library hides the next: %v", err)
	}

	l := library(folder)
	l.Funcs[1].Optional = false
	_, err := l.Load("")
	var missing *MissingLibraryError
	var symbol *MissingSymbolError
	if !errors.As(err, &missing) || !errors.As(err, &symbol) || symbol.Library != "libtest" || symbol.Symbol != "no_such_function" {
		t.Fatal(err)
	}
	if len(missing.Looked) != 2 || missing.Looked[0].Path != text {
		t.Errorf("looked at %v", missing.Looked)
	}
	for _, want := range []string{"libtest cannot be used", text, "no_such_function", "install libtest"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
}

// TestProbe: the first file whose functions pass is taken.
func TestProbe(t *testing.T) {
	tooOld := errors.New("version 1 is too old")
	l := library(folderWith(t, "1", "2"))
	probed := 0
	l.Probe = func(s Symbols) error {
		if s["cbrt"] == 0 {
			t.Error("probed without functions")
		}
		if probed++; probed == 1 {
			return tooOld
		}
		return nil
	}
	if lib, err := l.Load(""); err != nil || filepath.Base(lib.Path) != "libtest.so.1" {
		t.Error(lib.Path, err)
	}
	l.Probe = func(Symbols) error { return tooOld }
	if _, err := l.Load(""); !errors.Is(err, tooOld) {
		t.Error(err)
	}
	if err := l.Check(Symbols{"cbrt": 1}); !errors.Is(err, tooOld) {
		t.Error(err)
	}
}

func TestResolver(t *testing.T) {
	l := library(folderWith(t, "1"))
	l.Funcs = append(l.Funcs, Func{Symbol: "cube_root"})
	l.Resolver = func(lookup func(string) uintptr) func(Func) uintptr {
		return func(f Func) uintptr {
			if f.Symbol == "cube_root" {
				return lookup("cbrt")
			}
			return lookup(f.Symbol)
		}
	}
	lib, err := l.Load("")
	if err != nil || lib.Symbols["cube_root"] == 0 || lib.Symbols["cube_root"] != lib.Symbols["cbrt"] {
		t.Error(lib.Symbols, err)
	}
}

func TestCompanion(t *testing.T) {
	lib, err := library(folderWith(t, "1", "2")).Load("")
	if err != nil {
		t.Fatal(err)
	}
	if err := lib.Companion("libtest.so.1"); err != nil {
		t.Error(err)
	}
	if err := lib.Companion("libother.so"); err == nil || !strings.Contains(err.Error(), filepath.Dir(lib.Path)) {
		t.Error(err)
	}
}

func TestFoldersAreAbsolute(t *testing.T) {
	for _, f := range append(DriverFolders(), ToolkitFolders()...) {
		if !filepath.IsAbs(f) {
			t.Errorf("%s is not absolute", f)
		}
	}
}
