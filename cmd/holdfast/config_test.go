package main

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

func serveFlags(t testing.TB) []*kong.Flag {
	t.Helper()
	for _, c := range model(t).Children {
		if c.Name == "serve" {
			return c.Flags
		}
	}
	t.Fatal("no serve")
	return nil
}

func TestReadConfig(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.json")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("{\n\t\"model\": \"m.gguf\", \"threads\": 2,\n\t\"dry-run\": true, \"drain-timeout\": \"1m\", \"log-level\": \"warn\"\n}\n")
	c, err := readConfig(path, serveFlags(t))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"model": "m.gguf", "threads": "2", "dry-run": "true", "drain-timeout": "1m", "log-level": "warn"}
	if !maps.Equal(c.values, want) {
		t.Errorf("%v", c.values)
	}
	names := &kong.Flag{Value: &kong.Value{Name: "name", Target: reflect.ValueOf(new([]string)).Elem(), Mapper: kong.NewRegistry().RegisterDefaults().ForType(reflect.TypeFor[[]string]()), Tag: &kong.Tag{Sep: -1}}}
	names.Value.Flag = names
	write(`{"name": ["a", "b,c"]}`)
	if c, err := readConfig(path, []*kong.Flag{names}); err != nil || !reflect.DeepEqual(c.values["name"], []any{"a", "b,c"}) {
		t.Errorf("%+v, %v", c, err)
	}
	for _, text := range []string{`{"name": [["a"]]}`, `{"name": ["a", null]}`, `{"name": {"a": "b"}}`, `{"name": ["a"`} {
		write(text)
		if c, err := readConfig(path, []*kong.Flag{names}); err == nil {
			t.Errorf("%s: %v", text, c.values)
		}
	}
	for _, bad := range []struct{ text, line, says string }{
		{`{"modle": "m"}`, "1", `did you mean "model"`},
		{"{\n\n\"max_sequences\": 1}", "3", `did you mean "max-sequences"`},
		{"{\"model\": \"m\",\n\"zebra\": 1}", "2", "unknown key \"zebra\": see"},
		{`{"config": "x"}`, "1", "unknown key"},
		{`{"` + strings.Repeat("é", maxConfigBytes/4) + `": 1}`, "1", `unknown key "` + strings.Repeat("é", longestKey/2) + `…": see`},
		{`{"help": true}`, "1", "unknown key"},
		{"{\"model\": \"m\",\n\"threads\": \"many\"}", "2", "many"},
		{"{\"model\": \"m\",\n\"threads\": 1.5}", "2", "1.5"},
		{"{\"drain-timeout\":\n 30}", "2", "drain-timeout"},
		{"{\"dry-run\": \"perhaps\"}", "1", "perhaps"},
		{"{\"batch-invariant\": \"perhaps\"}", "1", "perhaps"},
		{"{\"model\": \"m\",\n\"restore\": \"perhaps\"}", "2", `"restore": must be one of auto, load, recompute, not "perhaps"`},
		{"{\"durability\": \"perhaps\"}", "1", `must be one of memory, turn, step, not "perhaps"`},
		{"{\"log-level\": \"loud\"}", "1", `must be one of debug, info, warn, error, not "loud"`},
		{"{\"durability\": true}", "1", `not "true"`},
		{"{\"model\": [\n\"m\"]}", "1", "a string, a number"},
		{`{"model": null}`, "1", "a string, a number"},
		{`{"model": {"file": "m"}}`, "1", "a string, a number"},
		{"{\"model\": \"m\",\n\"model\": \"n\"}", "2", "duplicate"},
		{"{\n\"model\": \"m\"\n", "3", "unexpected EOF"},
		{"{\n\"model\" \"m\"}", "2", ""},
		{"{\n// no comments\n}", "2", ""},
		{"[]", "1", "JSON object"},
		{"", "1", "unexpected EOF"},
		{"{}\n{}", "2", "after the object"},
		{"{} x", "1", "after the object"},
		{"listen = 1", "1", ""},
		{"{\"model\": \"\xff\"}", "1", "UTF-8"},
	} {
		write(bad.text)
		_, err := readConfig(path, serveFlags(t))
		if err == nil || !strings.HasPrefix(err.Error(), "config: "+path+": line "+bad.line+": ") || !strings.Contains(err.Error(), bad.says) {
			t.Errorf("%q: %v", bad.text, err)
		}
	}
	write(strings.Repeat(" ", maxConfigBytes+1))
	if _, err := readConfig(path, serveFlags(t)); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("%v", err)
	}
	if _, err := readConfig(path+"x", serveFlags(t)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"abc", "abc", 0}, {"abc", "abd", 1}, {"abc", "ab", 1}, {"lisen", "listen", 1}, {"kitten", "sitting", 3}, {"ab", "ba", 2}} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("%q to %q: %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

func FuzzConfig(f *testing.F) {
	f.Add([]byte(`{"model": "m.gguf", "threads": 2}`))
	f.Add([]byte("{\n\"lisen\": 1}"))
	flags := serveFlags(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		_, _ = parseConfig("c.json", data, flags) // an error or not, but no panic
	})
}
