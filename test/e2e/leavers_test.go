package e2e

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// leavers is how many clients leave in each phase.
const leavers = 100

// long reports whether to test at full counts, as make test-long does.
func long() bool { return os.Getenv("HOLDFAST_LONG") != "" }

// holdings is what a server has taken from the machine.
type holdings struct{ goroutines, fds, blocks, connections int }

func (s *server) holdings() holdings {
	s.t.Helper()
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.cmd.Process.Pid))
	if err != nil {
		s.t.Fatal(err)
	}
	return holdings{s.metric("go_goroutines"), len(fds), s.metric("holdfast_kv_blocks_used"), s.metric("holdfast_connections")}
}

// returnTo waits until the server has given back what it took since it had was.
// The HTTP library keeps goroutines for some seconds for connections to come.
func (s *server) returnTo(was holdings) {
	s.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		now := s.holdings()
		if now.goroutines <= was.goroutines && now.fds <= was.fds && now.blocks == was.blocks && now.connections == was.connections {
			return
		}
		if time.Now().After(end) {
			s.t.Fatalf("the server holds %+v, and held %+v before", now, was)
		}
	}
}

// leaveAll has clients leave, and returns how long after it all of them were
// free: as long as it takes on a machine that does other things as well, so
// nothing is held to it here. How many steps it may take is engine's
// TestLeaversAreGoneAfterAStep, how soon the server notices server's TestClientLeaves.
func (s *server) leaveAll(leave []func()) time.Duration {
	s.t.Helper()
	before := s.metric("holdfast_cancelled_requests_total")
	start := time.Now()
	for _, f := range leave {
		f()
	}
	s.until("holdfast_cancelled_requests_total", before+len(leave))
	return time.Since(start)
}

// TestLeavers has clients leave, on requests that would run for long, in each
// phase: their blocks, goroutines and sockets are given back. make bench-surface keeps
// how long it took.
func TestLeavers(t *testing.T) {
	t.Parallel()   // it waits, mostly
	prefills := 10 // one after the other: of prompts that wait for each other only one is computed
	if long() {
		prefills = leavers
	}
	s := serveEndless(t, "--max-sequences", fmt.Sprint(leavers))
	s.do("POST", "/v1/chat/completions", chatBody("endless", "one", `,"max_tokens":1`))
	was := s.holdings()
	for _, stream := range []string{"", `,"stream":true`} {
		var held []func()
		for range leavers {
			held = append(held, s.send("/v1/chat/completions", endless(stream)))
		}
		s.until("holdfast_running_sequences", leavers)
		var queued []func()
		for range leavers {
			queued = append(queued, s.send("/v1/chat/completions", endless(stream)))
		}
		s.until("holdfast_waiting_requests", leavers)
		took := s.leaveAll(queued)
		if n := s.metric("holdfast_running_sequences"); n != leavers {
			t.Errorf("%d sequences run, want %d", n, leavers)
		}
		leaverFigure(t, leavers, "in the queue", stream, took)
		took = s.leaveAll(held)
		s.until("holdfast_kv_blocks_used", 0)
		leaverFigure(t, leavers, "in decode", stream, took)

		made, longest := s.metric("holdfast_completion_tokens_total"), time.Duration(0)
		for i := range prefills {
			longest = max(longest, s.leavePrefill(i, stream))
		}
		if n := s.metric("holdfast_completion_tokens_total"); n != made {
			t.Errorf("%d tokens were made of prompts that nobody waited for", n-made)
		}
		leaverFigure(t, prefills, "in prefill, one after the other", stream, longest)
	}
	s.until("holdfast_kv_blocks_used", 0)
	s.returnTo(was)
}

func leaverFigure(t *testing.T, n int, where, stream string, took time.Duration) {
	t.Helper()
	if stream != "" {
		where += ", streaming"
	}
	figure(t, fmt.Sprintf("%d clients leave %s", n, where), fmt.Sprintf("free after %v", took.Round(100*time.Microsecond)), "100 ms")
}

// leavePrefill has a client leave whose prompt takes any machine many seconds.
func (s *server) leavePrefill(i int, stream string) time.Duration {
	s.t.Helper()
	const tokens = 60000
	prompt := fmt.Sprintf("[%d,%d", 3+i, 3+i) + strings.Repeat(",5", tokens) + "]" // each its own, or it would be found computed
	leave := s.send("/v1/completions", `{"model":"endless","prompt":`+prompt+stream+`}`)
	s.until("holdfast_running_sequences", 1)
	took := s.leaveAll([]func(){leave})
	s.until("holdfast_running_sequences", 0)
	return took
}

// TestStorms has many clients come at once, each with its own idea of when to go:
// amid its request, at once, in the queue, amid the answer. After each storm
// nothing is left of it.
func TestStorms(t *testing.T) {
	t.Parallel()
	const clients = 200
	storms := 2
	if long() {
		storms = 200
	}
	s := serveEndless(t, "--max-sequences", "8")
	s.do("POST", "/v1/chat/completions", chatBody("endless", "one", `,"max_tokens":1`))
	was := s.holdings()
	const seed = 7
	for storm := range storms {
		done := make(chan error, clients)
		for i := range clients {
			go func() { done <- s.storm(rand.New(rand.NewPCG(seed, uint64(storm*clients+i)))) }()
		}
		for range clients {
			if err := <-done; err != nil {
				t.Fatalf("storm %d of seed %d: %v", storm, seed, err)
			}
		}
		s.until("holdfast_running_sequences", 0)
		s.until("holdfast_waiting_requests", 0)
		s.until("holdfast_queued_prompt_tokens", 0)
		s.until("holdfast_kv_blocks_used", 0)
		s.until("holdfast_connections", was.connections)
	}
	// Whoever stays is served.
	if text, _ := s.ask(chatBody("endless", "one", `,"max_tokens":3`)); text == "" {
		t.Error("no answer after the storms")
	}
	s.returnTo(was)
}

// storm is one client.
func (s *server) storm(r *rand.Rand) error {
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		return err
	}
	defer conn.Close()
	body := endless([]string{"", `,"stream":true`, `,"n":3`, `,"n":2,"stream":true`}[r.IntN(4)])
	if r.IntN(2) == 0 { // it would be answered soon
		body = strings.Replace(body, "120000", fmt.Sprint(1+r.IntN(20)), 1)
	}
	raw := fmt.Sprintf("POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	if r.IntN(4) == 0 {
		raw = raw[:r.IntN(len(raw))]
	}
	if _, err := conn.Write([]byte(raw)); err != nil {
		return err
	}
	if r.IntN(2) == 0 {
		return nil
	}
	// Patience of its own, within which some get a part of the answer.
	if err := conn.SetReadDeadline(time.Now().Add(time.Duration(r.IntN(50)) * time.Millisecond)); err != nil {
		return err
	}
	_, _ = conn.Read(make([]byte, 1+r.IntN(2000)))
	if r.IntN(3) == 0 { // a reset instead of an end
		return conn.(*net.TCPConn).SetLinger(0)
	}
	return nil
}
