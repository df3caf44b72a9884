package jinja

import (
	"os"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

var testLimits = Limits{Steps: 1 << 19, Bytes: 8 << 20, Depth: 64}

var testNow = time.Date(2026, 3, 5, 7, 8, 9, 123456000, time.UTC)

type snippet struct {
	Source string  `json:"source"`
	Want   *string `json:"want"` // nil = an error
}

// snippets returns the cases of testdata/snippets.json and their variables,
// made by leaf for strings.
func snippets(t testing.TB, leaf func(string) Text) ([]snippet, map[string]Value) {
	t.Helper()
	data, err := os.ReadFile("testdata/snippets.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Vars  jsontext.Value `json:"vars"`
		Cases []snippet      `json:"cases"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	return file.Cases, decodeVars(t, file.Vars, leaf)
}

func decodeVars(t testing.TB, data []byte, leaf func(string) Text) map[string]Value {
	t.Helper()
	v, err := ParseJSON(data, leaf)
	if err != nil {
		t.Fatal(err)
	}
	vars := map[string]Value{}
	for i, key := range v.(*Dict).keys {
		vars[key.(Text).s] = v.(*Dict).values[i]
	}
	return vars
}

func renderSource(src string, vars map[string]Value) (Text, error) {
	tmpl, err := Parse(src)
	if err != nil {
		return Text{}, err
	}
	return tmpl.Render(vars, Options{testLimits, testNow})
}

// TestSnippets compares small templates with what Jinja 2 makes of them, once
// with trusted variables and once with a client's.
func TestSnippets(t *testing.T) {
	for name, leaf := range map[string]func(string) Text{"trusted": Trusted, "client": Client} {
		t.Run(name, func(t *testing.T) {
			cases, vars := snippets(t, leaf)
			if len(cases) < 500 {
				t.Fatalf("%d cases", len(cases))
			}
			for _, c := range cases {
				got, err := renderSource(c.Source, vars)
				switch {
				case c.Want == nil && err == nil:
					t.Errorf("%s\n got %q, want an error", c.Source, got.s)
				case c.Want != nil && err != nil:
					t.Errorf("%s\n got error %v, want %q", c.Source, err, *c.Want)
				case c.Want != nil && got.s != *c.Want:
					t.Errorf("%s\n got %q\nwant %q", c.Source, got.s, *c.Want)
				}
			}
		})
	}
}
