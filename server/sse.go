package server

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/valyala/fasthttp"

	"github.com/holdfast-run/holdfast/api"
	"github.com/holdfast-run/holdfast/engine"
)

// answerEvents hands the completion over to an event stream, which closes it.
func (c *completion) answerEvents(ctx *fasthttp.RequestCtx, first piece) {
	ctx.SetStatusCode(200)
	ctx.SetContentType("text/event-stream; charset=utf-8")
	ctx.Response.Header.Set("Cache-Control", "no-cache")
	ctx.Response.Header.Set("X-Accel-Buffering", "no") // proxies shall pass each event on
	e := &eventStream{c: c, first: &first, enc: newChunkEncoder(c)}
	e.extendDeadline = func() error { return ctx.SetWriteDeadline(time.Now().Add(c.s.cfg.WriteTimeout)) }
	ctx.SetBodyStream(e, -1)
}

// eventStream is the body of a streamed answer. The HTTP library reads it on
// the connection's own goroutine and writes out and flushes what each Read
// returns, so a Read blocks for the next piece, and an event is on its way
// before the next Read.
type eventStream struct {
	c              *completion
	enc            chunkEncoder
	first          *piece // the first one, until it is sent
	extendDeadline func() error

	buf  []byte
	rest []byte // of buf, not yet read
	done bool   // buf holds the last event
}

// Read implements io.Reader.
func (e *eventStream) Read(p []byte) (int, error) {
	if len(e.rest) == 0 {
		if e.done {
			return 0, io.EOF
		}
		if err := e.fill(); err != nil {
			return 0, err
		}
	}
	if err := e.extendDeadline(); err != nil {
		return 0, err
	}
	n := copy(p, e.rest)
	e.rest = e.rest[n:]
	return n, nil
}

// Close implements io.Closer; the HTTP library calls it when the answer is
// written or cannot be.
func (e *eventStream) Close() error {
	if e.c.err == nil && !e.done {
		e.c.err = errClientLeft // a write failed
	}
	e.c.close()
	return nil
}

// fill sets rest to the next events. It returns an error if nobody is left to
// send them to.
func (e *eventStream) fill() (err error) {
	defer func() {
		if v := recover(); v != nil {
			e.c.s.logPanic(e.c.request, e.c.kind.route, v)
			e.c.err = fmt.Errorf("server: panic: %v", v)
			e.end(internalError(e.c.request))
			err = nil
		}
	}()
	e.buf = e.buf[:0]
	if e.first != nil {
		for i := range e.c.generations {
			if e.wanted(0) {
				e.buf = e.enc.appendFirst(e.buf, i, e.promptIDs(i))
			}
		}
		e.add(*e.first)
		e.first = nil
	}
	for len(e.buf) == 0 {
		p, err := e.c.next()
		if err == nil {
			e.add(p)
			continue
		}
		e.c.err = e.c.reason(err)
		switch {
		case errors.Is(e.c.err, errClientLeft):
			return e.c.err
		case errors.Is(err, io.EOF) && e.c.err == err:
			e.c.err = errNoReason
		}
		told := toAPI(e.c.err, e.c.request)
		if told.Status == 500 {
			e.c.s.log.Error("stream failed", "request", e.c.request, "error", e.c.err)
		}
		e.end(told)
	}
	e.rest = e.buf
	return nil
}

// add appends the events of one piece, and after the last one those that end
// the stream.
func (e *eventStream) add(p piece) {
	if ids := e.ids(&p); p.Text != "" || len(p.tokens) > 0 || ids != "" {
		if e.wanted(max(p.Tokens, e.enc.number+1)) {
			e.buf = e.enc.appendText(e.buf, p.index, p.Text, e.logprobs(p.tokens), ids)
		}
	}
	if p.Finish == "" {
		return
	}
	e.enc.setSession(e.c.sessionState())
	if e.wanted(max(p.Tokens, e.enc.number) + 1) {
		e.buf = e.enc.appendFinish(e.buf, p.index, p.Finish)
	}
	if e.c.open > 0 {
		return
	}
	if e.c.job.IncludeUsage() && e.wanted(e.enc.number+1) {
		e.buf = e.enc.appendUsage(e.buf, usageOf(e.c.usage()))
	}
	e.buf = append(e.buf, doneEvent...)
	e.done = true
}

// wanted gives the next chunk its number, and reports whether the client wants
// it. The number of a text is that of the tokens so far, or the next one: a turn
// that is read again, or goes on elsewhere, has the same ones.
func (e *eventStream) wanted(number int) bool {
	e.enc.number = number
	return e.c.turn == nil || number > e.c.turn.after
}

// logprobs returns what a chunk says of its tokens: nothing, mostly.
func (e *eventStream) logprobs(tokens []placed) string {
	if !e.c.job.logprobs {
		return "null"
	}
	text, err := json.Marshal(e.c.kind.logprobs(e.c, tokens))
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return string(text)
}

// end appends an error and ends the stream.
func (e *eventStream) end(told *api.Error) {
	body, err := json.Marshal(api.ErrorBody{Error: told})
	if err != nil {
		panic("BUG: " + err.Error())
	}
	e.buf = append(e.buf, "data: "...)
	e.buf = append(e.buf, body...)
	e.buf = append(e.buf, "\n\n"...)
	e.buf = append(e.buf, doneEvent...)
	e.done = true
	e.rest = e.buf
}

const doneEvent = "data: [DONE]\n\n"

// chunkForm is what the choice of a chunk looks like after its index.
type chunkForm struct {
	object string // the chunk's
	first  string // of the chunk before all pieces of a choice; empty for none
	before string // a piece of text
	after  string // a piece of text, and before its log-probabilities
	finish string // before the reason in the last chunk of a choice
}

// chunkEncoder writes the events of one stream. All of a chunk but its index
// and text is the same for the whole stream, and made once. Its methods append,
// and allocate nothing if there is room.
type chunkEncoder struct {
	head []byte // up to the choice's index
	form *chunkForm
	tail string // after the choices
	none int    // length of head without a choice

	// Of a session's turn.
	numbered bool
	number   int    // of the chunk
	session  string // a further member of the last chunks
}

func newChunkEncoder(c *completion) chunkEncoder {
	head := []byte(`data: {"id":`)
	head = appendString(head, c.id)
	head = append(head, `,"object":"`+c.kind.chunks.object+`","created":`...)
	head = fmt.Appendf(head, "%d", c.created)
	head = append(head, `,"model":`...)
	head = appendString(head, c.info.ID)
	if c.info.Class != "" {
		head = append(head, `,"system_fingerprint":`...)
		head = appendString(head, c.info.Class)
	}
	head = append(head, `,"choices":[`...)
	none := len(head)
	head = append(head, `{"index":`...)
	tail := ""
	if c.job.IncludeUsage() {
		tail = `,"usage":null`
	}
	return chunkEncoder{head: head, form: &c.kind.chunks, tail: tail, none: none, numbered: c.turn != nil}
}

// setSession has the chunks from now on tell of the session.
func (e *chunkEncoder) setSession(state *api.SessionState) {
	if state != nil {
		e.session = `,"session":` + string(mustMarshal(state))
	}
}

// appendEnd appends what ends every chunk.
func (e *chunkEncoder) appendEnd(b []byte) []byte {
	if e.numbered {
		b = append(b, `,"sequence_number":`...)
		b = strconv.AppendInt(b, int64(e.number), 10)
	}
	b = append(b, e.session...)
	return append(b, "}\n\n"...)
}

// appendChoice appends a chunk up to what follows a choice's index.
func (e *chunkEncoder) appendChoice(b []byte, index int) []byte {
	b = append(b, e.head...)
	b = strconv.AppendInt(b, int64(index), 10)
	return append(b, ',')
}

// appendFirst appends the chunk before all pieces of a choice, if there is one;
// more are further members of the chunk, each after a comma.
func (e *chunkEncoder) appendFirst(b []byte, index int, more string) []byte {
	if e.form.first == "" {
		return b
	}
	b = e.appendChoice(b, index)
	b = append(b, e.form.first...)
	b = append(b, ']')
	b = append(b, more...)
	b = append(b, e.tail...)
	return e.appendEnd(b)
}

// appendText appends a chunk with a piece of a completion and, as JSON, the
// log-probabilities of its tokens; more are further members of the choice.
func (e *chunkEncoder) appendText(b []byte, index int, text, logprobs, more string) []byte {
	b = e.appendChoice(b, index)
	b = append(b, e.form.before...)
	b = appendString(b, text)
	b = append(b, e.form.after...)
	b = append(b, logprobs...)
	b = append(b, `,"finish_reason":null`...)
	b = append(b, more...)
	return e.closeChoice(b)
}

// appendFinish appends the last chunk of a choice.
func (e *chunkEncoder) appendFinish(b []byte, index int, why engine.FinishReason) []byte {
	b = e.appendChoice(b, index)
	b = append(b, e.form.finish...)
	b = appendString(b, string(why))
	return e.closeChoice(b)
}

// closeChoice appends what ends a choice and its chunk.
func (e *chunkEncoder) closeChoice(b []byte) []byte {
	b = append(b, "}]"...)
	b = append(b, e.tail...)
	return e.appendEnd(b)
}

// appendUsage appends the chunk that has no choice.
func (e *chunkEncoder) appendUsage(b []byte, u api.Usage) []byte {
	b = append(b, e.head[:e.none]...)
	b = fmt.Appendf(b, `],"usage":{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d,"prompt_tokens_details":{"cached_tokens":%d}}`,
		u.PromptTokens, u.CompletionTokens, u.TotalTokens, u.PromptTokensDetails.CachedTokens)
	return e.appendEnd(b)
}

// appendString appends s as a JSON string; bytes that are not UTF-8 become
// replacement characters.
func appendString(b []byte, s string) []byte {
	b, _ = jsontext.AppendQuote(b, s)
	return b
}
