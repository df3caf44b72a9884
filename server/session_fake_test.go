package server

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/holdfast-run/holdfast/chat"
	"github.com/holdfast-run/holdfast/engine"
	"github.com/holdfast-run/holdfast/internal/vfs"
	"github.com/holdfast-run/holdfast/session"
	"github.com/holdfast-run/holdfast/tokenlog"
)

// scribe is a SessionWorker whose tokens are bytes, and whose answers follow from
// their prompts. The end of an answer is the token end, which has no text.
type scribe struct {
	*fakeWorker
	digests engine.Digests
	say     func(prompt string) string
	gate    chan struct{} // lets one token be drawn, if not nil
	variant bool          // its bits depend on the batch
	less    int           // tokens at the end of a text that count as cut

	mu       sync.Mutex
	requests []engine.Request
	moved    []string // what was asked of the KV
}

const end = 300

func newScribe() *scribe {
	return &scribe{fakeWorker: &fakeWorker{}, digests: engine.Digests{Class: "cpu-1", Weights: [32]byte{1}, Tokenizer: [32]byte{2}, Template: [32]byte{3}}}
}

func (w *scribe) Info() engine.Info {
	info := w.fakeWorker.Info()
	info.VocabSize, info.ContextLength = 301, 4096
	info.Exact = info.Exact && !w.variant
	return info
}

func (w *scribe) Digests() (engine.Digests, error) { return w.digests, nil }

func (w *scribe) Encode(text string, begin bool) []int32 { return w.EncodeAfter(text) }

func (w *scribe) EncodeAfter(text string) (ids []int32) {
	for _, b := range []byte(text) {
		ids = append(ids, int32(b))
	}
	return ids
}

func textOf(tokens []int32) string {
	var b strings.Builder
	for _, t := range tokens {
		if t != end {
			b.WriteByte(byte(t))
		}
	}
	return b.String()
}

func render(in chat.Input) string {
	var b strings.Builder
	for _, m := range in.Messages {
		fmt.Fprintf(&b, "[%s:%s]", m.Role, m.Content)
	}
	if in.AddGenerationPrompt {
		b.WriteString("[assistant:")
	}
	return b.String()
}

func (w *scribe) EncodeChat(in chat.Input) ([]int32, error) { return w.EncodeAfter(render(in)), nil }

func (w *scribe) EncodeChatAfter(in chat.Input, past []int32) ([]int32, int, error) {
	text := render(in)
	if rest, ok := strings.CutPrefix(text, textOf(past)); ok {
		return append(slices.Clone(past), w.EncodeAfter(rest)...), len(past), nil
	}
	ids := w.EncodeAfter(text)
	keep := 0
	for keep < min(len(ids), len(past)) && ids[keep] == past[keep] {
		keep++
	}
	return ids, keep, nil
}

func (w *scribe) Shown(r engine.Request, drawn []int32, text string) (int, int) {
	n := 0
	for n < len(drawn) && drawn[n] != end && strings.HasPrefix(text, textOf(drawn[:n+1])) {
		n++
	}
	n = max(n-w.less, 0)
	return n, n
}

// Replay says a token a piece, as Next does.
func (w *scribe) Replay(r engine.Request, drawn []int32, finish engine.FinishReason) (all []engine.Delta) {
	s := &scribed{w: w, r: r}
	for i, t := range drawn {
		d := s.piece(t, i+1)
		if d.Finish != "" || d.Text != "" {
			all = append(all, d)
		}
		if d.Finish != "" {
			return all
		}
	}
	return append(all, engine.Delta{Finish: finish, Tokens: len(drawn)})
}

func (w *scribe) Generate(ctx context.Context, r engine.Request) ([]Stream, error) {
	w.mu.Lock()
	r.Tokens = slices.Clone(r.Tokens)
	w.requests = append(w.requests, r)
	w.mu.Unlock()
	if w.generateErr != nil {
		return nil, w.generateErr
	}
	say := func(prompt string) string { return fmt.Sprintf("%d bytes, seed %d", len(prompt), r.Params.Seed%10) }
	if w.say != nil {
		say = w.say
	}
	answer := append(w.EncodeAfter(say(textOf(r.Tokens))), end)
	if r.MaxTokens > 0 && len(answer) > r.MaxTokens {
		answer = answer[:r.MaxTokens]
	}
	return []Stream{&scribed{w: w, ctx: ctx, r: r, answer: answer}}, nil
}

// scribed is one of a scribe's answers.
type scribed struct {
	w      *scribe
	ctx    context.Context
	r      engine.Request
	answer []int32
	drawn  int
	text   string
}

// piece returns what token number n, the first is 1, brings.
func (s *scribed) piece(token int32, n int) engine.Delta {
	d := engine.Delta{Tokens: n}
	if s.r.TokenIDs {
		d.TokenIDs = []int32{token}
	}
	if token == end {
		d.Finish = engine.FinishStop
		return d
	}
	d.Text = textOf([]int32{token})
	s.text += d.Text
	for _, stop := range s.r.Stop {
		if strings.HasSuffix(s.text, stop) {
			d.Text, d.Finish = "", engine.FinishStop // stops of a scribe have one byte
		}
	}
	return d
}

func (s *scribed) Next() (engine.Delta, error) {
	if s.drawn == len(s.answer) {
		return engine.Delta{}, io.EOF
	}
	token := s.answer[s.drawn]
	if s.drawn >= len(s.r.Drawn) {
		if s.w.gate != nil {
			select {
			case <-s.w.gate:
			case <-s.ctx.Done():
				return engine.Delta{}, s.ctx.Err()
			}
		}
		if s.r.Journal != nil {
			s.r.Journal.Append(token)
			s.r.Journal.Flush()
			s.r.Journal.Write()
		}
	} else if s.r.Drawn[s.drawn] != token {
		return engine.Delta{}, fmt.Errorf("token %d was %d, and is %d", s.drawn, s.r.Drawn[s.drawn], token)
	}
	s.drawn++
	d := s.piece(token, s.drawn)
	if s.drawn == len(s.answer) && d.Finish == "" {
		d.Finish = engine.FinishLength
	}
	if s.r.Journal != nil {
		if err := s.r.Journal.Await(s.ctx, s.drawn); err != nil {
			return engine.Delta{}, err
		}
	}
	return d, nil
}

func (s *scribed) Prompt() []engine.TokenLogprob { return nil }
func (s *scribed) Close()                        {}
func (s *scribed) Usage() engine.Usage {
	return engine.Usage{PromptTokens: len(s.r.Tokens), CompletionTokens: s.drawn, CachedTokens: len(s.r.Tokens) / 2}
}

func (w *scribe) move(what, principal string, tokens []int32) (engine.Residence, error) {
	w.mu.Lock()
	w.moved = append(w.moved, fmt.Sprintf("%s %q %s", what, principal, textOf(tokens)))
	w.mu.Unlock()
	return engine.Residence{Blocks: len(tokens) / 32, Device: len(tokens) / 64, Disk: len(tokens) / 32, BlockBytes: 100}, nil
}

func (w *scribe) Checkpoint(_ context.Context, principal string, tokens []int32) (engine.Residence, error) {
	return w.move("checkpoint", principal, tokens)
}

func (w *scribe) Prefetch(_ context.Context, principal string, tokens []int32) (engine.Residence, error) {
	return w.move("prefetch", principal, tokens)
}

func (w *scribe) Park(_ context.Context, principal string, tokens []int32) (engine.Residence, error) {
	return w.move("park", principal, tokens)
}

func (w *scribe) Residence(_ context.Context, principal string, tokens []int32) (engine.Residence, error) {
	return w.move("residence", principal, tokens)
}

func (w *scribe) VerifyKV(_ context.Context, principal string, tokens []int32) (engine.KVReport, error) {
	n := len(tokens) / 32
	return engine.KVReport{Blocks: n, Good: n}, nil
}

// lastRequest is what the scribe was asked last.
func (w *scribe) lastRequest() engine.Request {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.requests[len(w.requests)-1]
}

// serveSessions is serve with sessions in a folder.
func serveSessions(t *testing.T, w *scribe, dir string, change ...func(*Config)) *testServer {
	t.Helper()
	m, err := session.Open(vfs.OS{}, dir, session.Options{Log: tokenlog.Options{SegmentBytes: 1 << 20}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // after the server's
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return serve(t, w, append(change, func(c *Config) { c.Sessions = m })...)
}
