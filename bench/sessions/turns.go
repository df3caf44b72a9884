package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/holdfast-run/holdfast/internal/plot"
)

// onNewStore starts a worker on a store of its own, with a session; remove takes
// the store away again.
func onNewStore(c *config) (cl *client, remove func(), err error) {
	store, err := os.MkdirTemp("", "holdfast-sessions-")
	if err != nil {
		return nil, nil, err
	}
	w, err := startHoldfast(c, store)
	if err == nil {
		cl, err = newClient(w, "turn")
	}
	if err != nil {
		os.RemoveAll(store)
		return nil, nil, err
	}
	return cl, func() { os.RemoveAll(store) }, nil
}

// turns leads a session of 43 turns, the median of agents' sessions (vllm#57103),
// and counts what is written.
func turns(c *config, found *section) error {
	const count, words43, made = 43, 120, 16
	cl, remove, err := onNewStore(c)
	if err != nil {
		return err
	}
	defer remove()
	w := cl.w
	ours := plot.Series{Name: "holdfast, durable after each turn"}
	var took []time.Duration
	tokens := 0
	for i := range count {
		got, err := cl.turn(words(i, words43), made)
		if err != nil {
			return err
		}
		tokens = got.prompt + made
		took = append(took, got.first)
		ours.X, ours.Y = append(ours.X, float64(i+1)), append(ours.Y, got.first.Seconds()*1e3)
	}
	if err := w.call("POST", "/v1/sessions/"+cl.id+"/checkpoint", nil, nil); err != nil {
		return err
	}
	stored, err := w.metric("holdfast_kv_blocks_stored_total")
	if err != nil {
		return err
	}
	if err := w.stop(); err != nil {
		return err
	}
	t := table{
		Title:  fmt.Sprintf("A session of %d turns, %d tokens at its end", count, tokens),
		Notes:  "Time to the first token in ms, and what was written for it. Blocks written are beside the full blocks of the session's tokens. llama-server is the same turns, each saved to its slot's file.",
		Header: []string{"", "turn 1", "turn 43", "median", "blocks written", "of full blocks", "save, ms at turn 43", "MB written"},
	}
	full := (tokens - 1) / 32
	t.add("holdfast", took[0], took[count-1], median(took), stored, stored/float64(full), "behind the turn", "")
	chart := plot.Chart{Title: "43 turns", X: "turn", Y: "ms to the first token", Series: []plot.Series{ours}}
	if c.peer != "" {
		peer, err := peerTurns(c, count, words43, made)
		if err != nil {
			return err
		}
		t.add("llama-server", peer.took[0], peer.took[count-1], median(peer.took), "", "", peer.saves[count-1], float64(peer.bytes)/1e6)
		s := plot.Series{Name: "llama-server, slot saved after each turn"}
		with := plot.Series{Name: "llama-server, with the save"}
		for i := range peer.took {
			s.X, s.Y = append(s.X, float64(i+1)), append(s.Y, peer.took[i].Seconds()*1e3)
			with.X, with.Y = append(with.X, float64(i+1)), append(with.Y, (peer.took[i]+peer.saves[i]).Seconds()*1e3)
		}
		chart.Series = append(chart.Series, s, with)
	}
	found.Charts, found.Tables = append(found.Charts, chart), append(found.Tables, t)
	return nil
}

// peerLog is what llama-server took for the turns, and wrote.
type peerLog struct {
	took, saves []time.Duration
	bytes       int64
}

func peerTurns(c *config, count, n, made int) (*peerLog, error) {
	slots, err := os.MkdirTemp("", "holdfast-slots-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(slots)
	w, err := startPeer(c, slots)
	if err != nil {
		return nil, err
	}
	log := &peerLog{}
	var messages []map[string]string
	for i := range count {
		messages = append(messages, map[string]string{"role": "user", "content": words(i, n)})
		got, err := w.stream("/v1/chat/completions", map[string]any{
			"max_tokens": made, "temperature": 0, "ignore_eos": true, "cache_prompt": true, "id_slot": 0, "messages": messages,
		})
		if err != nil {
			return nil, err
		}
		messages = append(messages, map[string]string{"role": "assistant", "content": got.text})
		began := time.Now()
		if err := w.call("POST", "/slots/0?action=save", map[string]string{"filename": "s"}, nil); err != nil {
			return nil, err
		}
		log.took, log.saves = append(log.took, got.first), append(log.saves, time.Since(began))
		info, err := os.Stat(filepath.Join(slots, "s"))
		if err != nil {
			return nil, err
		}
		log.bytes += info.Size()
	}
	return log, w.stop()
}

// forks measures forks of a long session: the call, and the first turn of a fork.
func forks(c *config, found *section) error {
	cl, remove, err := onNewStore(c)
	if err != nil {
		return err
	}
	defer remove()
	w := cl.w
	got, err := cl.turn(words(1, 7850), 8)
	if err != nil {
		return err
	}
	if err := w.call("POST", "/v1/sessions/"+cl.id+"/checkpoint", nil, nil); err != nil {
		return err
	}
	before, err := w.metric("holdfast_kv_blocks_stored_total")
	if err != nil {
		return err
	}
	var all []time.Duration
	var made struct{ Data []struct{ ID string } }
	for range 50 {
		began := time.Now()
		if err := w.call("POST", "/v1/sessions/"+cl.id+"/fork", map[string]any{"n": 1}, &made); err != nil {
			return err
		}
		all = append(all, time.Since(began))
	}
	after, err := w.metric("holdfast_kv_blocks_stored_total")
	if err != nil {
		return err
	}
	fork := &client{w: w, id: made.Data[0].ID, model: cl.model}
	next, err := fork.turn("And?", 8)
	if err != nil {
		return err
	}
	t := table{
		Title:  fmt.Sprintf("Fork of a session of %d tokens", got.prompt+8),
		Notes:  "Milliseconds over HTTP, its record synced before the answer. A fork copies token IDs, and no KV.",
		Header: []string{"p50", "p99", "KV blocks written", "first token of the fork's turn", "prompt tokens", "found computed"},
	}
	t.add(quantile(all, .5), quantile(all, .99), after-before, next.first, next.prompt, next.cached)
	found.Tables = append(found.Tables, t)
	return w.stop()
}
