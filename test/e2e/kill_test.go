package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// tierVariable is kernels/cpu.TierVariable, of the servers to come.
const tierVariable = "HOLDFAST_CPU_TIER"

// A killing is a session that is led on a worker that is killed again and again,
// and what the client has of it.
type killing struct {
	t     *testing.T
	rng   *rand.Rand
	args  []string // of serve
	s     *server
	id    string
	kills map[string]int
}

// event is what a client sees of an event of a turn's stream.
type event struct {
	Sequence int `json:"sequence_number"`
	Choices  []struct {
		Delta struct {
			Content string `json:"content"`
		} `json:"delta"`
		Finish *string `json:"finish_reason"`
	} `json:"choices"`
	Error *struct {
		Message string `json:"message"`
	} `json:"error"`
}

// seen is what a client has of a turn.
type seen struct {
	text string
	last int // sequence number of the last event; -1 for none
	done bool
	turn string
}

// stream reads a turn's events as they come, until they end or until says so.
func (k *killing) stream(method, path, body string, to *seen, until func(*seen) bool) {
	req, err := http.NewRequestWithContext(k.t.Context(), method, k.s.url+path, strings.NewReader(body))
	if err != nil {
		k.t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return // killed before it answered
	}
	defer res.Body.Close()
	if res.StatusCode != 200 {
		text, _ := io.ReadAll(res.Body)
		k.t.Fatalf("%s %s: %d %s", method, path, res.StatusCode, text)
	}
	to.turn = res.Header.Get("X-Turn-Id")
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		if data == "[DONE]" {
			to.done = true
			until(to)
			return
		}
		var e event
		if err := json.Unmarshal([]byte(data), &e); err != nil || e.Error != nil {
			k.t.Fatalf("event %s: %v", data, err)
		}
		if e.Sequence <= to.last {
			k.t.Errorf("event %d came behind %d: %s", e.Sequence, to.last, data)
		}
		to.last = e.Sequence
		for _, c := range e.Choices {
			to.text += c.Delta.Content
		}
		if until(to) {
			return
		}
	}
}

// kill ends the worker as the kernel does, and starts another.
func (k *killing) kill(phase string) {
	k.kills[phase]++
	k.s.signal(syscall.SIGKILL)
	_ = k.s.wait()
	k.restart()
}

func (k *killing) restart() { k.s = serve(k.t, k.args...) }

// turnOf is what the worker says of a turn.
type turnOf struct {
	ID    string `json:"id"`
	State string `json:"state"`
}

func (k *killing) turns() []turnOf {
	status, _, body := k.s.do("GET", "/v1/sessions/"+k.id+"/turns", "")
	var list struct {
		Data []turnOf `json:"data"`
	}
	if err := json.Unmarshal([]byte(body), &list); err != nil || status != 200 {
		k.t.Fatalf("turns: %d %s, %v", status, body, err)
	}
	return list.Data
}

// create makes a session.
func (k *killing) create(durability string) {
	status, _, body := k.s.do("POST", "/v1/sessions", fmt.Sprintf(`{"durability":%q}`, durability))
	var made struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal([]byte(body), &made); err != nil || status != 200 && status != 201 {
		k.t.Fatalf("create: %d %s, %v", status, body, err)
	}
	k.id = made.ID
}

// lead runs a turn to its end, the worker being killed on the way, mostly.
func (k *killing) lead(i int, body string) string {
	got := &seen{last: -1}
	phase := []string{"prefill", "decode", "decode", "commit", "behind", ""}[k.rng.IntN(6)]
	after := 1 + k.rng.IntN(30)
	killed := false
	until := func(s *seen) bool {
		if phase == "decode" && !s.done && s.last >= after || phase == "commit" && s.done {
			k.kill(phase)
			killed = true
		}
		return killed
	}
	if phase == "prefill" {
		timer := time.AfterFunc(time.Duration(k.rng.IntN(12))*time.Millisecond, func() { _ = k.s.cmd.Process.Signal(syscall.SIGKILL) })
		k.stream("POST", "/v1/sessions/"+k.id+"/turns", body, got, func(*seen) bool { return false })
		timer.Stop()
		_ = k.s.cmd.Process.Signal(syscall.SIGKILL)
		_ = k.s.wait()
		k.kills[phase]++
		k.restart()
		killed = true
	} else {
		k.stream("POST", "/v1/sessions/"+k.id+"/turns", body, got, until)
	}
	if phase == "behind" && !killed {
		time.Sleep(time.Duration(k.rng.IntN(20)) * time.Millisecond) // blocks are being written
		k.kill(phase)
		killed = true
	}
	if !killed {
		return got.text
	}
	all := k.turns()
	switch {
	case len(all) < i+1:
		if got.last >= 0 {
			k.t.Fatalf("turn %d: its client saw event %d, and it is gone", i, got.last)
		}
		k.stream("POST", "/v1/sessions/"+k.id+"/turns", body, got, func(*seen) bool { return false })
	case got.done && all[i].State != "committed":
		k.t.Fatalf("turn %d: its end was told, and it is %s", i, all[i].State)
	case !got.done:
		path := fmt.Sprintf("/v1/sessions/%s/turns/%s?stream=true", k.id, all[i].ID)
		if got.last >= 0 {
			path += fmt.Sprintf("&starting_after=%d", got.last)
		}
		k.stream("GET", path, "", got, func(*seen) bool { return false })
	}
	if !got.done {
		k.t.Fatalf("turn %d, killed in %q, has no end: %+v", i, phase, got)
	}
	return got.text
}

// body is a turn's.
func turnBodyOf(model string, i, tokens int, words string) string {
	params := []string{`"temperature":0`, `"temperature":1,"top_p":0.9,"top_k":40`,
		`"temperature":0.8,"min_p":0.02,"repetition_penalty":1.3,"frequency_penalty":0.4,"presence_penalty":0.2`}[i%3]
	return fmt.Sprintf(`{"model":%q,"stream":true,"seed":%d,"max_tokens":%d,"ignore_eos":true,%s,"messages":[{"role":"user","content":%q}]}`,
		model, i, tokens, params, words)
}

// killings leads sessions of some turns, each on a worker that is never killed and
// on one that is, until there were so many kills.
func killings(t *testing.T, model, name string, n, turns, tokens, words int, args, again []string) {
	rng := rand.New(rand.NewPCG(11, uint64(n)))
	base := append([]string{"--model", model, "--restore", "load"}, args...)
	calm := &killing{t: t, args: append(base, "--store", t.TempDir())}
	calm.restart()
	store := t.TempDir()
	k := &killing{t: t, rng: rng, args: append(base, "--store", store), kills: map[string]int{}}
	k.restart()
	for total, c := 0, 0; total < n; c++ {
		if again != nil && total >= n/2 { // the rest with other kernels and other threads
			t.Setenv(tierVariable, "avx2")
			k.args = append(append([]string{"--model", model, "--restore", "load"}, again...), "--store", store)
		}
		calm.create("memory")
		k.create([]string{"turn", "step"}[c%2])
		for i := range turns {
			var text []string
			for range 1 + rng.IntN(words) {
				text = append(text, []string{"river", "mountain", "seven", "blue", "why", "the", "answer", "tell"}[rng.IntN(8)])
			}
			body := turnBodyOf(name, i, tokens, strings.Join(text, " "))
			want := &seen{last: -1}
			calm.stream("POST", "/v1/sessions/"+calm.id+"/turns", body, want, func(*seen) bool { return false })
			if got := k.lead(i, body); got != want.text {
				t.Fatalf("session %d, turn %d: %q, want %q", c, i, got, want.text)
			}
		}
		total = 0
		for _, count := range k.kills {
			total += count
		}
	}
	t.Logf("kills: %v", k.kills)
}

// TestKill: the real worker is killed in any phase of a turn; the client comes
// back with the number of the last event that it saw, and has each token once.
func TestKill(t *testing.T) {
	n := 20
	if long() {
		n = 200
	}
	killings(t, tinyModel, "tiny-chat", n, 3, 40, 10, []string{"--threads", "1"}, nil)
}

// TestKillRealModel is the same with the real model and kernels; half of it goes
// on with other kernels and another number of threads.
func TestKillRealModel(t *testing.T) {
	needReal(t)
	if !long() {
		t.Skip("part of 'make test-long': 100 kills of the real model")
	}
	killings(t, realModel, realName, 100, 3, 60, 60, []string{"--threads", "2"}, []string{"--threads", "1"})
}
