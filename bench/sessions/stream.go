package main

import (
	"context"
	"time"

	"github.com/holdfast-run/holdfast/engine"
	"github.com/holdfast-run/holdfast/sampler"
	"github.com/holdfast-run/holdfast/session"
)

// stream has turn after turn in one conversation: a session's, or, at level 0, one whose
// history its caller has, and the prefix cache.
type stream struct {
	e       *engine.Engine
	m       *session.Manager
	seed    uint64
	turns   uint64
	level   session.Durability // of the turn before
	id      session.ID
	history []int32
}

// turn draws so many tokens behind a new prompt, and returns when each came. With another
// level than the turn before, the conversation begins anew.
func (s *stream) turn(level session.Durability, tokens int) ([]time.Time, error) {
	if s.level != level {
		s.level, s.id, s.history = level, session.ID{}, nil
	}
	prompt := make([]int32, streamPrompt)
	for i := range prompt {
		prompt[i] = int32((s.seed*7919 + s.turns*15485863 + uint64(i)*104729) % uint64(s.e.Info().VocabSize))
	}
	s.turns++
	r := engine.Request{Tokens: append(s.history, prompt...), MaxTokens: tokens, IgnoreEOS: true, Params: sampler.Params{TopP: 1}, TokenIDs: true}
	var t *session.Turn
	if level != 0 {
		var err error
		if t, err = s.begin(prompt, tokens); err != nil {
			return nil, err
		}
		r.Journal, r.Keep = t, true
	}
	ids, times, err := s.draw(r, t)
	s.history = append(r.Tokens, ids...)
	return times, err
}

// begin begins a turn of the session, which it makes if there is none.
func (s *stream) begin(prompt []int32, room int) (*session.Turn, error) {
	ctx := context.Background()
	if len(s.history) == 0 {
		info, err := s.m.Create(ctx, session.Spec{Principal: "p", Durability: s.level})
		if err != nil {
			return nil, err
		}
		s.id = info.ID
	}
	held, err := s.m.Acquire(ctx, "p", s.id)
	if err != nil {
		return nil, err
	}
	return held.Begin(ctx, session.Begin{Keep: len(s.history), Input: prompt, Room: room})
}

// draw runs a request, and commits the turn that it is of.
func (s *stream) draw(r engine.Request, t *session.Turn) (ids []int32, times []time.Time, err error) {
	ctx := context.Background()
	g, err := s.e.Generate(ctx, r)
	if err != nil {
		return nil, nil, err
	}
	defer g.Close()
	for {
		d, err := g.Next()
		if err != nil {
			return nil, nil, err
		}
		now, n := time.Now(), len(d.TokenIDs)
		for i := range n { // some have no text of their own, and come with the next
			at := now
			if len(ids) > 0 {
				last := times[len(ids)-1]
				at = last.Add(now.Sub(last) * time.Duration(i+1) / time.Duration(n))
			}
			times = append(times, at)
		}
		ids = append(ids, d.TokenIDs...)
		if d.Finish == "" {
			continue
		}
		if t != nil {
			_, err = t.Commit(ctx, session.Commit{Tokens: d.Tokens, Finish: string(d.Finish)})
		}
		return ids, times, err
	}
}
