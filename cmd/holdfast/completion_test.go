package main

import (
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

func model(t testing.TB) *kong.Application {
	t.Helper()
	return newParser(streams{out: io.Discard, err: io.Discard}, func(int) {}).Model
}

func TestCandidates(t *testing.T) {
	app := model(t)
	for _, c := range []struct {
		typed string // words; the last is being typed
		want  string
	}{
		{"", "serve run pull tokenize session bench doctor completion version"},
		{"s", "serve session"},
		{"x", ""},
		{"serve ", ""},
		{"serve --served", "--served-model-name"},
		{"serve --model", "--model"},
		{"serve --model ", ":file"},
		{"serve --model m.gguf ", ""},
		{"serve --model serve --dev", "--device"},
		{"serve --device ", "auto cpu cuda ref"},
		{"serve --device r", "ref"},
		{"serve --device=r", "--device=ref"},
		{"serve --device = r", "ref"},
		{"serve --device =", "auto cpu cuda ref"},
		{"serve --model=", ":file"},
		{"serve --model=x ", ""},
		{"serve --nonsense=", ""},
		{"serve --dry-run --store ", ":dir"},
		{"serve --log-level ", "debug info warn error"},
		{"serve --restore ", "auto load recompute"},
		{"serve --durability=", "--durability=memory --durability=turn --durability=step"},
		{"serve --sto", "--store --store-size"},
		{"serve --batch", "--batch-invariant"},
		{"run -p text --temp 1 --th", "--threads"},
		{"run -p ", ""},
		{"run -p --th", ""},
		{"bench ", "local serve"},
		{"bench --sw", "--sweep"},
		{"bench --model ", ":file"},
		{"bench local --sw", "--sweep"},
		{"bench serve --tr", "--trace"},
		{"bench serve --no", "--no-ignore-eos"},
		{"session ", "ls show tree fork rewind export import verify rm gc fsck stats"},
		{"session r", "rewind rm"},
		{"session ls --st", "--store"},
		{"session --store ", ":dir"},
		{"session import ", ":file"},
		{"session import --allow", "--allow-inexact"},
		{"session export -o ", ":file"},
		{"session fork --", "--help --server --api-key-file --store --principal --json --count --turn"},
		{"session show ", ""},
		{"completion ", "bash zsh fish"},
		{"completion bash ", ""},
		{"--h", "--help"},
	} {
		var got []string
		for _, line := range candidates(app.Node, strings.Split(c.typed, " ")) {
			word, _, _ := strings.Cut(line, "\t")
			got = append(got, word)
		}
		if !slices.Equal(got, strings.Fields(c.want)) {
			t.Errorf("%q: %q, want %s", c.typed, got, c.want)
		}
	}
	if got := candidates(app.Node, nil); len(got) != 9 {
		t.Errorf("%q", got)
	}
}

// TestFlagTexts holds what completion and help read from the command line's
// model: every flag says what it is, and what takes a value says of which kind.
func TestFlagTexts(t *testing.T) {
	err := kong.Visit(model(t), func(node kong.Visitable, next kong.Next) error {
		if f, ok := node.(*kong.Flag); ok && f.Name != "help" {
			if f.Help == "" || !f.IsBool() && f.PlaceHolder == "" && f.Enum == "" {
				t.Errorf("--%s: help %q, placeholder %q", f.Name, f.Help, f.PlaceHolder)
			}
			if len(f.Envs) == 0 || !strings.HasPrefix(f.Envs[0], "HOLDFAST_") {
				t.Errorf("--%s: environment %q", f.Name, f.Envs)
			}
		}
		return next(nil)
	})
	if err != nil {
		t.Fatal(err)
	}
}
