package server

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/holdfast-run/holdfast/api"
	"github.com/holdfast-run/holdfast/engine"
)

// fewestMalformed is how many requests TestMalformed must send.
const fewestMalformed = 2000

// bad is a malformed request and what it must be answered.
type bad struct {
	name   string
	path   string
	body   string
	status int    // 0 for any 4xx, or success: what is damaged may still be valid
	param  string // the parameter that the error names or names a part of; empty for any
}

// TestMalformed sends thousands of requests that are wrong in their bodies, over
// few connections, while a stream goes on: each is answered, with the right
// status and parameter, and nothing else suffers.
func TestMalformed(t *testing.T) {
	w := &fakeWorker{more: make(chan engine.Delta), started: make(chan *fakeStream, 1)}
	w.other = func(r engine.Request) *fakeWorker {
		if r.ID == "witness" {
			return w
		}
		return &fakeWorker{pieces: hello}
	}
	s := serve(t, w)
	witness := s.dial()
	witness.send(post(chatPath, eventBody, "Content-Type: application/json", "X-Request-Id: witness"))
	wait(t, w.started)
	w.started = nil
	w.more <- engine.Delta{Text: "0 "}
	stream := witness.receive()

	var all []bad
	all = append(all, wrongTypes(good)...)
	all = append(all, cutShort(good)...)
	all = append(all, damaged(good, 1200)...)
	all = append(all, byHand()...)
	if len(all) < fewestMalformed {
		t.Errorf("%d requests, want %d", len(all), fewestMalformed)
	}
	conn := s.dial()
	want := "0 "
	for i, b := range all {
		res, body := conn.ask(&b)
		for tries := 0; res == nil && tries < 50; tries++ { // held up for longer than the server reads on
			conn = s.dial()
			res, body = conn.ask(&b)
		}
		b.check(t, res, body)
		if res.Close {
			conn = s.dial()
		}
		if i%100 == 0 {
			w.more <- engine.Delta{Text: fmt.Sprint(i, " ")}
			want += fmt.Sprint(i, " ")
		}
	}
	if res, body := conn.do(post(chatPath, plainBody)); res.StatusCode != 200 || !strings.Contains(body, "é☺") {
		t.Errorf("a good request afterwards: %d %s", res.StatusCode, body)
	}
	w.more <- engine.Delta{Finish: engine.FinishStop}
	text, err := io.ReadAll(stream.Body)
	got := ""
	for _, e := range strings.Split(strings.TrimSuffix(string(text), "\n\n"+doneEvent), "\n\n") {
		var c api.ChatChunk
		if err := json.Unmarshal([]byte(strings.TrimPrefix(e, "data: ")), &c); err == nil && c.Choices[0].Delta.Content != nil {
			got += *c.Choices[0].Delta.Content
		}
	}
	if err != nil || got != want {
		t.Errorf("the stream beside them: %q, %v, want %q", got, err, want)
	}
	s.drained()
	t.Logf("%d requests", len(all))
}

// ask sends a request and reads the answer. There may be none to one that is too large:
// the server reads on for a moment only, and then the connection is reset.
func (c *client) ask(b *bad) (*http.Response, string) {
	c.t.Helper()
	if b.status != 413 {
		return c.do(post(b.path, b.body))
	}
	if _, err := io.WriteString(c.conn, post(b.path, b.body)); err != nil {
		return nil, ""
	}
	res, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return nil, ""
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, ""
	}
	return res, string(body)
}

func (b *bad) check(t *testing.T, res *http.Response, body string) {
	t.Helper()
	if res == nil {
		t.Fatalf("%s: %s: never an answer", b.name, b.path)
	}
	if res.StatusCode == 200 && (b.status == 0 || b.status == 200) {
		return
	}
	var e api.ErrorBody
	err := json.Unmarshal([]byte(body), &e)
	if err != nil || e.Error == nil || e.Error.Code == nil || e.Error.Message == "" || res.StatusCode < 400 || res.StatusCode >= 500 && res.StatusCode != 501 {
		t.Errorf("%s: %s %.200q: status %d, body %.300s", b.name, b.path, b.body, res.StatusCode, body)
		return
	}
	param := ""
	if e.Error.Param != nil {
		param = *e.Error.Param
	}
	if b.status != 0 && res.StatusCode != b.status || !strings.HasPrefix(param, b.param) {
		t.Errorf("%s: %s %.200q: status %d, body %.300s\nwant %d for %q", b.name, b.path, b.body, res.StatusCode, body, b.status, b.param)
	}
}

// sample is a good request's body for a path, and the type that it is read into.
type sample struct {
	path, body string
	into       reflect.Type
}

// good are samples of what needs no session.
var good = []sample{
	{chatPath, `{"model":"tiny","messages":[{"role":"system","content":"a"},{"role":"user","content":[{"type":"text","text":"é\n☺"}]}],"max_tokens":9,"temperature":0.5,"stop":["x"],"logit_bias":{"7":1},"stream":false}`, reflect.TypeFor[api.ChatRequest]()},
	{textPath, `{"model":"tiny","prompt":["a","b☺"],"max_tokens":9,"n":2,"echo":true,"logprobs":3,"stop_token_ids":[1,2],"seed":5}`, reflect.TypeFor[api.CompletionRequest]()},
	{"/tokenize", `{"model":"tiny","prompt":"a b☺","add_special_tokens":true,"return_token_strs":true}`, reflect.TypeFor[api.TokenizeRequest]()},
	{"/detokenize", `{"model":"tiny","tokens":[1,2,3]}`, reflect.TypeFor[api.DetokenizeRequest]()},
}

// wrongTypes gives each parameter values of each type that it does not take.
func wrongTypes(of []sample) []bad {
	values := map[string][]string{
		"string": {`"x"`, `""`, `"\u0000"`}, "bool": {`true`, `false`}, "list": {`[]`, `[[]]`, `[{}]`, `[null]`}, "object": {`{}`, `{"a":[]}`},
		"number": {`1`, `-1`, `1.5`, `1e400`, `-1e400`, `99999999999999999999`, `1e-400`},
	}
	takes := func(f reflect.StructField) []string {
		switch t := f.Type; {
		case f.Name == "Stop" || f.Name == "Prompt" && t != reflect.TypeFor[*string](), f.Name == "Content":
			return []string{"string", "list"}
		case t.Kind() == reflect.Pointer && t.Elem().Kind() == reflect.Struct, f.Name == "LogitBias", f.Name == "ChatTemplateKwargs":
			return []string{"object"}
		case t.Kind() == reflect.Slice:
			return []string{"list"}
		case strings.Contains(t.String(), "string"):
			return []string{"string"}
		case strings.Contains(t.String(), "bool"):
			return []string{"bool"}
		}
		return []string{"number"}
	}
	var all []bad
	for _, s := range of {
		for _, f := range reflect.VisibleFields(s.into) {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name == "" {
				continue
			}
			for kind, list := range values {
				right := false
				for _, k := range takes(f) {
					right = right || k == kind
				}
				for _, v := range list {
					// What is of the right type may be valid.
					one := bad{"wrong type", s.path, with(s.body, name, v), 400, name}
					if right {
						one.status, one.param = 0, ""
					}
					all = append(all, one)
				}
			}
		}
	}
	return all
}

// with sets a member of an object, in place of the one that it has.
func with(object, name, value string) string {
	members := map[string]any{}
	if err := json.Unmarshal([]byte(object), &members); err != nil {
		panic(err)
	}
	delete(members, name)
	text, err := json.Marshal(members, json.Deterministic(true))
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf(`{%q:%s,%s`, name, value, text[1:])
}

// cutShort ends good requests after each of their bytes.
func cutShort(of []sample) []bad {
	var all []bad
	for _, s := range of {
		for i := range len(s.body) {
			all = append(all, bad{"cut short", s.path, s.body[:i], 400, ""})
		}
	}
	return all
}

// damaged changes bytes of good requests. The seed is fixed, so that what fails
// fails again.
func damaged(of []sample, n int) []bad {
	rng := rand.New(rand.NewPCG(6, 2000))
	const bytesToPut = "{}[]\",:\\0-e.tnu\x00\xff\xc3 "
	all := make([]bad, n)
	for i := range all {
		s := of[i%len(of)]
		b := []byte(s.body)
		for range 1 + rng.IntN(4) {
			at := rng.IntN(len(b))
			switch rng.IntN(5) {
			case 0:
				b[at] = bytesToPut[rng.IntN(len(bytesToPut))]
			case 1:
				b[at] ^= 1 << rng.IntN(8)
			case 2:
				b = append(b[:at], b[at+1:]...)
			case 3:
				b = append(b[:at], append([]byte{bytesToPut[rng.IntN(len(bytesToPut))]}, b[at:]...)...)
			case 4: // a part comes twice
				part := bytes.Clone(b[at:min(at+1+rng.IntN(20), len(b))])
				b = append(b[:at], append(part, b[at:]...)...)
			}
		}
		all[i] = bad{"damaged", s.path, string(b), 0, ""}
	}
	return all
}

// byHand holds what people and programs have sent to servers to break them.
func byHand() []bad {
	deep := strings.Repeat(`[`, 100_000)
	nested := strings.Repeat(`{"a":`, 100_000)
	keys := func(n int, same bool) string {
		var b strings.Builder
		for i := range n {
			if same {
				i = 0
			}
			fmt.Fprintf(&b, `"%x":0,`, i)
		}
		return b.String()
	}
	chat := func(content string) string {
		return `{"model":"tiny","messages":[{"role":"user","content":` + content + `}]}`
	}
	more := func(member string) string { return strings.Replace(plainBody, `{`, `{`+member+`,`, 1) }
	list := func(n int, one string) string { return strings.TrimSuffix(strings.Repeat(one+",", n), ",") }
	all := []bad{
		{"deep lists", chatPath, more(`"zz":` + deep), 400, ""},
		{"deep lists, closed", chatPath, more(`"zz":` + deep + strings.Repeat(`]`, 100_000)), 400, ""},
		{"deep objects", chatPath, more(`"zz":` + nested + `1` + strings.Repeat(`}`, 100_000)), 400, ""},
		{"deep content", chatPath, chat(deep), 400, ""},
		{"deep prompt", textPath, `{"model":"tiny","prompt":` + deep, 400, ""},
		{"deep in a string", chatPath, chat(`"` + deep + `"`), 200, ""},
		{"many keys", chatPath, more(strings.TrimSuffix(keys(400_000, false), ",")), 400, ""},
		{"many keys within", chatPath, more(`"zz":{` + strings.TrimSuffix(keys(300_000, false), ",") + `}`), 400, ""},
		{"many equal keys", chatPath, more(strings.TrimSuffix(keys(12_000, true), ",")), 400, "0"},
		{"many keys that are allowed", chatPath, more(strings.TrimSuffix(keys(16_000, false), ",")), 0, ""},
		{"a million keys", chatPath, more(strings.TrimSuffix(keys(1_000_000, false), ",")), 413, ""},
		{"a long key", chatPath, more(`"` + strings.Repeat("k", 1<<20) + `":1`), 200, ""},
		{"a long key twice", chatPath, more(`"` + strings.Repeat("k", 1<<20) + `":1,"` + strings.Repeat("k", 1<<20) + `":1`), 400, "kkk"},
		{"model twice", chatPath, more(`"model":"tiny"`), 400, "model"},
		{"escaped name twice", chatPath, more(`"\u006dodel":"tiny"`), 400, "model"},
		{"role twice", chatPath, `{"model":"tiny","messages":[{"role":"user","role":"user","content":"x"}]}`, 400, "messages[0].role"},
		{"lone high surrogate", chatPath, chat(`"\ud800"`), 400, "messages[0].content"},
		{"lone low surrogate", chatPath, chat(`"\udc00"`), 400, "messages[0].content"},
		{"surrogates turned round", chatPath, chat(`"\udc00\ud800"`), 400, "messages[0].content"},
		{"half a surrogate pair", chatPath, chat(`"\ud83dx"`), 400, "messages[0].content"},
		{"a surrogate pair", chatPath, chat(`"\ud83d\ude00"`), 200, ""},
		{"surrogate in UTF-8", chatPath, chat("\"\xed\xa0\x80\""), 400, "messages[0].content"},
		{"overlong slash", chatPath, chat("\"\xc0\xaf\""), 400, "messages[0].content"},
		{"above U+10FFFF", chatPath, chat("\"\xf4\x90\x80\x80\""), 400, "messages[0].content"},
		{"half a rune", chatPath, chat("\"\xe2\x98\""), 400, "messages[0].content"},
		{"Latin-1", textPath, "{\"model\":\"tiny\",\"prompt\":\"caf\xe9\"}", 400, "prompt"},
		{"NUL in a string", chatPath, chat("\"a\x00b\""), 400, "messages[0].content"},
		{"newline in a string", chatPath, chat("\"a\nb\""), 400, "messages[0].content"},
		{"bad escape", chatPath, chat(`"\x41"`), 400, "messages[0].content"},
		{"short escape", chatPath, chat(`"\u12"`), 400, "messages[0].content"},
		{"BOM", chatPath, "\ufeff" + plainBody, 400, ""},
		{"UTF-16", chatPath, "\xff\xfe{\x00}\x00", 400, ""},
		{"gzip", chatPath, "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03", 400, ""},
		{"single quotes", chatPath, `{'model':'tiny'}`, 400, ""},
		{"comment", chatPath, more(`/* x */"zz":1`), 400, ""},
		{"trailing comma", chatPath, strings.TrimSuffix(plainBody, `}`) + `,}`, 400, ""},
		{"missing comma", chatPath, strings.Replace(plainBody, `,`, ` `, 1), 400, ""},
		{"two objects", chatPath, plainBody + plainBody, 400, ""},
		{"a list of requests", chatPath, `[` + plainBody + `]`, 400, ""},
		{"a string", chatPath, `"x"`, 400, ""},
		{"NaN", chatPath, more(`"temperature":NaN`), 400, "temperature"},
		{"Infinity", chatPath, more(`"temperature":-Infinity`), 400, "temperature"},
		{"leading zero", chatPath, more(`"seed":01`), 400, ""},
		{"plus", chatPath, more(`"seed":+1`), 400, "seed"},
		{"hexadecimal", chatPath, more(`"seed":0x1`), 400, ""},
		{"no fraction", chatPath, more(`"temperature":1.`), 400, ""},
		{"True", chatPath, more(`"stream":True`), 400, "stream"},
		{"a long number", chatPath, more(`"temperature":1` + strings.Repeat("0", 1<<20)), 400, "temperature"},
		{"a long fraction", chatPath, more(`"temperature":0.` + strings.Repeat("0", 1<<20) + `1`), 200, ""},
		{"a large exponent", chatPath, more(`"temperature":1e99999999999999999999`), 400, "temperature"},
		{"huge n", chatPath, more(`"n":1000000000`), 400, "n"},
		{"huge n of completions", textPath, `{"model":"tiny","prompt":["a","b","c"],"n":128}`, 400, "n"},
		{"n -1", chatPath, more(`"n":-9223372036854775808`), 400, "n"},
		{"huge max_tokens", chatPath, more(`"max_tokens":9223372036854775807`), 400, "max_tokens"},
		{"max_tokens above an int64", chatPath, more(`"max_tokens":9223372036854775808`), 400, "max_tokens"},
		{"huge best_of", textPath, `{"model":"tiny","prompt":"a","best_of":1000000000}`, 400, "best_of"},
		{"huge logprobs", textPath, `{"model":"tiny","prompt":"a","logprobs":1000000000}`, 400, "logprobs"},
		{"huge top_logprobs", chatPath, more(`"logprobs":true,"top_logprobs":1000000000`), 400, "top_logprobs"},
		{"many messages", chatPath, `{"model":"tiny","messages":[` + list(8_000, `{"role":"user","content":"x"}`) + `]}`, 400, "messages"},
		{"many parts", chatPath, chat(`[` + list(8_000, `{"type":"text","text":"x"}`) + `]`), 400, "messages[0].content"},
		{"many stops", chatPath, more(`"stop":[` + list(100_000, `"x"`) + `]`), 400, "stop"},
		{"many biases", chatPath, more(`"logit_bias":{` + strings.TrimSuffix(keys(16_000, false), ",") + `}`), 400, "logit_bias"},
		{"many bad words", chatPath, more(`"bad_words":[` + list(100_000, `"x"`) + `]`), 400, "bad_words"},
		{"many prompts", textPath, `{"model":"tiny","prompt":[` + list(100_000, `""`) + `]}`, 400, "prompt"},
		{"many tokens", textPath, `{"model":"tiny","prompt":[` + list(1_500_000, `1`) + `]}`, 400, "prompt"},
		{"many tokens to decode", "/detokenize", `{"tokens":[` + list(1_500_000, `1`) + `]}`, 400, "tokens"},
		{"a long model", chatPath, strings.Replace(plainBody, "tiny", strings.Repeat("x", 1<<20), 1), 404, "model"},
		{"a long role", chatPath, strings.Replace(plainBody, `"user"`, `"`+strings.Repeat("x", 1<<20)+`"`, 1), 400, "messages[0].role"},
		{"a model with markup", chatPath, strings.Replace(plainBody, "tiny", `<script>\r\nSet-Cookie: a=b`, 1), 404, "model"},
		{"tools", chatPath, more(`"tools":[{"type":"function"}]`), 400, "tools"},
		{"a format", chatPath, more(`"response_format":{"type":"json_schema","json_schema":{}}`), 400, "response_format"},
		{"a negative token", textPath, `{"model":"tiny","prompt":[-1]}`, 400, "prompt[0]"},
		{"a token that does not exist", textPath, `{"model":"tiny","prompt":[[1],[2,100]]}`, 400, "prompt[1][1]"},
		{"a mixed prompt", textPath, `{"model":"tiny","prompt":[1,"a"]}`, 400, "prompt[1]"},
	}
	for _, s := range good {
		path := s.path
		all = append(all, bad{"empty", path, "", 400, ""}, bad{"blank", path, " \t\r\n", 400, ""}, bad{"null", path, "null", 400, ""},
			bad{"NULs", path, strings.Repeat("\x00", 4096), 400, ""}, bad{"too large", path, strings.Repeat(" ", api.MaxBodyBytes+1), 413, ""},
			bad{"blanks to the limit", path, strings.Repeat(" ", api.MaxBodyBytes), 400, ""})
	}
	return all
}

// TestMalformedHTTP sends bytes that are not, or not quite, HTTP. None may be
// answered with success or with the server's fault, none may be left waiting, and
// nothing behind them may be taken for a request.
func TestMalformedHTTP(t *testing.T) {
	s := serve(t, &fakeWorker{})
	chat := func(headers, rest string) string {
		return "POST " + chatPath + " HTTP/1.1\r\nHost: x\r\n" + headers + "\r\n\r\n" + rest
	}
	hidden := get("/version")
	raws := []string{
		"nonsense\r\n\r\n", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "SSH-2.0-x\r\n", "\x00\x00\x00\x00\r\n\r\n",
		"GET\r\n\r\n", "GET /health\r\n\r\n", "GET  /health HTTP/1.1\r\nHost: x\r\n\r\n", "GET /health FTP/1.1\r\nHost: x\r\n\r\n",
		"GET /he\x00alth HTTP/1.1\r\nHost: x\r\n\r\n", "GET /he\nalth HTTP/1.1\r\nHost: x\r\n\r\n", "GET http://a b/health HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET http://[::1/health HTTP/1.1\r\nHost: x\r\n\r\n", "GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n", "GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
		"FOO /health HTTP/1.1\r\nHost: x\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", "CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n", "TRACE /health HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /health HTTP/1.1\r\n\r\n", "GET /health HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", "GET /health HTTP/1.1\nHost: x\n\n",
		"GET /health HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n", "GET /health HTTP/1.1\r\nHost: x\r\n A: b\r\n\r\n", "GET /health HTTP/1.1\r\nHost: x\r\nA\x00B: b\r\n\r\n",
		"GET /health HTTP/1.1\r\nHost: x\r\nA: b\x00c\r\n\r\n", "GET /health HTTP/1.1\r\nHost: x\r\n: b\r\n\r\n", "GET /health HTTP/1.1\r\nHost: x\r\nnocolon\r\n\r\n",
		"GET /health HTTP/1.1\r\nHost: x\r\nA: " + strings.Repeat("a", 1<<20) + "\r\n\r\n", "GET /" + strings.Repeat("a", 1<<20) + " HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /health HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("A: b\r\n", 10_000) + "\r\n",
		chat("Content-Length: 5\r\nTransfer-Encoding: chunked", "0\r\n\r\n"+hidden), chat("Transfer-Encoding: chunked\r\nContent-Length: 5", "0\r\n\r\n"+hidden),
		chat("Content-Length: 2\r\nContent-Length: 2", "{}"+hidden), chat("Content-Length: 2\r\nContent-Length: 3", "{}"+hidden),
		chat("Content-Length: 2, 2", "{}"+hidden), chat("Content-Length: +2", "{}"+hidden), chat("Content-Length: -1", "{}"+hidden), chat("Content-Length: 0x2", "{}"+hidden),
		chat("Content-Length: 99999999999999999999", "{}"+hidden), chat("Content-Length: 5000000", "{}"), chat("Content-Length: ", "{}"+hidden), chat("Content-Length: two", "{}"+hidden),
		chat("Transfer-Encoding: gzip, chunked", "0\r\n\r\n"+hidden), chat("Transfer-Encoding: xchunked", "0\r\n\r\n"+hidden), chat("Transfer-Encoding: chunked, identity", "0\r\n\r\n"+hidden),
		chat("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "0\r\n\r\n"+hidden), chat("Transfer-Encoding : chunked", "0\r\n\r\n"+hidden),
		chat("Transfer-Encoding: chunked", "zz\r\n\r\n"+hidden), chat("Transfer-Encoding: chunked", "-1\r\n\r\n"+hidden), chat("Transfer-Encoding: chunked", "ffffffffffffffff\r\n\r\n"+hidden),
		chat("Transfer-Encoding: chunked", "2\r\n{}xx0\r\n\r\n"+hidden), chat("Transfer-Encoding: chunked", "2\n{}\n0\n\n"+hidden), chat("Transfer-Encoding: chunked", "2;"+strings.Repeat("x", 1<<20)+"\r\n{}\r\n0\r\n\r\n"),
		chat("Content-Encoding: gzip\r\nContent-Length: 2", "{}"), chat("Content-Encoding: br\r\nContent-Length: 2", "{}"),
		chat("Content-Length: 10", "{}"), chat("Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 2", "--"),
	}
	var wg sync.WaitGroup
	for _, raw := range raws {
		wg.Go(func() {
			conn := s.dial()
			_, _ = io.WriteString(conn.conn, raw) // the server may not want all of it
			closeWrite(conn)
			answer, err := io.ReadAll(conn.r)
			if n := strings.Count(string(answer), "HTTP/1.1 "); err != nil || n != 1 || answer[9] != '4' || strings.Contains(string(answer), `"version"`) {
				t.Errorf("%.120q: %v, answer %.300q", raw, err, answer)
			}
		})
	}
	wg.Wait()
	if res, _ := s.dial().do(get("/health")); res.StatusCode != 200 {
		t.Errorf("/health afterwards: %d", res.StatusCode)
	}
}

func closeWrite(c *client) {
	if tcp, ok := c.conn.(interface{ CloseWrite() error }); ok {
		_ = tcp.CloseWrite()
	}
}

// TestPipelined has good and bad requests follow each other on one connection:
// as many answers come, in their order.
func TestPipelined(t *testing.T) {
	s := serve(t, &fakeWorker{})
	conn := s.dial()
	var raw strings.Builder
	want := []int{}
	for range 50 {
		for _, one := range []struct {
			raw    string
			status int
		}{{post(chatPath, `{`), 400}, {get("/health"), 200}, {post(textPath, `{"model":"x","prompt":"a"}`), 404}, {post(chatPath, plainBody), 200}, {get("/nothing"), 404}, {get(chatPath), 405}} {
			raw.WriteString(one.raw)
			want = append(want, one.status)
		}
	}
	conn.send(raw.String())
	for i, status := range want {
		res := conn.receive()
		if body := conn.body(res); res.StatusCode != status {
			t.Fatalf("answer %d: status %d, want %d: %s", i, res.StatusCode, status, body)
		}
	}
}
