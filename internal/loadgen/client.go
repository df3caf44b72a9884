package loadgen

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// client speaks to one server.
type client struct {
	cfg  Config
	http *http.Client
	fit  fit
}

// sample is what one request felt. Times count from the run's start.
type sample struct {
	intended, sent time.Duration
	first, last    time.Duration   // of the pieces of text
	gaps           []time.Duration // between them
	end            time.Duration
	prompt, cached int // tokens, as the server counts them
	output         int
	failure        string // empty, or a status or word
	reason         string // of a failure, for people
}

// Words for what is no status.
const (
	failConnection = "connection"
	failTimeout    = "timeout"
	failCut        = "cut off"   // the stream ended before its end
	failStream     = "in stream" // an error after the status 200
	failEmpty      = "no tokens"
)

const (
	maxChunk  = 1 << 20 // bytes of a line of a stream
	maxAnswer = 1 << 20 // bytes of a short answer
)

type message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

type request struct {
	Model         string         `json:"model"`
	Messages      []message      `json:"messages"`
	MaxTokens     int            `json:"max_tokens"`
	Temperature   float64        `json:"temperature"`
	IgnoreEOS     bool           `json:"ignore_eos,omitzero"`
	Stream        bool           `json:"stream"`
	StreamOptions *streamOptions `json:"stream_options,omitzero"`
}

type streamOptions struct {
	IncludeUsage bool `json:"include_usage"`
}

type usage struct {
	Prompt     int `json:"prompt_tokens"`
	Completion int `json:"completion_tokens"`
	Details    struct {
		Cached int `json:"cached_tokens"`
	} `json:"prompt_tokens_details"`
}

type chunk struct {
	Choices []struct {
		Delta struct {
			Content   string `json:"content"`
			Reasoning string `json:"reasoning_content"`
		} `json:"delta"`
	} `json:"choices"`
	Usage *usage         `json:"usage"`
	Error jsontext.Value `json:"error"`
}

// prepare finds the model's name and how many words make a prompt, which also
// warms the server up.
func (c *client) prepare(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	if c.cfg.Model == "" {
		var list struct {
			Data []struct {
				ID string `json:"id"`
			} `json:"data"`
		}
		if err := c.ask(ctx, http.MethodGet, "/v1/models", nil, &list); err != nil {
			return err
		}
		if len(list.Data) == 0 {
			return fmt.Errorf("%s: the server lists no model: give --model", c.cfg.URL)
		}
		c.cfg.Model = list.Data[0].ID
	}
	return c.calibrate(ctx)
}

// calibrate counts the tokens of prompts that grow up to the first request's.
func (c *client) calibrate(ctx context.Context) error {
	const short = 8
	few, err := c.tokens(ctx, -1, short)
	if err != nil {
		return err
	}
	typical := c.cfg.Arrivals[0].Prompt
	more := max(2*short, short*typical/max(few, 1)) // for fewer tokens than that, with the template's
	for try := range 2 {
		many, err := c.tokens(ctx, -2-try, more)
		if err != nil {
			return err
		}
		c.fit = fit{words: short, tokens: few, slope: float64(many-few) / float64(more-short)}
		if few < 1 || c.fit.slope <= 0 {
			return fmt.Errorf("%s: the server counts %d tokens for %d words and %d for %d: it must report usage", c.cfg.URL, few, short, many, more)
		}
		more = max(2*short, c.fit.count(typical))
	}
	if least := few - int(c.fit.slope*short); typical <= least {
		return fmt.Errorf("prompt tokens: %d: the model's template alone takes %d: ask for more", typical, least)
	}
	return nil
}

// tokens asks the server how many tokens a prompt has.
func (c *client) tokens(ctx context.Context, i, words int) (int, error) {
	body, err := json.Marshal(request{
		Model: c.cfg.Model, MaxTokens: 1, Messages: []message{{"user", prompt(c.cfg.Seed, i, words)}},
	})
	if err != nil {
		return 0, err
	}
	var answer struct {
		Usage usage `json:"usage"`
	}
	err = c.ask(ctx, http.MethodPost, "/v1/chat/completions", body, &answer)
	return answer.Usage.Prompt, err
}

// ask sends a request whose answer is one JSON object.
func (c *client) ask(ctx context.Context, method, path string, body []byte, answer any) error {
	res, err := c.send(ctx, method, path, body)
	if err != nil {
		return fmt.Errorf("%s: %w: is a server there?", c.cfg.URL, err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("%s: %w", c.cfg.URL, err)
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s%s: status %d: %.300s", c.cfg.URL, path, res.StatusCode, text)
	}
	if err := json.Unmarshal(text, answer); err != nil {
		return fmt.Errorf("%s%s: %w: is it a server of OpenAI's kind?", c.cfg.URL, path, err)
	}
	return nil
}

func (c *client) send(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.cfg.URL, "/")+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	// Servers close idle connections, some after a number of requests, and a
	// request may cross that on its way. A connection that was used before and
	// ends without a byte of an answer is so tried once more, on a new one: that
	// is what this header, which is not sent, asks of net/http.
	req.Header["Idempotency-Key"] = []string{}
	if req.Header.Set("User-Agent", "holdfast-bench"); body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.cfg.Key != "" {
		req.Header.Set("Authorization", "Bearer "+c.cfg.Key)
	}
	return c.http.Do(req)
}

// measure sends the i-th request and watches its stream. The clock of the
// request has run since intended.
func (c *client) measure(ctx context.Context, i int, start, intended time.Time) (s sample) {
	a := c.cfg.Arrivals[i]
	body, err := json.Marshal(request{
		Model: c.cfg.Model, Messages: []message{{"user", prompt(c.cfg.Seed, i, c.fit.count(a.Prompt))}},
		MaxTokens: a.Output, IgnoreEOS: c.cfg.IgnoreEOS, Stream: true, StreamOptions: &streamOptions{true},
	})
	if err != nil {
		panic("BUG: " + err.Error()) // words and numbers
	}
	ctx, cancel := context.WithDeadline(ctx, intended.Add(c.cfg.Timeout))
	defer cancel()
	s.intended, s.sent = intended.Sub(start), time.Since(start)
	defer func() { s.end = time.Since(start) }()
	res, err := c.send(ctx, http.MethodPost, "/v1/chat/completions", body)
	if err != nil {
		return s.failed(ctx, err, failConnection)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(res.Body, 300)) // the status says enough
		s.failure, s.reason = strconv.Itoa(res.StatusCode), string(text)
		return s
	}
	if err := s.watch(res.Body, start); err != nil {
		return s.failed(ctx, err, failCut)
	}
	return s
}

// failed names an error.
func (s sample) failed(ctx context.Context, err error, word string) sample {
	s.reason = err.Error()
	var stream *streamError
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		s.failure = failTimeout
	case errors.As(err, &stream):
		s.failure = stream.word
	default:
		s.failure = word
	}
	return s
}

// streamError is a stream that says itself that something is wrong.
type streamError struct{ word, text string }

func (e *streamError) Error() string { return e.text }

// watch reads a stream to its end and notes when each piece of text comes.
func (s *sample) watch(body io.Reader, start time.Time) error {
	lines := bufio.NewScanner(body)
	lines.Buffer(make([]byte, 0, 4<<10), maxChunk)
	pieces := 0
	for lines.Scan() {
		data, ok := bytes.CutPrefix(lines.Bytes(), []byte("data:"))
		if !ok {
			continue
		}
		if data = bytes.TrimSpace(data); string(data) == "[DONE]" {
			if s.output = max(s.output, pieces); s.output == 0 {
				return &streamError{failEmpty, "the stream ended without a token"}
			}
			return nil
		}
		now := time.Since(start)
		var c chunk
		if err := json.Unmarshal(data, &c); err != nil {
			return &streamError{failStream, err.Error()}
		}
		if len(c.Error) > 0 && string(c.Error) != "null" {
			return &streamError{failStream, string(c.Error)}
		}
		if c.Usage != nil {
			s.prompt, s.output, s.cached = c.Usage.Prompt, c.Usage.Completion, c.Usage.Details.Cached
		}
		for _, choice := range c.Choices {
			if choice.Delta.Content == "" && choice.Delta.Reasoning == "" {
				continue
			}
			if pieces++; pieces == 1 {
				s.first = now
			} else {
				s.gaps = append(s.gaps, now-s.last)
			}
			s.last = now
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return io.ErrUnexpectedEOF
}
