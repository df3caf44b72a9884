package server

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-run/holdfast/api"
	"github.com/holdfast-run/holdfast/engine"
)

// TestDeadlines has the worker's time be over in each phase.
func TestDeadlines(t *testing.T) {
	queue, over := fmt.Errorf("wrapped: %w", engine.ErrQueueTime), fmt.Errorf("wrapped: %w", engine.ErrTime)
	for _, c := range []struct {
		name    string
		worker  fakeWorker
		maxTime time.Duration
		status  int
		code    string
	}{
		{"in the queue", fakeWorker{endErr: queue}, 0, 503, api.CodeOverloaded},
		{"in the queue, with much time", fakeWorker{endErr: queue}, time.Hour, 503, api.CodeOverloaded},
		{"before the first token", fakeWorker{endErr: over}, 1, 504, api.CodeDeadline},
		{"after it", fakeWorker{pieces: hello[:2], endErr: over}, time.Hour, 504, api.CodeDeadline},
	} {
		t.Run(c.name, func(t *testing.T) {
			inputs := make(chan engine.Request, 1)
			c.worker.inputs = inputs
			s := serve(t, &c.worker, func(cfg *Config) { cfg.MaxTime, cfg.MaxQueueTime = c.maxTime, time.Minute })
			res, body := s.dial().do(post(chatPath, plainBody))
			wantError(t, res, body, c.status, api.TypeServer, c.code, "", "")
			if got := res.Header.Get("Retry-After") != ""; got != (c.status == 503) {
				t.Errorf("Retry-After %q", res.Header.Get("Retry-After"))
			}
			if r := wait(t, inputs); r.Time != c.maxTime || r.QueueTime != time.Minute {
				t.Errorf("request %+v", r)
			}
			if text := s.log.String(); strings.Contains(text, "level=ERROR") || !strings.Contains(text, fmt.Sprint("status=", c.status)) {
				t.Errorf("log %s", text)
			}
			_, body = s.dial().do(post(chatPath, eventBody))
			wait(t, inputs)
			if len(c.worker.pieces) > 0 && (!strings.Contains(body, "Hel") || !strings.HasSuffix(body, doneEvent)) || !strings.Contains(body, `"code":"`+c.code+`"`) {
				t.Errorf("stream %s", body)
			}
		})
	}
}
