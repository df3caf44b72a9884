package server

import (
	"crypto/sha256"
	"io"
	"strconv"

	"github.com/valyala/fasthttp"

	"github.com/holdfast-run/holdfast/api"
	"github.com/holdfast-run/holdfast/engine"
	"github.com/holdfast-run/holdfast/sampler"
	"github.com/holdfast-run/holdfast/session"
)

// turn is what a completion has of a session: a turn to begin, one that goes on
// after an interruption, or one that is over and answered again from the log.
type turn struct {
	id    session.ID
	right *session.Session   // to change the session, until running has it; nil in a replay
	info  session.Info       // of the session, when the right was got
	all   []session.TurnInfo // the session's, where an old turn is looked for

	// Of the request.
	key     string // idempotency key, "" for none
	digest  [16]byte
	inexact bool // with another model than the session's
	after   int  // events up to this number are not wanted

	keep    int            // tokens of the history that the prompt begins with
	running *session.Turn  // nil before it begins, and in a replay
	request engine.Request // what was generated, or is replayed

	// What came so far.
	text  []byte
	drawn []int32
	state *api.SessionState // once it is over
}

// Headers of a turn's answer.
const (
	headerSession = "X-Session-Id"
	headerTurn    = "X-Turn-Id"
)

// sessionNamed returns the session that a request belongs to, "" for none. In
// the header anything may stand: routers use it, too.
func sessionNamed(http *fasthttp.RequestCtx, o *api.Options) (string, error) {
	id := o.SessionID
	if inPath, _ := pathParts(http); inPath != "" {
		if id != "" && id != inPath {
			return "", api.BadRequest(api.CodeInvalidValue, "session_id", "'session_id' is not the session in the path.")
		}
		return inPath, nil
	}
	if header := string(http.Request.Header.Peek(headerSession)); id == "" && api.IsSessionID(header) {
		return header, nil
	}
	return id, nil
}

// join gets the right to the session that a request names, if it names one.
func (c *completion) join(http *fasthttp.RequestCtx) error {
	name, err := sessionNamed(http, c.job.Options)
	if err != nil || name == "" {
		return err
	}
	if c.s.cfg.Sessions == nil {
		return errStoreOff()
	}
	if err := c.job.inSession(); err != nil {
		return err
	}
	t := &turn{after: -1}
	if t.id, err = parseSession(name); err != nil {
		return err
	}
	if t.key, err = idempotencyKey(http); err != nil {
		return err
	}
	sum := sha256.Sum256(http.Request.Body())
	t.digest = [16]byte(sum[:])
	c.turn = t
	return c.acquire()
}

// acquire gets the right to the turn's session, and compares the model.
func (c *completion) acquire() (err error) {
	t := c.turn
	if t.right, err = c.s.cfg.Sessions.Acquire(c.ctx, c.principal, t.id); err != nil {
		return err
	}
	t.info = t.right.Info()
	now, err := c.s.sessionModel()
	if err != nil {
		return err
	}
	differs := t.info.Model.Differs(now)
	for _, what := range differs {
		if what == "tokenizer" || !c.job.AllowInexact {
			return &session.ModelError{Differs: differs}
		}
	}
	t.inexact = len(differs) > 0
	return nil
}

// beginTurn has the session log that a turn begins.
func (c *completion) beginTurn(p *prompt, params *sampler.Params) error {
	t := c.turn
	room := c.info.ContextLength - len(p.tokens)
	if room < max(c.job.limit, 1) {
		return &engine.ContextLengthError{Prompt: len(p.tokens), MaxTokens: c.job.limit, Limit: c.info.ContextLength}
	}
	if c.job.limit > 0 {
		room = c.job.limit
	}
	var err error
	t.running, err = t.right.Begin(c.ctx, session.Begin{
		Head:    t.info.Head, // the prompt is of
		Key:     t.key,
		Digest:  t.digest,
		Keep:    t.keep,
		Input:   p.tokens[t.keep:],
		Body:    c.turnBody(),
		Seed:    params.Seed,
		Inexact: t.inexact,
		Room:    room,
	})
	if err == nil {
		c.created = t.running.Info().Created.Unix()
	}
	return err
}

// goOn makes the completion one of a turn that began before: it is generated on,
// or answered from the log.
func (c *completion) goOn(was session.TurnInfo) error {
	body, err := readTurnBody(&was)
	if err != nil {
		return err
	}
	asked := c.job
	c.kind, c.job = body.job()
	c.job.Stream = asked.Stream
	if asked.StreamOptions != nil {
		c.job.StreamOptions = asked.StreamOptions
	}
	c.id, c.created = body.Answer, was.Created.Unix()
	switch was.State {
	case session.TurnCommitted:
		return c.replay(&was)
	case session.TurnInterrupted:
	case session.TurnIncomplete:
		return api.NewError(410, api.TypeInvalidRequest, api.CodeTurnIncomplete, "The turn was interrupted, and another one came after it.")
	default:
		return &session.BusyError{Head: was.Parent}
	}
	var params sampler.Params
	err = c.s.queue.tokenising(c.ctx, func() (err error) {
		params, err = c.samplerParams(c.job.Options)
		return err
	})
	if err != nil {
		return err
	}
	t := c.turn
	if t.inexact {
		return &session.ModelError{Differs: t.info.Model.Differs(session.Model{})}
	}
	if t.running, err = t.right.Resume(was.ID); err != nil {
		return err
	}
	prompts := []prompt{{tokens: t.running.Prompt()}}
	c.requeue(prompts)
	return c.generate(params, &prompts[0])
}

// replay makes the completion one whose pieces are in the log.
func (c *completion) replay(was *session.TurnInfo) error {
	result, err := readTurnResult(was)
	if err != nil {
		return err
	}
	t := c.turn
	p := &prompt{}
	if c.job.ReturnTokenIDs {
		p.tokens = promptOf(t.all, was)
	}
	t.request = c.asked(sampler.Params{}, p)
	s := &replayStream{usage: result.usage()}
	s.pieces = c.s.sessions.Replay(t.request, append(was.Drawn[:len(was.Drawn):len(was.Drawn)], result.Rest...), engine.FinishReason(was.Finish))
	t.state = &api.SessionState{ID: t.id.String(), Head: orNull(was.ID), Durable: t.info.Durable, Exact: result.Exact}
	c.generations = []generation{{stream: s, prompt: p}}
	c.open = 1
	return nil
}

// replayStream is a Stream of a turn that is over.
type replayStream struct {
	pieces []engine.Delta
	usage  engine.Usage
}

func (s *replayStream) Next() (engine.Delta, error) {
	if len(s.pieces) == 0 {
		return engine.Delta{}, io.EOF
	}
	d := s.pieces[0]
	s.pieces = s.pieces[1:]
	return d, nil
}

func (s *replayStream) Prompt() []engine.TokenLogprob { return nil }
func (s *replayStream) Usage() engine.Usage           { return s.usage }
func (s *replayStream) Close()                        {}

// tell puts the turn into the head of the answer.
func (t *turn) tell(http *fasthttp.RequestCtx) {
	http.Response.Header.Set(headerSession, t.id.String())
	id := ""
	switch {
	case t.running != nil:
		id = t.running.ID()
	case t.state != nil && t.state.Head != nil:
		id = *t.state.Head
	}
	if id != "" {
		http.Response.Header.Set(headerTurn, id)
	}
}

// take keeps what a piece brings, and commits the turn with the last one: before
// the client learns that it is over.
func (t *turn) take(c *completion, p *piece) error {
	t.text = append(t.text, p.Text...)
	t.drawn = append(t.drawn, p.TokenIDs...)
	if !c.job.ReturnTokenIDs {
		p.TokenIDs = nil
	}
	if p.Finish == "" || t.running == nil {
		return nil
	}
	tokens, size := c.s.sessions.Shown(t.request, t.drawn, string(t.text))
	exact := c.info.Exact && !t.running.Session().Inexact && !t.running.Info().Inexact
	head, err := t.running.Commit(c.ctx, session.Commit{
		Tokens: tokens,
		Finish: string(p.Finish),
		Result: c.turnResult(tokens, size, exact),
	})
	if err != nil {
		return err
	}
	c.s.metrics.committed.Inc()
	t.state = &api.SessionState{ID: t.id.String(), Head: &head, Durable: t.running.Durable(), Exact: exact}
	return nil
}

// close gives the right back. A turn that was not committed is interrupted.
func (t *turn) close(m *serverMetrics) {
	if t.running != nil {
		t.running.Abandon()
		if t.state == nil {
			m.cut.Inc()
		}
	}
	if t.right != nil {
		t.right.Release()
	}
}

// turn serves GET /v1/sessions/{id}/turns/{turn}: with stream=true the turn's
// events, from the log and then, if it was interrupted, as they are made.
func (s *Server) turn(http *fasthttp.RequestCtx) {
	if !http.QueryArgs().GetBool("stream") {
		s.sessionCall((*call).oneTurn)(http)
		return
	}
	s.complete(http, &chatKind, (*completion).beginAgain)
}

// beginAgain is begin for a turn that began before.
func (c *completion) beginAgain(http *fasthttp.RequestCtx) (none piece, err error) {
	if c.s.cfg.Sessions == nil {
		return none, errStoreOff()
	}
	name, which := pathParts(http)
	t := &turn{after: -1}
	if text := http.QueryArgs().Peek("starting_after"); len(text) > 0 {
		n, err := strconv.ParseUint(string(text), 10, 31)
		if err != nil {
			return none, api.BadRequest(api.CodeInvalidValue, "starting_after", "'starting_after' must be a sequence number: 0 or more.")
		}
		t.after = int(n)
	}
	if t.id, err = parseSession(name); err != nil {
		return none, err
	}
	c.ctx, c.cancel, c.watch = c.s.attend(http)
	c.turn = t
	c.job.Stream = true
	was, err := c.find(which)
	if err != nil {
		return none, err
	}
	return c.oldTurn(http, &was)
}

// oldTurn goes on with a turn that began before.
func (c *completion) oldTurn(http *fasthttp.RequestCtx, was *session.TurnInfo) (none piece, err error) {
	if err := c.goOn(*was); err != nil {
		return none, err
	}
	c.turn.tell(http)
	return c.next()
}

// journal has the worker write what it draws into the turn, and go on behind what
// was drawn.
func (t *turn) journal(r *engine.Request) {
	r.Params.Seed = t.running.Seed()
	r.Journal, r.Drawn = t.running, t.running.Drawn()
	r.Keep, r.TokenIDs = true, true
	t.request = *r
}

// sessionState returns what the answer says of the session; nil without one.
func (c *completion) sessionState() *api.SessionState {
	if c.turn == nil {
		return nil
	}
	return c.turn.state
}

// find returns a turn of the session, with the right to go on with it if it is not
// over.
func (c *completion) find(which string) (was session.TurnInfo, err error) {
	t, sessions := c.turn, c.s.cfg.Sessions
	if t.info, err = sessions.Get(c.principal, t.id); err != nil {
		return was, err
	}
	if t.all, err = sessions.Turns(c.ctx, c.principal, t.id); err != nil {
		return was, err
	}
	for _, one := range t.all {
		if one.ID == which && (one.State == session.TurnCommitted || one.State == session.TurnIncomplete) {
			return one, nil
		}
	}
	if err := c.acquire(); err != nil {
		return was, err
	}
	return t.right.Turn(which)
}

// again returns the turn that was begun with the same idempotency key, nil for
// none.
func (t *turn) again() (*session.TurnInfo, error) {
	if t.key == "" {
		return nil, nil
	}
	t.all = t.right.All()
	for i := len(t.all) - 1; i >= 0; i-- {
		body, err := readTurnBody(&t.all[i])
		if err != nil || body.Key != t.key {
			continue
		}
		if body.Digest != t.digest {
			return nil, session.ErrKeyReused
		}
		return &t.all[i], nil
	}
	return nil, nil
}

// inSession refuses what a turn of a session cannot do.
func (j *job) inSession() error {
	if j.chat != nil {
		return j.chat.CheckSession()
	}
	return j.text.CheckSession()
}
