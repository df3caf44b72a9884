package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-run/holdfast/internal/plot"
)

// words returns a text of about n tokens that no other seed has.
func words(seed, n int) string {
	list := []string{"river", "mountain", "seven", "blue", "stone", "answer", "light", "winter", "garden", "music", "paper", "horse"}
	var b strings.Builder
	for i := range n {
		seed = seed*1103515245 + 12345 + i
		b.WriteString(list[(seed>>16&0x7fff)%len(list)])
		b.WriteByte(' ')
	}
	return b.String()
}

// client leads a session on a worker.
type client struct {
	w         *worker
	id, model string
}

func newClient(w *worker, durability string) (*client, error) {
	c := &client{w: w}
	var err error
	if c.model, err = w.model(); err != nil {
		return nil, err
	}
	var made struct{ ID string }
	err = w.call("POST", "/v1/sessions", map[string]any{"durability": durability}, &made)
	c.id = made.ID
	return c, err
}

// turn asks for some tokens behind a new message.
func (c *client) turn(content string, tokens int) (*reply, error) {
	return c.w.stream("/v1/sessions/"+c.id+"/turns", map[string]any{
		"model": c.model, "max_tokens": tokens, "temperature": 0, "ignore_eos": true,
		"stream_options": map[string]any{"include_usage": true},
		"messages":       []map[string]string{{"role": "user", "content": content}},
	})
}

// again is turn with the answer thrown away: the session is as it was before, so
// that the same turn can be taken once more.
func (c *client) again(content string, tokens int) (*reply, error) {
	var was struct{ Head string }
	if err := c.w.call("GET", "/v1/sessions/"+c.id, nil, &was); err != nil {
		return nil, err
	}
	got, err := c.turn(content, tokens)
	if err != nil {
		return nil, err
	}
	return got, c.w.call("POST", "/v1/sessions/"+c.id+"/rewind", map[string]string{"turn": was.Head}, nil)
}

// blockBytes returns the size of a block of the session's KV, of which it has so
// many tokens and a few.
func (c *client) blockBytes(tokens int) (int64, error) {
	var s struct {
		Bytes struct{ Total int64 }
	}
	if err := c.w.call("GET", "/v1/sessions/"+c.id, nil, &s); err != nil {
		return 0, err
	}
	return s.Bytes.Total / int64(max(tokens/32, 1)), nil
}

// resume measures the time to the first token of a turn after a restart, by the
// length of the context.
func resume(c *config, found *section) error {
	t := table{
		Title:  "Time to the first token of a short turn, by the context before it",
		Notes:  "Milliseconds, medians; the turn is the same each time. Warm: no restart before it. After a restart the KV comes from the page cache or, dropped from there, from the disk; or it is computed again from the log. The bar is the warm turn + the bytes at 0.8 of the speed at which the same files were read in the same run + 20 ms. llama-server: slot restored after a restart, and the same turn; its restore verifies nothing.",
		Header: []string{"tokens", "KV MB", "warm", "restart, page cache", "bar", "restart, disk", "bar", "recomputed", "llama-server", "loaded tokens"},
	}
	chart := plot.Chart{Title: "Resume after a restart", X: "tokens of context", Y: "ms to the first token"}
	series := []plot.Series{{Name: "warm"}, {Name: "page cache"}, {Name: "disk"}, {Name: "recomputed"}, {Name: "llama-server"}}
	for _, n := range []int{500, 1000, 2000, 4000, 7000} {
		if n > c.longest {
			break
		}
		figures := [5][]time.Duration{}
		var bars [2][]time.Duration
		var cached int
		var mb float64
		for round := range c.rounds {
			got, err := resumeOnce(c, n, round)
			if err != nil {
				return err
			}
			for i := range got.took {
				figures[i] = append(figures[i], got.took[i])
			}
			for i := range bars {
				bars[i] = append(bars[i], got.bars[i])
			}
			cached, mb, n = got.cached, float64(got.bytes)/1e6, got.tokens
		}
		row := []any{n, mb, median(figures[0]), median(figures[1]), median(bars[0]), median(figures[2]), median(bars[1]), median(figures[3]), median(figures[4]), cached}
		t.add(row...)
		for i := range series {
			if m := median(figures[i]); m > 0 {
				series[i].X, series[i].Y = append(series[i].X, float64(n)), append(series[i].Y, m.Seconds()*1e3)
			}
		}
	}
	chart.Series = series
	found.Charts, found.Tables = append(found.Charts, chart), append(found.Tables, t)
	return nil
}

// resumed is one round of resume, of a context of so many tokens.
type resumed struct {
	took   [5]time.Duration // warm, page cache, disk, recomputed, llama-server
	bars   [2]time.Duration
	tokens int
	cached int
	bytes  int64
}

func resumeOnce(c *config, n, round int) (*resumed, error) {
	store, err := os.MkdirTemp("", "holdfast-sessions-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(store)
	got := &resumed{}
	w, err := startHoldfast(c, store, "--restore", "load")
	if err != nil {
		return nil, err
	}
	cl, err := newClient(w, "turn")
	if err != nil {
		return nil, err
	}
	text := words(1000*round+n, n)
	if _, err := cl.turn(text, 8); err != nil {
		return nil, err
	}
	warm, err := cl.again("And then?", 8)
	if err != nil {
		return nil, err
	}
	got.took[0], got.tokens = warm.first, warm.prompt
	block, err := cl.blockBytes(warm.prompt)
	if err != nil {
		return nil, err
	}
	for i, mode := range []string{"load", "load", "recompute"} {
		if err := w.stop(); err != nil {
			return nil, err
		}
		speed, err := readStore(store, i == 1)
		if err != nil {
			return nil, err
		}
		if w, err = startHoldfast(c, store, "--restore", mode); err != nil {
			return nil, err
		}
		cl.w = w
		if i == 1 {
			if err := dropStore(store); err != nil { // what the start read again, too
				return nil, err
			}
		}
		again, err := cl.again("And then?", 8)
		if err != nil {
			return nil, err
		}
		got.took[1+i] = again.first
		if i < 2 {
			got.cached = again.cached
			got.bytes = int64(again.cached/32) * block
			got.bars[i] = got.took[0] + time.Duration(float64(got.bytes)/(0.8*speed)*1e9) + 20*time.Millisecond
		}
	}
	if err := w.stop(); err != nil || c.peer == "" {
		return got, err
	}
	got.took[4], err = peerResume(c, text)
	return got, err
}

// kvFiles lists the files of a store's blocks.
func kvFiles(store string) ([]string, error) { return filepath.Glob(filepath.Join(store, "kv", "*")) }

// readStore reads the blocks' files as far as they are written, cold or from the
// page cache, and returns bytes a second.
func readStore(store string, cold bool) (float64, error) {
	if cold {
		if err := dropStore(store); err != nil {
			return 0, err
		}
	}
	files, err := kvFiles(store)
	if err != nil {
		return 0, err
	}
	var total int64
	buf := make([]byte, 1<<20)
	began := time.Now()
	for _, name := range files {
		var stat unix.Stat_t
		if err := unix.Stat(name, &stat); err != nil {
			return 0, err
		}
		f, err := os.Open(name)
		if err != nil {
			return 0, err
		}
		n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{io.LimitReader(f, min(stat.Size, stat.Blocks*512))}, buf)
		f.Close()
		if err != nil {
			return 0, err
		}
		total += n
	}
	return float64(total) / time.Since(began).Seconds(), nil
}

// dropStore has the kernel forget the files of a store's blocks.
func dropStore(store string) error {
	files, err := kvFiles(store)
	if err != nil {
		return err
	}
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		err = f.Sync()
		if err == nil {
			err = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
		}
		f.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// peerResume measures the same with llama-server: a slot that was saved is
// restored after a restart, and asked for the next turn.
func peerResume(c *config, text string) (time.Duration, error) {
	slots, err := os.MkdirTemp("", "holdfast-slots-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(slots)
	w, err := startPeer(c, slots)
	if err != nil {
		return 0, err
	}
	ask := func(messages ...map[string]string) (*reply, error) {
		return w.stream("/v1/chat/completions", map[string]any{
			"max_tokens": 8, "temperature": 0, "ignore_eos": true, "cache_prompt": true, "id_slot": 0, "messages": messages,
		})
	}
	user := func(s string) map[string]string { return map[string]string{"role": "user", "content": s} }
	first, err := ask(user(text))
	if err != nil {
		return 0, err
	}
	if err := w.call("POST", "/slots/0?action=save", map[string]string{"filename": "s"}, nil); err != nil {
		return 0, err
	}
	if err := w.stop(); err != nil {
		return 0, err
	}
	if w, err = startPeer(c, slots); err != nil {
		return 0, err
	}
	began := time.Now()
	if err := w.call("POST", "/slots/0?action=restore", map[string]string{"filename": "s"}, nil); err != nil {
		return 0, err
	}
	restored := time.Since(began)
	next, err := ask(user(text), map[string]string{"role": "assistant", "content": first.text}, user("And then?"))
	if err != nil {
		return 0, err
	}
	return restored + next.first, w.stop()
}

func median(all []time.Duration) time.Duration {
	if len(all) == 0 {
		return 0
	}
	all = slices.Clone(all)
	slices.Sort(all)
	return all[len(all)/2]
}

// quantile returns the value that a part q of all is not above.
func quantile(all []time.Duration, q float64) time.Duration {
	if len(all) == 0 {
		return 0
	}
	all = slices.Clone(all)
	slices.Sort(all)
	return all[min(int(q*float64(len(all))), len(all)-1)]
}
