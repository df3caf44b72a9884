package loadgen

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
)

// fake is a server as a transport: it answers without a network, in the time of
// a synctest bubble.
type fake struct {
	perWord  int                                   // tokens of a word; 0 means 1
	template int                                   // tokens around a prompt
	answer   func(i int, r request, w *answer)     // writes the i-th stream
	refuse   func(i int) (status int, text string) // a status other than 200, or 0

	mu       sync.Mutex
	asked    []request // streams, in the order in which they came
	inFlight int
	most     int // streams at once
}

// answer is the body of a stream.
type answer struct {
	ctx   context.Context
	w     *io.PipeWriter
	leave func()
}

func (a *answer) say(format string, args ...any) {
	_, _ = fmt.Fprintf(a.w, "data: "+format+"\n\n", args...) // a reader that left is the test's wish
}

func (a *answer) token(text string) { a.say(`{"choices":[{"delta":{"content":%q}}]}`, text) }

// end closes a stream as servers do.
func (a *answer) end(prompt, cached, made int) {
	a.say(`{"choices":[],"usage":{"prompt_tokens":%d,"completion_tokens":%d,"prompt_tokens_details":{"cached_tokens":%d}}}`, prompt, made, cached)
	a.leave()
	a.say("[DONE]")
}

// wait sleeps in the server, unless the client leaves.
func (a *answer) wait(d time.Duration) {
	select {
	case <-time.After(d):
	case <-a.ctx.Done():
	}
}

func (f *fake) RoundTrip(req *http.Request) (*http.Response, error) {
	res := &http.Response{StatusCode: 200, Header: http.Header{}, Request: req}
	if req.URL.Path == "/v1/models" {
		res.Body = io.NopCloser(strings.NewReader(`{"data":[{"id":"first"},{"id":"second"}]}`))
		return res, nil
	}
	var r request
	if err := json.UnmarshalRead(req.Body, &r); err != nil {
		return nil, err
	}
	prompt := f.template + max(1, f.perWord)*len(strings.Fields(r.Messages[0].Content))
	if !r.Stream {
		res.Body = io.NopCloser(strings.NewReader(fmt.Sprintf(`{"usage":{"prompt_tokens":%d}}`, prompt)))
		return res, nil
	}
	f.mu.Lock()
	i := len(f.asked)
	f.asked = append(f.asked, r)
	f.inFlight++
	f.most = max(f.most, f.inFlight)
	f.mu.Unlock()
	leave := sync.OnceFunc(func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.inFlight--
	})
	if f.refuse != nil {
		if status, text := f.refuse(i); status != 0 {
			leave()
			res.StatusCode, res.Body = status, io.NopCloser(strings.NewReader(text))
			return res, nil
		}
	}
	pr, pw := io.Pipe()
	res.Body = pr
	stop := context.AfterFunc(req.Context(), func() { pr.CloseWithError(req.Context().Err()) })
	go func() {
		defer stop()
		defer leave()
		f.answer(i, r, &answer{req.Context(), pw, leave})
		pw.Close()
	}()
	return res, nil
}
