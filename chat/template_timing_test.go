package chat

import (
	"strings"
	"testing"
)

func BenchmarkRender(b *testing.B) {
	in := Input{AddGenerationPrompt: true, Now: testNow}
	text := strings.Repeat("all work and no play ", 20)
	for range 10 {
		in.Messages = append(in.Messages, Message{Role: "user", Content: text}, Message{Role: "assistant", Content: text})
	}
	for _, name := range []string{"smollm2", "qwen3", "llama32", "gptoss"} {
		b.Run(name, func(b *testing.B) {
			tmpl, err := Compile(source(b, name), testOptions)
			if err != nil {
				b.Fatal(err)
			}
			prompt, err := tmpl.Render(in)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(prompt)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := tmpl.Render(in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkTokens(b *testing.B) {
	tok := smol(b)
	tmpl, err := FromMetadata(smolMeta(), tok)
	if err != nil {
		b.Fatal(err)
	}
	in := Input{AddGenerationPrompt: true, Messages: []Message{{Role: "user", Content: strings.Repeat("all work and no play ", 200)}}}
	b.SetBytes(int64(len(in.Messages[0].Content)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := tmpl.Tokens(tok, in); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	src := source(b, "gptoss")
	b.SetBytes(int64(len(src)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Compile(src, testOptions); err != nil {
			b.Fatal(err)
		}
	}
}
