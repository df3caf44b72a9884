package server

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/holdfast-run/holdfast/api"
	"github.com/holdfast-run/holdfast/chat"
	"github.com/holdfast-run/holdfast/engine"
	"github.com/holdfast-run/holdfast/session"
)

// SessionWorker is what the server needs of an engine for sessions, beside
// Worker. Its methods are safe for concurrent use.
type SessionWorker interface {
	Worker
	// Digests say what sessions are made with now.
	Digests() (engine.Digests, error)
	// EncodeChatAfter is EncodeChat for a conversation of which past are the
	// first tokens: the prompt begins with past[:keep].
	EncodeChatAfter(in chat.Input, past []int32) (tokens []int32, keep int, err error)
	// EncodeAfter is Encode for a text that goes on after other text.
	EncodeAfter(text string) []int32
	// Shown returns how many of the drawn tokens have their text within text, and
	// the length of theirs.
	Shown(r engine.Request, drawn []int32, text string) (tokens, sizeBytes int)
	// Replay returns the pieces of a turn that ended.
	Replay(r engine.Request, drawn []int32, finish engine.FinishReason) []engine.Delta

	Checkpoint(ctx context.Context, principal string, tokens []int32) (engine.Residence, error)
	Prefetch(ctx context.Context, principal string, tokens []int32) (engine.Residence, error)
	Park(ctx context.Context, principal string, tokens []int32) (engine.Residence, error)
	Residence(ctx context.Context, principal string, tokens []int32) (engine.Residence, error)
	VerifyKV(ctx context.Context, principal string, tokens []int32) (engine.KVReport, error)
}

// Paths of sessions.
const (
	sessionsPath  = "/v1/sessions"
	sessionPrefix = sessionsPath + "/"
	importPath    = sessionPrefix + "import"
	onePath       = sessionPrefix + "{id}"
	turnsPath     = onePath + "/turns"
	oneTurnPath   = turnsPath + "/{turn}"
)

// addSessions adds the routes of sessions.
func (s *Server) addSessions(all map[string][]route) {
	all[sessionsPath] = []route{
		{"GET", keyed, noBody, s.sessionCall((*call).list)},
		{"POST", keyed, api.MaxSessionBody, s.sessionCall((*call).create)},
	}
	all[importPath] = []route{{"POST", keyed, api.MaxImportBytes, s.sessionCall((*call).importOne)}}
	all[onePath] = []route{
		{"GET", keyed, noBody, s.sessionCall((*call).get)},
		{"POST", keyed, api.MaxSessionBody, s.sessionCall((*call).update)},
		{"DELETE", keyed, noBody, s.sessionCall((*call).remove)},
	}
	all[turnsPath] = []route{
		{"GET", keyed, noBody, s.sessionCall((*call).turns)},
		{"POST", keyed, api.MaxBodyBytes, s.completions(&turnKind)},
	}
	all[oneTurnPath] = []route{{"GET", keyed, noBody, s.turn}}
	for verb, serve := range map[string]func(*call) (any, error){
		"checkpoint": (*call).checkpoint, "fork": (*call).fork, "rewind": (*call).rewind, "park": (*call).park,
		"resume": (*call).resume, "verify": (*call).verify, "export": (*call).export,
	} {
		all[onePath+"/"+verb] = []route{{"POST", keyed, api.MaxSessionBody, s.sessionCall(serve)}}
	}
}

// sessionPath names the path of which rest comes after sessionPrefix, as the
// table of routes does.
func sessionPath(rest string) string {
	parts := strings.Split(rest, "/")
	switch {
	case slices.Contains(parts, ""):
		return "" // no such path
	case len(parts) == 1 && rest == "import":
		return importPath
	case len(parts) == 1:
		return onePath
	case len(parts) == 2:
		return onePath + "/" + parts[1]
	case len(parts) == 3 && parts[1] == "turns":
		return oneTurnPath
	}
	return ""
}

// pathParts returns the session, and the turn, that a path names.
func pathParts(ctx *fasthttp.RequestCtx) (id, turn string) {
	rest, ok := strings.CutPrefix(string(ctx.Path()), sessionPrefix)
	if !ok {
		return "", ""
	}
	parts := strings.Split(rest, "/")
	if len(parts) == 3 {
		turn = parts[2]
	}
	return parts[0], turn
}

// call is a request about a session that generates nothing.
type call struct {
	s         *Server
	http      *fasthttp.RequestCtx
	ctx       context.Context // ends when the client leaves
	principal string
	id        session.ID // zero where the path has none
}

// errSent is returned by a call that has answered already.
var errSent = errors.New("server: the answer is under way")

// sessionCall returns what serves a request about a session: f's value, or its error.
func (s *Server) sessionCall(f func(*call) (any, error)) fasthttp.RequestHandler {
	return func(http *fasthttp.RequestCtx) {
		ctx, cancel := context.WithCancelCause(s.base)
		defer cancel(nil)
		c := &call{s: s, http: http, ctx: ctx, principal: http.UserValue(userPrincipal).(string)}
		w := startWatch(http.Conn(), func() { cancel(errClientLeft) })
		got, err := c.serve(f)
		w.stop()
		switch {
		case errors.Is(err, errSent):
		case err != nil && ctx.Err() != nil:
			s.fail(http, context.Cause(ctx))
		case err != nil:
			s.fail(http, err)
		default:
			sendValue(http, 200, got)
		}
	}
}

func (c *call) serve(f func(*call) (any, error)) (any, error) {
	if c.s.cfg.Sessions == nil {
		return nil, errStoreOff()
	}
	if c.http.IsPost() {
		if err := checkMedia(c.http); err != nil {
			return nil, err
		}
	}
	if id, _ := pathParts(c.http); id != "" && id != "import" {
		var err error
		if c.id, err = parseSession(id); err != nil {
			return nil, err
		}
	}
	return f(c)
}

// parseSession reads an ID. One that cannot be is one that does not exist.
func parseSession(text string) (session.ID, error) {
	id, err := session.ParseID(text)
	if err != nil {
		return id, session.ErrNotFound
	}
	return id, nil
}

// sessionModel returns what sessions are made with now.
func (s *Server) sessionModel() (session.Model, error) {
	d, err := s.sessions.Digests()
	return session.Model{Weights: d.Weights, Tokenizer: d.Tokenizer, Template: d.Template, Class: d.Class}, err
}

func (c *call) create() (any, error) {
	req, err := api.DecodeSessionRequest(c.http.Request.Body())
	if err != nil {
		return nil, err
	}
	spec, err := c.spec(req)
	if err != nil {
		return nil, err
	}
	if spec.Model, err = c.s.sessionModel(); err != nil {
		return nil, err
	}
	info, err := c.s.cfg.Sessions.Create(c.ctx, spec)
	if err != nil {
		return nil, err
	}
	return DescribeSession(&info), nil
}

// spec returns what a session shall be made as.
func (c *call) spec(req *api.SessionRequest) (session.Spec, error) {
	spec := session.Spec{Principal: c.principal, Durability: c.s.cfg.Durability, Pin: or(req.Pinned, false)}
	spec.TTL = time.Duration(or(req.TTLSeconds, 0)) * time.Second
	var err error
	if req.Durability != "" {
		if spec.Durability, err = session.ParseDurability(req.Durability); err != nil {
			return spec, err
		}
	}
	spec.Key, err = idempotencyKey(c.http)
	return spec, err
}

func (c *call) list() (any, error) {
	limit, err := api.ParseLimit(string(c.http.QueryArgs().Peek("limit")))
	if err != nil {
		return nil, err
	}
	var after session.ID
	if text := string(c.http.QueryArgs().Peek("after")); text != "" {
		if after, err = session.ParseID(text); err != nil {
			return nil, api.BadRequest(api.CodeInvalidValue, "after", "'after' must be the ID of a session, the last one of the page before.")
		}
	}
	page, more := c.s.cfg.Sessions.List(c.principal, after, limit)
	got := api.SessionList{Object: api.ObjectList, Data: make([]api.Session, len(page)), HasMore: more}
	for i := range page {
		got.Data[i] = *DescribeSession(&page[i])
	}
	return got, nil
}

func (c *call) get() (any, error) { return c.described() }

// described describes the session as it is now, with where its KV is.
func (c *call) described() (*api.Session, error) {
	info, err := c.s.cfg.Sessions.Get(c.principal, c.id)
	if err != nil {
		return nil, err
	}
	got := DescribeSession(&info)
	if tokens, err := c.tokens(&info); err == nil {
		if r, err := c.s.sessions.Residence(c.ctx, c.principal, tokens); err == nil {
			one := int64(r.BlockBytes)
			got.Bytes = &api.SessionBytes{Total: int64(r.Blocks) * one, Device: int64(r.Device) * one, Disk: int64(r.Disk) * one}
		}
	}
	c.http.Response.Header.Set("ETag", `"`+info.Head+`"`)
	return got, nil
}

func (c *call) update() (any, error) {
	req, err := api.DecodeSessionRequest(c.http.Request.Body())
	if err != nil {
		return nil, err
	}
	if req.Durability != "" {
		return nil, api.BadRequest(api.CodeInvalidValue, "durability", "The durability of a session is decided when it is made.")
	}
	change := session.Change{Pin: req.Pinned}
	if req.TTLSeconds != nil {
		change.TTL = new(time.Duration(*req.TTLSeconds) * time.Second)
	}
	if _, err := c.s.cfg.Sessions.Update(c.ctx, c.principal, c.id, change); err != nil {
		return nil, err
	}
	return c.described()
}

func (c *call) remove() (any, error) {
	err := c.s.cfg.Sessions.Delete(c.ctx, c.principal, c.id)
	if err != nil && !errors.Is(err, session.ErrNotDurable) {
		return nil, err
	}
	return api.SessionDeleted{ID: c.id.String(), Object: api.ObjectSessionDeleted, Deleted: true, Durable: err == nil}, nil
}

// tokens returns the history up to the session's head.
func (c *call) tokens(info *session.Info) ([]int32, error) {
	all, err := c.s.cfg.Sessions.Turns(c.ctx, c.principal, c.id)
	if err != nil {
		return nil, err
	}
	return history(all, info.Head), nil
}

// history returns the tokens up to a turn, of which all has the path.
func history(all []session.TurnInfo, head string) (tokens []int32) {
	for _, t := range pathTo(all, head) {
		tokens = append(tokens[:min(t.Keep, len(tokens))], t.Input...)
		tokens = append(tokens, t.Drawn...)
	}
	return tokens
}

// promptOf returns the prompt of a turn.
func promptOf(all []session.TurnInfo, t *session.TurnInfo) []int32 {
	tokens := history(all, t.Parent)
	return append(tokens[:min(t.Keep, len(tokens))], t.Input...)
}

// pathTo returns the turns from the first one to head.
func pathTo(all []session.TurnInfo, head string) (path []*session.TurnInfo) {
	byID := make(map[string]*session.TurnInfo, len(all))
	for i := range all {
		byID[all[i].ID] = &all[i]
	}
	for t := byID[head]; t != nil && len(path) < len(all); t = byID[t.Parent] {
		path = append(path, t)
	}
	slices.Reverse(path)
	return path
}
