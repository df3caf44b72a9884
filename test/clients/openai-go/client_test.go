// Package openaigo runs OpenAI's library for Go against a running server, named
// by HOLDFAST_URL and HOLDFAST_MODEL; the key is in OPENAI_API_KEY. It is a
// module of its own, so that the worker does not depend on the library.
package openaigo

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
)

var model = os.Getenv("HOLDFAST_MODEL")

func client(t *testing.T, opts ...option.RequestOption) openai.Client {
	t.Helper()
	url := os.Getenv("HOLDFAST_URL")
	if url == "" || model == "" {
		t.Fatal("HOLDFAST_URL and HOLDFAST_MODEL say what to test: test/clients/run.sh sets them")
	}
	return openai.NewClient(append([]option.RequestOption{option.WithBaseURL(url), option.WithMaxRetries(0)}, opts...)...)
}

func question() openai.ChatCompletionNewParams {
	return openai.ChatCompletionNewParams{
		Model:       model,
		Messages:    []openai.ChatCompletionMessageParamUnion{openai.UserMessage("Why is the sky blue?")},
		Temperature: openai.Float(0),
		MaxTokens:   openai.Int(16),
	}
}

func TestModels(t *testing.T) {
	c := client(t)
	list, err := c.Models.List(t.Context())
	if err != nil || len(list.Data) != 1 || list.Data[0].ID != model {
		t.Fatalf("%+v, %v", list, err)
	}
	if m, err := c.Models.Get(t.Context(), model); err != nil || m.ID != model {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestChat(t *testing.T) {
	c := client(t)
	whole, err := c.Chat.Completions.New(t.Context(), question())
	if err != nil {
		t.Fatal(err)
	}
	text := whole.Choices[0].Message.Content
	if text == "" || whole.Usage.TotalTokens != whole.Usage.PromptTokens+whole.Usage.CompletionTokens {
		t.Errorf("%+v", whole)
	}

	params := question()
	params.StreamOptions.IncludeUsage = openai.Bool(true)
	params.Logprobs, params.TopLogprobs = openai.Bool(true), openai.Int(2)
	stream := c.Chat.Completions.NewStreaming(t.Context(), params)
	var acc openai.ChatCompletionAccumulator
	var bytes []byte
	for stream.Next() {
		chunk := stream.Current()
		if !acc.AddChunk(chunk) {
			t.Fatalf("the accumulator refuses %s", chunk.RawJSON())
		}
		for _, choice := range chunk.Choices {
			for _, l := range choice.Logprobs.Content {
				if len(l.TopLogprobs) != 2 || l.TopLogprobs[0].Logprob != l.Logprob {
					t.Errorf("%s", l.RawJSON())
				}
				for _, b := range l.Bytes {
					bytes = append(bytes, byte(b))
				}
			}
		}
	}
	if stream.Err() != nil || acc.Choices[0].Message.Content != text || string(bytes) != text || acc.Usage.CompletionTokens != whole.Usage.CompletionTokens {
		t.Errorf("streamed %q of bytes %q, %v; in one piece %q", acc.Choices[0].Message.Content, bytes, stream.Err(), text)
	}

	params = question()
	params.N, params.Seed, params.Temperature = openai.Int(3), openai.Int(1), openai.Float(1)
	several, err := c.Chat.Completions.New(t.Context(), params)
	if err != nil || len(several.Choices) != 3 || several.Choices[2].Index != 2 {
		t.Errorf("%+v, %v", several, err)
	}
}

func TestCompletions(t *testing.T) {
	c := client(t)
	params := openai.CompletionNewParams{
		Model:     openai.CompletionNewParamsModel(model),
		Prompt:    openai.CompletionNewParamsPromptUnion{OfArrayOfStrings: []string{"The sky is", "Ice is"}},
		Echo:      openai.Bool(true),
		Logprobs:  openai.Int(1),
		MaxTokens: openai.Int(2),
		N:         openai.Int(2),
	}
	got, err := c.Completions.New(t.Context(), params)
	if err != nil || len(got.Choices) != 4 {
		t.Fatalf("%+v, %v", got, err)
	}
	for i, choice := range got.Choices {
		if !strings.HasPrefix(choice.Text, params.Prompt.OfArrayOfStrings[i/2]) || len(choice.Logprobs.Tokens) != len(choice.Logprobs.TokenLogprobs) || strings.Join(choice.Logprobs.Tokens, "") != choice.Text {
			t.Errorf("choice %d: %s", i, choice.RawJSON())
		}
	}
}

func TestErrors(t *testing.T) {
	fails := func(c openai.Client, p openai.ChatCompletionNewParams, status int, code, param string) {
		t.Helper()
		_, err := c.Chat.Completions.New(t.Context(), p)
		var e *openai.Error
		if !errors.As(err, &e) || e.StatusCode != status || e.Code != code || e.Param != param || e.Message == "" {
			t.Errorf("%v, want %d %s %s", err, status, code, param)
		}
	}
	p := question()
	p.Temperature = openai.Float(-1)
	fails(client(t), p, 400, "invalid_value", "temperature")
	p = question()
	p.Model = "none"
	fails(client(t), p, 404, "model_not_found", "model")
	fails(client(t, option.WithAPIKey("wrong")), question(), 401, "invalid_api_key", "")
}
