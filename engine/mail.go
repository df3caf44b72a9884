package engine

import (
	"sync"

	"github.com/holdfast-run/holdfast/scheduler"
)

// mail hands drawn tokens from the loop to the one goroutine that reads a
// generation.
type mail struct {
	more chan struct{} // holds a token when there is something to read

	mu       sync.Mutex
	tokens   []int32 // drawn; those from read on are unread
	logprobs []TokenLogprob
	read     int
	cached   int // prompt tokens found computed
	reason   scheduler.Reason
	err      error
	stopped  bool // nobody reads any more
}

// letter is what the reader takes at a time: a token, or the end.
type letter struct {
	token   int32
	ok      bool          // there is a token
	logprob *TokenLogprob // of it, if asked for
	cached  int
	reason  scheduler.Reason // with the last token or after it, why the sequence ended
	err     error            // after the last token
}

// put adds a token, the last one if why says so.
func (m *mail) put(token int32, logprob *TokenLogprob, why scheduler.Reason, cached int) {
	m.mu.Lock()
	m.tokens = append(m.tokens, token)
	if logprob != nil {
		m.logprobs = append(m.logprobs, *logprob)
	}
	m.reason, m.cached = why, cached
	m.mu.Unlock()
	m.signal()
}

// end says that no token follows. The first error stays.
func (m *mail) end(why scheduler.Reason, err error) {
	m.mu.Lock()
	m.reason = why
	if m.err == nil {
		m.err = err
	}
	m.mu.Unlock()
	m.signal()
}

// stop is called when nobody wants the rest; err is what the reader then gets.
// It reports whether it was the first to.
func (m *mail) stop(err error) (first bool) {
	m.mu.Lock()
	if m.err == nil && m.reason == scheduler.None {
		m.err = err
	}
	first = !m.stopped
	m.stopped = true
	m.mu.Unlock()
	m.signal()
	return first
}

func (m *mail) signal() {
	select {
	case m.more <- struct{}{}:
	default:
	}
}

// take returns the oldest unread token, or what there is instead.
func (m *mail) take() letter {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.read == len(m.tokens) {
		return letter{cached: m.cached, reason: m.reason, err: m.err}
	}
	l := letter{token: m.tokens[m.read], ok: true, cached: m.cached}
	if m.logprobs != nil {
		l.logprob = &m.logprobs[m.read]
	}
	if m.read++; m.read == len(m.tokens) {
		l.reason = m.reason
		m.tokens, m.read = m.tokens[:0], 0
		if m.logprobs != nil {
			m.logprobs = make([]TokenLogprob, 0, 4) // the reader holds the old ones
		}
	}
	return l
}
