package server

import (
	"context"
	"runtime"
	"sync/atomic"
)

// bytesPerToken is what a text is taken to have before it is tokenised.
const bytesPerToken = 4

// queue bounds the work that waits: tokens of prompts from the time when a
// request has been read to its first token, and texts that are being turned
// into tokens.
type queue struct {
	most   int64
	tokens atomic.Int64
	encode chan struct{} // a token for each text being tokenised
}

func newQueue(most int) queue {
	return queue{most: int64(most), encode: make(chan struct{}, runtime.GOMAXPROCS(0))}
}

// enter counts the tokens of one more request, or reports that they are too many.
// A request that alone is too large may come when nobody else waits.
func (q *queue) enter(tokens int64) bool {
	if now := q.tokens.Add(tokens); now > q.most && now > tokens {
		q.tokens.Add(-tokens)
		return false
	}
	return true
}

// leave takes tokens out that enter counted.
func (q *queue) leave(tokens int64) { q.tokens.Add(-tokens) }

// tokenising runs f, which turns text into tokens, when there is a processor for
// it: requests take turns, and those whose context ends before give up.
func (q *queue) tokenising(ctx context.Context, f func() error) error {
	select {
	case q.encode <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-q.encode }()
	if ctx.Err() != nil {
		return context.Cause(ctx) // both had come
	}
	return f()
}
