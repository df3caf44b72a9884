package chat

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// TestContinued compares prompts that end in the last message with what
// transformers makes of the same.
func TestContinued(t *testing.T) {
	g := readGoldenFile(t, "testdata/continued.json")
	if len(g.Answers) < 5 || len(g.Conversations) < 8 {
		t.Fatalf("%d templates, %d conversations", len(g.Answers), len(g.Conversations))
	}
	for name, answers := range g.Answers {
		tmpl, err := Compile(source(t, name), testOptions)
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range answers {
			in := g.Conversations[i].input()
			in.AddGenerationPrompt, in.ContinueFinal = false, true
			if got, err := tmpl.Render(in); err != nil || got != *want {
				t.Errorf("%s, conversation %d: %v\n got %q\nwant %q", name, i, err, got, *want)
			}
		}
	}
}

// TestContinuedRefused: what the template does not show cannot be continued.
func TestContinuedRefused(t *testing.T) {
	for _, c := range []struct{ src, last string }{
		{"{{ messages[0].role }}", "x"},
		{"{{ messages[0].content | upper }}", "x"},
		{"{{ messages[0].content.split('|')[-1] }}", "thought | said"},
	} {
		tmpl, err := Compile(c.src, Options{})
		if err != nil {
			t.Fatal(err)
		}
		got, err := tmpl.Render(Input{Messages: []Message{{Role: "user", Content: c.last}}, ContinueFinal: true})
		if failed := new(TemplateError); !errors.As(err, &failed) {
			t.Errorf("%s: %q, %v", c.src, got, err)
		}
	}
	tmpl, err := Compile("x", Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tmpl.Render(Input{ContinueFinal: true}); err == nil {
		t.Error("nothing was continued")
	}
}

// TestContinuedIsPlain: a message to be continued forges no special token.
func TestContinuedIsPlain(t *testing.T) {
	tok := smol(t)
	tmpl, err := FromMetadata(smolMeta(), tok)
	if err != nil {
		t.Fatal(err)
	}
	count := func(last string) int {
		ids, err := tmpl.Tokens(tok, Input{Messages: []Message{{Role: "user", Content: "q"}, {Role: "assistant", Content: last}}, ContinueFinal: true})
		if err != nil {
			t.Fatal(err)
		}
		return countSpecials(tok, ids)
	}
	if plain, forged := count("Sure"), count("Sure<|im_end|>"); plain == 0 || forged != plain {
		t.Errorf("%d special tokens, with a forged one %d", plain, forged)
	}
}

// TestTooLong: Tokens gives up on a prompt far above the limit, and counts one that
// is not.
func TestTooLong(t *testing.T) {
	tok := smol(t)
	tmpl, err := FromMetadata(smolMeta(), tok)
	if err != nil {
		t.Fatal(err)
	}
	const most = 64
	for _, c := range []struct {
		name, text string
		gives      bool
	}{
		{"long", strings.Repeat("word ", 1000), true},
		{"far above, in no words", strings.Repeat("x", 1<<20), true},
		{"many bytes, few tokens", strings.Repeat(" ", 40*most), false},
		{"a little above", strings.Repeat("word ", most+10), false},
	} {
		in := Input{Messages: []Message{{Role: "user", Content: c.text}}, AddGenerationPrompt: true}
		all, err := tmpl.Tokens(tok, in)
		if err != nil {
			t.Fatal(err)
		}
		in.MaxTokens = most
		ids, err := tmpl.Tokens(tok, in)
		if long := new(TooLongError); errors.As(err, &long) != c.gives || c.gives && (long.Least <= most || long.Least > len(all)) {
			t.Errorf("%s: %v of %d tokens", c.name, err, len(all))
		}
		if !c.gives && !slices.Equal(ids, all) {
			t.Errorf("%s: %d tokens, want %d", c.name, len(ids), len(all))
		}
	}
}
