package server

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/holdfast-run/holdfast/chat"
	"github.com/holdfast-run/holdfast/engine"
	"github.com/holdfast-run/holdfast/internal/testkit/leaktest"
	"github.com/holdfast-run/holdfast/sampler"
)

func TestMain(m *testing.M) {
	leaktest.Main(m,
		// The HTTP library's pool cleaner looks only every few seconds whether
		// its server has stopped.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
	)
}

// patience is how long a test waits for what must come. It is no deadline
// that anything is held to.
const patience = 5 * time.Minute

// fakeWorker answers as its fields say; the zero value says Hello.
type fakeWorker struct {
	encodeErr   error
	encodePanic bool
	generateErr error
	readyErr    error
	pieces      []engine.Delta                                    // what each stream has ready at once
	more        chan engine.Delta                                 // what comes after that, if not nil
	endErr      error                                             // what comes after that
	panicAt     int                                               // the piece, from 1, instead of which Next panics
	say         func(r engine.Request, choice int) []engine.Delta // what pieces shall be, if not nil
	bos         bool                                              // texts begin with token 1
	other       func(r engine.Request) *fakeWorker                // whose stream it shall be, if not nil
	started     chan *fakeStream                                  // gets each stream, if not nil
	inputs      chan<- engine.Request                             // gets each request, if not nil
	chats       chan<- chat.Input                                 // gets each conversation, if not nil
}

var hello = []engine.Delta{{Text: "Hel"}, {Text: ""}, {Text: "lo \"you\"\n"}, {Text: "é☺", Finish: engine.FinishStop}}

func (w *fakeWorker) Info() engine.Info {
	return engine.Info{ID: "tiny", Created: time.Unix(1700000000, 0), ContextLength: 512, VocabSize: 100, BlockTokens: 32, Class: "cpu-1", Exact: true}
}

func (w *fakeWorker) EncodeChat(in chat.Input) ([]int32, error) {
	if w.encodePanic {
		panic("secret prompt")
	}
	if w.chats != nil {
		w.chats <- in
	}
	return make([]int32, 5), w.encodeErr
}

// Encode makes a token of each byte, but of a space that begins a text and the
// byte after it, one.
func (w *fakeWorker) Encode(text string, begin bool) []int32 {
	var ids []int32
	if begin && w.bos {
		ids = append(ids, 1)
	}
	if len(text) > 1 && text[0] == ' ' {
		ids, text = append(ids, int32(text[1]-32)%100), text[2:]
	}
	for _, b := range []byte(text) {
		ids = append(ids, int32(b)%100)
	}
	return ids
}

func (w *fakeWorker) Decode(tokens []int32) string {
	var text []byte
	for _, t := range tokens {
		text = append(text, byte(t))
	}
	return string(text)
}

func (w *fakeWorker) Ends() (bos, eos int32) {
	if w.bos {
		return 1, 2
	}
	return -1, 2
}

func (w *fakeWorker) MaxTokenBytes() int { return 2 }

// AppendToken knows the tokens from 90 on as parts of a character, and token 1 as
// a special one.
func (w *fakeWorker) AppendToken(dst []byte, token int32, names bool) []byte {
	if token == 1 && !names {
		return dst
	}
	if token >= 90 {
		return append(dst, "\u263a"[token%3])
	}
	return append(dst, byte(token))
}

func (w *fakeWorker) Generate(ctx context.Context, r engine.Request) ([]Stream, error) {
	if w.inputs != nil {
		w.inputs <- r
	}
	if w.generateErr != nil {
		return nil, w.generateErr
	}
	var all []Stream
	for i := range max(r.N, 1) {
		all = append(all, w.stream(ctx, r, i))
	}
	return all, nil
}

func (w *fakeWorker) stream(ctx context.Context, r engine.Request, i int) *fakeStream {
	s := &fakeStream{w: w, ctx: ctx, r: r, choice: i, pieces: w.pieces, closed: make(chan struct{})}
	if s.pieces == nil && w.more == nil && w.endErr == nil {
		s.pieces = hello
	}
	if w.other != nil {
		s.w = w.other(r)
		s.pieces = s.w.pieces
	}
	if w.say != nil {
		s.pieces = w.say(r, i)
	}
	if w.started != nil {
		w.started <- s
	}
	return s
}

func (w *fakeWorker) Ready() error { return w.readyErr }

func (w *fakeWorker) Stats() engine.Stats {
	return engine.Stats{Waiting: 1, Running: 2, BlocksTotal: 30, BlocksUsed: 4, Steps: 50, PromptTokens: 600, CompletionTokens: 70, Cancelled: 8}
}

type fakeStream struct {
	w      *fakeWorker
	ctx    context.Context
	r      engine.Request
	choice int
	pieces []engine.Delta
	given  int
	once   sync.Once
	closed chan struct{}
}

func (s *fakeStream) Next() (engine.Delta, error) {
	s.given++
	if s.given == s.w.panicAt {
		panic("secret completion")
	}
	if len(s.pieces) > 0 {
		d := s.pieces[0]
		s.pieces = s.pieces[1:]
		return d, nil
	}
	if s.w.more == nil && s.w.endErr == nil {
		return engine.Delta{}, io.EOF
	}
	if s.w.more == nil {
		return engine.Delta{}, s.w.endErr
	}
	select {
	case d := <-s.w.more:
		return d, nil
	case <-s.ctx.Done():
		return engine.Delta{}, s.ctx.Err()
	}
}

// Prompt finds the prompt's token i as likely as -i, and next to 1.
func (s *fakeStream) Prompt() []engine.TokenLogprob {
	if !s.r.PromptLogprobs || s.choice > 0 {
		return nil
	}
	var all []engine.TokenLogprob
	for i, t := range s.r.Tokens {
		all = append(all, engine.TokenLogprob{Token: t, Logprob: -float64(i), Top: []sampler.Logprob{{Token: 49, Logprob: -0.5}}[:min(s.r.TopLogprobs, 1)]})
	}
	return all
}

func (s *fakeStream) Usage() engine.Usage {
	return engine.Usage{PromptTokens: 5, CompletionTokens: 4, CachedTokens: 3}
}

func (s *fakeStream) Close() { s.once.Do(func() { close(s.closed) }) }

// testServer is a server on a loopback port, shut down when the test ends.
type testServer struct {
	*Server
	t    *testing.T
	addr string
	log  *logBuffer
}

func serve(t *testing.T, w Worker, change ...func(*Config)) *testServer {
	t.Helper()
	logs := &logBuffer{}
	cfg := Config{Worker: w, Logger: slog.New(slog.NewTextHandler(logs, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	for _, f := range change {
		f(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if err := wait(t, served); err != nil {
			t.Errorf("Serve: %v", err)
		}
		if text := logs.String(); strings.Contains(text, "secret prompt text") {
			t.Errorf("the log holds a prompt:\n%s", text)
		}
	})
	return &testServer{s, t, ln.Addr().String(), logs}
}

// wait receives from c, or fails the test.
func wait[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

// client is one connection.
type client struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

func (s *testServer) dial() *client {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		s.t.Fatal(err)
	}
	return &client{s.t, conn, bufio.NewReader(conn)}
}

func (c *client) send(raw string) {
	c.t.Helper()
	if _, err := io.WriteString(c.conn, raw); err != nil {
		c.t.Fatal(err)
	}
}

// receive reads an answer's head; its body is read from the connection.
func (c *client) receive() *http.Response {
	c.t.Helper()
	res, err := http.ReadResponse(c.r, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	return res
}

func (c *client) body(res *http.Response) string {
	c.t.Helper()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatalf("body after %q: %v", body, err)
	}
	return string(body)
}

// do sends a request and returns status, headers and body.
func (c *client) do(raw string) (*http.Response, string) {
	c.t.Helper()
	c.send(raw)
	res := c.receive()
	return res, c.body(res)
}

func get(path string) string {
	return "GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n"
}

func post(path, body string, headers ...string) string {
	if len(headers) == 0 {
		headers = []string{"Content-Type: application/json"}
	}
	return "POST " + path + " HTTP/1.1\r\nHost: x\r\n" + strings.Join(headers, "\r\n") +
		"\r\nContent-Length: " + itoa(len(body)) + "\r\n\r\n" + body
}

const (
	chatPath  = "/v1/chat/completions"
	plainBody = `{"model":"tiny","messages":[{"role":"user","content":"secret prompt text"}]}`
	eventBody = `{"model":"tiny","messages":[{"role":"user","content":"secret prompt text"}],"stream":true}`
)

// logBuffer is a log that tests may read while the server writes.
type logBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
