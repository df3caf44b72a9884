package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// TestDrainUnderLoad sends SIGTERM while many clients ask one thing after the
// other: each request that the server let in is answered in full, and the
// others are refused or find nobody.
func TestDrainUnderLoad(t *testing.T) {
	s := serve(t, "--model", tinyModel, "--max-sequences", "4", "--drain-timeout", "10m")
	const clients, before = 32, 100 // answers before the signal
	var whole, refused atomic.Int64
	loaded := make(chan struct{})
	var once sync.Once
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: i%2 == 0}}
			defer client.CloseIdleConnections()
			for {
				status, err := askWhole(client, s.url, i)
				switch {
				case status == 200 && err == nil:
					if whole.Add(1) == before {
						once.Do(func() { close(loaded) })
					}
				case status == 503:
					refused.Add(1)
				case status != 0:
					t.Errorf("client %d: status %d, %v", i, status, err)
					return
				default: // the connection was not taken, or closed before anything came
					return
				}
			}
		})
	}
	select {
	case <-loaded:
	case <-time.After(patience):
		t.Error("the clients are not answered")
	}
	s.signal(syscall.SIGTERM)
	wg.Wait()
	if err := s.wait(); err != nil {
		t.Errorf("exit: %v", err)
	}
	// What the server let in leaves a line.
	logged := map[string]int64{}
	for _, m := range regexp.MustCompile(`msg=completion .* status=(\d+)`).FindAllStringSubmatch(s.text(), -1) {
		logged[m[1]]++
	}
	if logged["200"] != whole.Load() || len(logged) != 1 {
		t.Errorf("the server let in %v, the clients have %d answers", logged, whole.Load())
	}
	t.Logf("%d answers, %d refusals", whole.Load(), refused.Load())
}

// askWhole asks for a completion and reads all of it. The status is 0 if nothing
// came.
func askWhole(client *http.Client, url string, i int) (status int, err error) {
	more := `,"temperature":0,"ignore_eos":true,"max_tokens":20`
	if i%3 == 0 {
		more += `,"stream":true`
	}
	req, err := http.NewRequestWithContext(context.Background(), "POST", url+"/v1/chat/completions", strings.NewReader(chatBody("tiny-chat", fmt.Sprint(i), more)))
	if err != nil {
		return 0, err
	}
	res, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode == 200 && !strings.Contains(string(body), `"finish_reason":"length"`) {
		err = fmt.Errorf("an answer without an end: %s", body)
	}
	return res.StatusCode, err
}
