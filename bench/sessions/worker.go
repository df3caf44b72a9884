package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// caller asks each time on a connection of its own: llama-server closes them when
// it likes.
var caller = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// worker is a running 'holdfast serve' or llama-server.
type worker struct {
	cmd *exec.Cmd
	url string
}

var readyLine = regexp.MustCompile(`^ready: .+ on (http://\S+) after `)

// startHoldfast starts a worker on a store and waits until it is ready.
func startHoldfast(c *config, store string, args ...string) (*worker, error) {
	args = append([]string{"serve", "--model", c.model, "--listen", "127.0.0.1:0", "--threads", fmt.Sprint(c.threads),
		"--store", store, "--log-level", "error"}, args...)
	w := &worker{cmd: exec.Command(c.holdfast, args...)}
	stderr, err := w.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := w.cmd.Start(); err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		if m := readyLine.FindStringSubmatch(lines.Text()); m != nil {
			w.url = m[1]
			go io.Copy(io.Discard, stderr)
			return w, nil
		}
	}
	return nil, fmt.Errorf("holdfast did not start: %w", w.cmd.Wait())
}

// startPeer starts llama-server with a folder for its slots.
func startPeer(c *config, slots string) (*worker, error) {
	const addr = "127.0.0.1:18431"
	w := &worker{url: "http://" + addr}
	w.cmd = exec.Command(c.peer, "-m", c.model, "-t", fmt.Sprint(c.threads), "-np", "1", "-c", "8192", "-fa", "on", "-cram", "0",
		"--host", "127.0.0.1", "--port", "18431", "--slot-save-path", slots+"/")
	if err := w.cmd.Start(); err != nil {
		return nil, err
	}
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if res, err := caller.Get(w.url + "/health"); err == nil {
			res.Body.Close()
			if res.StatusCode == 200 {
				return w, nil
			}
		}
	}
	return nil, errors.Join(errors.New("llama-server did not start"), w.stop())
}

// stop ends a worker as an operator does.
func (w *worker) stop() error {
	if err := w.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	err := w.cmd.Wait()
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		return nil // llama-server
	}
	return err
}

// call sends a request and decodes its answer.
func (w *worker) call(method, path string, body, answer any) error {
	var text []byte
	var err error
	if body != nil {
		if text, err = json.Marshal(body); err != nil {
			return err
		}
	}
	req, err := http.NewRequest(method, w.url+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := caller.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %d %s", method, path, res.StatusCode, got)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(got, answer)
}

// reply is what a stream told.
type reply struct {
	first  time.Duration   // from the request to the first piece of text
	gaps   []time.Duration // between pieces
	text   string
	prompt int
	cached int
}

// stream sends a request for a stream and reads it to its end.
func (w *worker) stream(path string, body map[string]any) (*reply, error) {
	body["stream"] = true
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(context.Background(), "POST", w.url+path, bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	began := time.Now()
	res, err := caller.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != 200 {
		got, _ := io.ReadAll(res.Body)
		return nil, fmt.Errorf("%s: %d %s", path, res.StatusCode, got)
	}
	r, last := &reply{}, began
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok || data == "[DONE]" {
			continue
		}
		var e struct {
			Content string `json:"content"` // llama-server's own route
			Choices []struct {
				Delta struct{ Content string } `json:"delta"`
			} `json:"choices"`
			Usage *struct {
				Prompt  int `json:"prompt_tokens"`
				Details struct {
					Cached int `json:"cached_tokens"`
				} `json:"prompt_tokens_details"`
			} `json:"usage"`
			Error any `json:"error"`
		}
		if err := json.Unmarshal([]byte(data), &e); err != nil || e.Error != nil {
			return nil, fmt.Errorf("%s: %s: %w", path, data, err)
		}
		piece := e.Content
		for _, c := range e.Choices {
			piece += c.Delta.Content
		}
		if piece != "" {
			now := time.Now()
			if r.first == 0 {
				r.first = now.Sub(began)
			} else {
				r.gaps = append(r.gaps, now.Sub(last))
			}
			last = now
			r.text += piece
		}
		if e.Usage != nil {
			r.prompt, r.cached = e.Usage.Prompt, e.Usage.Details.Cached
		}
	}
	return r, lines.Err()
}

// metric reads one of Holdfast's metrics.
func (w *worker) metric(name string) (n float64, err error) {
	res, err := caller.Get(w.url + "/metrics")
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			_, err = fmt.Sscan(value, &n)
			return n, err
		}
	}
	return 0, fmt.Errorf("no metric %s", name)
}

// model returns the name that the worker's model has.
func (w *worker) model() (string, error) {
	var list struct {
		Data []struct{ ID string } `json:"data"`
	}
	if err := w.call("GET", "/v1/models", nil, &list); err != nil {
		return "", err
	}
	if len(list.Data) == 0 {
		return "", os.ErrNotExist
	}
	return list.Data[0].ID, nil
}
