package server

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/api"
	"github.com/holdfast-run/holdfast/engine"
)

func TestRoutes(t *testing.T) {
	s := serve(t, &fakeWorker{})
	model := `{"id":"tiny","object":"model","created":1700000000,"owned_by":"holdfast","max_model_len":512}`
	for _, c := range []struct {
		raw    string
		status int
		body   string // a part of it
		allow  string
	}{
		{get("/v1/models"), 200, `{"object":"list","data":[` + model + `]}`, ""},
		{get("/v1/models/tiny"), 200, model, ""},
		{get("/v1/models/t%69ny?x=1"), 200, model, ""},
		{get("/v1/models/huge"), 404, `"code":"model_not_found"`, ""},
		{get("/v1/models/"), 404, `"code":"not_found"`, ""},
		{get("/health"), 200, `{"status":"ok"}`, ""},
		{get("/health/ready"), 200, `{"status":"ready"}`, ""},
		{get("/metrics"), 200, "holdfast_running_sequences 2\n", ""},
		{get("/"), 404, `"code":"not_found"`, ""},
		{get("/v1/embeddings"), 404, `"code":"not_found"`, ""},
		{get("/tokenize"), 405, `"code":"method_not_allowed"`, "POST"},
		{get("/detokenize"), 405, `"code":"method_not_allowed"`, "POST"},
		{post("/version", "{}"), 405, `"code":"method_not_allowed"`, "GET, HEAD"},
		{post("/tokenize", `{"prompt":"a"}`, "Content-Type: text/plain", "Origin: http://a.example"), 415, `"code":"unsupported_media_type"`, ""},
		{post("/detokenize", `{"tokens":[1]}`, "Content-Type: text/plain", "Origin: http://a.example"), 415, `"code":"unsupported_media_type"`, ""},
		{get(textPath), 405, `"code":"method_not_allowed"`, "POST"},
		{post(textPath, textPlain, "Content-Type: text/plain", "Origin: http://a.example"), 415, `"code":"unsupported_media_type"`, ""},
		{get(chatPath), 405, `"code":"method_not_allowed"`, "POST"},
		{post("/v1/models", "{}"), 405, `"code":"method_not_allowed"`, "GET, HEAD"},
		{"HEAD /health HTTP/1.1\r\nHost: x\r\n\r\n", 200, "", ""},
		{post(chatPath, plainBody, "Content-Type: application/x-www-form-urlencoded"), 200, "chat.completion", ""},
		{post(chatPath, plainBody, "X-A: b"), 200, "chat.completion", ""},
		{post(chatPath, plainBody, "Content-Type: application/json", "Origin: http://localhost:3000"), 200, "chat.completion", ""},
		{post(chatPath, plainBody, "Content-Type: text/plain", "Origin: http://a.example"), 415, `"code":"unsupported_media_type"`, ""},
		{post(chatPath, plainBody, "X-A: b", "Origin: null"), 415, `"code":"unsupported_media_type"`, ""},
		{post(chatPath, plainBody, "Content-Type: application/json", "Content-Encoding: gzip"), 415, `"code":"unsupported_media_type"`, ""},
	} {
		conn := s.dial()
		conn.send(c.raw)
		res := conn.receive()
		body := ""
		if !strings.HasPrefix(c.raw, "HEAD") {
			body = conn.body(res)
		}
		line, _, _ := strings.Cut(c.raw, "\r\n")
		if res.StatusCode != c.status || !strings.Contains(body, c.body) || res.Header.Get("Allow") != c.allow {
			t.Errorf("%s: status %d, Allow %q, body %s\nwant %d, %q, %s", line, res.StatusCode, res.Header.Get("Allow"), body, c.status, c.allow, c.body)
		}
		if id := res.Header.Get("X-Request-Id"); !regexp.MustCompile(`^req-[0-9a-f]{24}$`).MatchString(id) {
			t.Errorf("%s: request ID %q", line, id)
		}
	}
}

// TestAliases asks for the model by each of its names.
func TestAliases(t *testing.T) {
	s := serve(t, &fakeWorker{}, func(c *Config) { c.Aliases = []string{"gpt-x", "a/b c"} })
	_, body := s.dial().do(get("/v1/models"))
	for _, name := range []string{"tiny", "gpt-x", "a/b c"} {
		if !strings.Contains(body, `{"id":"`+name+`","object":"model","created":1700000000`) {
			t.Errorf("no %s in %s", name, body)
		}
		if res, body := s.dial().do(get("/v1/models/" + strings.ReplaceAll(name, " ", "%20"))); res.StatusCode != 200 || !strings.Contains(body, `"id":"`+name+`"`) {
			t.Errorf("%s: %d %s", name, res.StatusCode, body)
		}
		for path, body := range map[string]string{chatPath: plainBody, textPath: textPlain, "/tokenize": `{"model":"tiny","prompt":"a"}`, "/detokenize": `{"model":"tiny","tokens":[1]}`} {
			if res, got := s.dial().do(post(path, strings.Replace(body, "tiny", name, 1))); res.StatusCode != 200 {
				t.Errorf("%s of %s: %d %s", path, name, res.StatusCode, got)
			}
			if res, _ := s.dial().do(post(path, strings.Replace(body, "tiny", name+"x", 1))); res.StatusCode != 404 {
				t.Errorf("%s of %sx: %d", path, name, res.StatusCode)
			}
		}
	}
}

// decided says of every route who may use it, the most bytes of its body, and a test of
// this package that asks for it.
var decided = map[string]struct {
	access access
	body   int
	test   string
}{
	"POST /v1/chat/completions":          {keyed, 4 << 20, "TestChat"},
	"POST /v1/completions":               {keyed, 4 << 20, "TestCompletion"},
	"GET /v1/models":                     {keyed, 4 << 10, "TestRoutes"},
	"GET /v1/models/":                    {keyed, 4 << 10, "TestRoutes"},
	"POST /tokenize":                     {keyed, 4 << 20, "TestTokenRoutes"},
	"POST /detokenize":                   {keyed, 4 << 20, "TestTokenRoutes"},
	"GET /tokenizer_info":                {keyed, 4 << 10, "TestTokenRoutes"},
	"GET /version":                       {keyed, 4 << 10, "TestTokenRoutes"},
	"GET /health":                        {open, 4 << 10, "TestRoutes"},
	"GET /health/ready":                  {open, 4 << 10, "TestNotReady"},
	"GET /metrics":                       {open, 4 << 10, "TestMetrics"},
	"GET /v1/sessions":                   {keyed, 4 << 10, "TestSessionList"},
	"POST /v1/sessions":                  {keyed, 4 << 10, "TestSessionVerbs"},
	"POST /v1/sessions/import":           {keyed, 32 << 20, "TestSessionExport"},
	"GET /v1/sessions/{id}":              {keyed, 4 << 10, "TestSessionVerbs"},
	"POST /v1/sessions/{id}":             {keyed, 4 << 10, "TestSessionVerbs"},
	"DELETE /v1/sessions/{id}":           {keyed, 4 << 10, "TestSessionVerbs"},
	"GET /v1/sessions/{id}/turns":        {keyed, 4 << 10, "TestSessionHead"},
	"POST /v1/sessions/{id}/turns":       {keyed, 4 << 20, "TestSessionNames"},
	"GET /v1/sessions/{id}/turns/{turn}": {keyed, 4 << 10, "TestInterruptedTurn"},
	"POST /v1/sessions/{id}/checkpoint":  {keyed, 4 << 10, "TestSessionVerbs"},
	"POST /v1/sessions/{id}/fork":        {keyed, 4 << 10, "TestSessionVerbs"},
	"POST /v1/sessions/{id}/rewind":      {keyed, 4 << 10, "TestSessionHead"},
	"POST /v1/sessions/{id}/park":        {keyed, 4 << 10, "TestSessionVerbs"},
	"POST /v1/sessions/{id}/resume":      {keyed, 4 << 10, "TestSessionVerbs"},
	"POST /v1/sessions/{id}/verify":      {keyed, 4 << 10, "TestSessionVerbs"},
	"POST /v1/sessions/{id}/export":      {keyed, 4 << 10, "TestSessionExport"},
}

// TestRouteWalk has every route, with sessions and without, hold to what was decided
// of it. A route of which nothing was decided fails.
func TestRouteWalk(t *testing.T) {
	keys := withKeys(file(t, "keys", keyLine("alice", "good")))
	for _, s := range []*testServer{serve(t, &fakeWorker{}, keys), serveSessions(t, newScribe(), t.TempDir(), keys)} {
		left := maps.Clone(decided)
		for path, all := range s.routes {
			for _, r := range all {
				want, ok := left[r.method+" "+path]
				delete(left, r.method+" "+path)
				if !ok || r.access != want.access || r.body != want.body {
					t.Errorf("%s %s: access %d, body %d; decided was %+v", r.method, path, r.access, r.body, want)
				}
				walk(t, s, path, r)
			}
		}
		if len(left) > 0 {
			t.Errorf("no such routes: %v", left)
		}
	}
	for route, d := range decided {
		if !isTest(t, d.test) {
			t.Errorf("%s: there is no %s", route, d.test)
		}
	}
}

// isTest reports whether this package has a test of that name.
func isTest(t *testing.T, name string) bool {
	t.Helper()
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "\nfunc "+name+"(t *testing.T) {") {
			return true
		}
	}
	return false
}

// walk tries one route.
func walk(t *testing.T, s *testServer, path string, r route) {
	t.Helper()
	if path == modelPrefix {
		path += "tiny"
	}
	path = strings.NewReplacer("{id}", "sess_0123456789abcdef0123456789abcdef", "{turn}", "turn_1").Replace(path)
	const limited = "Authorization: Bearer good"
	for _, c := range []struct {
		header string
		length int
		keyed  int
		open   int
	}{
		{"X-A: b", 0, 401, 0},
		{"Authorization: Bearer bad", 0, 401, 0},
		{"X-A: b", r.body + 1, 401, 413},
		{limited, r.body + 1, 413, 413},
	} {
		want := c.keyed
		if r.access == open {
			want = c.open
		}
		res := s.dial()
		res.send(fmt.Sprintf("%s %s HTTP/1.1\r\nHost: x\r\n%s\r\nContent-Length: %d\r\n\r\n", r.method, path, c.header, c.length))
		if c.length > r.body {
			res.conn.(*net.TCPConn).CloseWrite() // nothing to wait for
		}
		if got := res.receive().StatusCode; got != want && !(want == 0 && got != 401 && got != 413) {
			t.Errorf("%s with %q and %d bytes: status %d, want %d", path, c.header, c.length, got, want)
		}
	}
	// However the path is written.
	coded := strings.Replace(path, "e", "%65", 1)
	if res, _ := s.dial().do(fmt.Sprintf("%s http://y%s?a=b HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", r.method, coded)); (res.StatusCode == 401) != (r.access == keyed) {
		t.Errorf("%s: status %d", coded, res.StatusCode)
	}
}

func TestRequestID(t *testing.T) {
	s := serve(t, &fakeWorker{})
	for id, kept := range map[string]bool{"a-Z_0.9": true, strings.Repeat("x", 128): true, strings.Repeat("x", 129): false, "a b": false, "a\"b": false} {
		res, _ := s.dial().do("GET /health HTTP/1.1\r\nHost: x\r\nx-request-id: " + id + "\r\n\r\n")
		if got := res.Header.Get("X-Request-Id"); (got == id) != kept || got == "" {
			t.Errorf("%q became %q", id, got)
		}
	}
}

func TestNotReady(t *testing.T) {
	s := serve(t, &fakeWorker{readyErr: errors.New("no step for 9 s")})
	res, body := s.dial().do(get("/health/ready"))
	if res.StatusCode != 503 || body != `{"status":"not ready","reason":"no step for 9 s"}` {
		t.Errorf("status %d, body %s", res.StatusCode, body)
	}
	if res, _ := s.dial().do(get("/health")); res.StatusCode != 200 {
		t.Errorf("/health: %d", res.StatusCode)
	}
}

// TestGivenUp: what does not come back by itself is not healthy either, so that it is
// started again.
func TestGivenUp(t *testing.T) {
	s := serve(t, &fakeWorker{readyErr: fmt.Errorf("%w: restart the process", engine.ErrGivenUp)})
	for _, path := range []string{"/health", "/health/ready"} {
		if res, body := s.dial().do(get(path)); res.StatusCode != 503 || !strings.Contains(body, "restart the process") {
			t.Errorf("%s: status %d, body %s", path, res.StatusCode, body)
		}
	}
}

func TestMetrics(t *testing.T) {
	s := serve(t, &fakeWorker{})
	conn := s.dial()
	conn.do(post(chatPath, plainBody))
	conn.do(post(chatPath, eventBody))
	conn.do(get("/a\"b"))
	res, body := conn.do(get("/metrics"))
	if got := res.Header.Get("Content-Type"); got != "text/plain; version=0.0.4; charset=utf-8" {
		t.Errorf("Content-Type %q", got)
	}
	for _, want := range []string{
		`holdfast_requests_total{route="/v1/chat/completions",code="200"} 2`,
		`holdfast_requests_total{route="other",code="404"} 1`,
		`holdfast_time_to_first_token_seconds_count 2`,
		`holdfast_time_to_first_token_seconds_bucket{le="640"} 2`,
		`holdfast_inter_token_latency_seconds_count 6`,
		`holdfast_waiting_requests 1`, `holdfast_running_sequences 2`,
		`holdfast_kv_blocks_total 30`, `holdfast_kv_blocks_used 4`, `holdfast_steps_total 50`,
		`holdfast_prompt_tokens_total 600`, `holdfast_completion_tokens_total 70`, `holdfast_cancelled_requests_total 8`,
		`holdfast_queued_prompt_tokens 0`, `holdfast_connections 1`,
		`vllm:num_requests_waiting{model_name="tiny",engine="0"} 1`, `vllm:num_requests_running{model_name="tiny",engine="0"} 2`,
		`vllm:kv_cache_usage_perc{model_name="tiny",engine="0"} 0.13333333333333333`,
		`vllm:cache_config_info{block_size="32",num_gpu_blocks="30",engine="0"} 1`,
	} {
		if !strings.Contains(body, want+"\n") {
			t.Errorf("no line %q in\n%s", want, body)
		}
	}
}

// TestUnreadable sends what never reaches a handler.
func TestUnreadable(t *testing.T) {
	s := serve(t, &fakeWorker{}, func(c *Config) { c.ReadTimeout = 2 * time.Second })
	big := strings.Repeat(" ", api.MaxBodyBytes+1)
	for _, c := range []struct {
		name, raw string
		status    int
		code      string
	}{
		{"no HTTP", "nonsense\r\n\r\n", 400, api.CodeInvalidValue},
		{"two lengths", "POST " + chatPath + " HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400, api.CodeInvalidValue},
		{"large header", "GET /health HTTP/1.1\r\nHost: x\r\nX-A: " + strings.Repeat("a", maxHeaderBytes) + "\r\n\r\n", 431, api.CodeTooLarge},
		{"large body", post(chatPath, big), 413, api.CodeTooLarge},
		{"large chunked body", "POST " + chatPath + " HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n500000\r\n" + big, 413, api.CodeTooLarge},
		{"slow header", "GET /health HTTP/1.1\r\nHost:", 408, api.CodeTimeout},
		{"slow body", "POST " + chatPath + " HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{", 408, api.CodeTimeout},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn := s.dial()
			// What is too large need not be read to its end; the answer is there then.
			_, _ = io.WriteString(conn.conn, c.raw)
			res := conn.receive()
			wantError(t, res, conn.body(res), c.status, api.TypeInvalidRequest, c.code, "", "")
		})
	}
}

func TestConfig(t *testing.T) {
	for _, c := range []Config{{}, {Worker: &fakeWorker{}, MaxConns: -1}, {Worker: &fakeWorker{}, IdleTimeout: -1},
		{Worker: &fakeWorker{}, MaxQueuedTokens: -1}, {Worker: &fakeWorker{}, MaxTime: -1}, {Worker: &fakeWorker{}, MaxQueueTime: -1}} {
		if _, err := New(c); err == nil {
			t.Errorf("New(%+v) accepts it", c)
		}
	}
}
