package server

import (
	"slices"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/holdfast-run/holdfast/api"
)

// A route is what a path does for one method; GET stands for HEAD too.
type route struct {
	method string
	access access
	body   int // most bytes of a request's body
	serve  fasthttp.RequestHandler
}

// access says who may use a route.
type access int

const (
	undecided access = iota // no route may be
	open                    // everybody
	keyed                   // who shows a key, if the server has keys
)

// noBody is the limit of routes that take no body: clients that send some all
// the same are answered.
const noBody = 4 << 10

// table lists all routes by path. Open are those that machines ask, without a
// key: probes, and collectors of metrics, which hold numbers and nobody's names.
// The routes of a path have one access.
func (s *Server) table() map[string][]route {
	all := map[string][]route{
		chatKind.route:    {{"POST", keyed, api.MaxBodyBytes, s.completions(&chatKind)}},
		textKind.route:    {{"POST", keyed, api.MaxBodyBytes, s.completions(&textKind)}},
		"/v1/models":      {{"GET", keyed, noBody, s.models}},
		modelPrefix:       {{"GET", keyed, noBody, s.model}},
		"/tokenize":       {{"POST", keyed, api.MaxBodyBytes, s.tokenize}},
		"/detokenize":     {{"POST", keyed, api.MaxBodyBytes, s.detokenize}},
		"/tokenizer_info": {{"GET", keyed, noBody, s.tokenizerInfo}},
		"/version":        {{"GET", keyed, noBody, s.version}},
		"/health":         {{"GET", open, noBody, s.health}},
		"/health/ready":   {{"GET", open, noBody, s.ready}},
		"/metrics":        {{"GET", open, noBody, s.writeMetrics}},
	}
	s.addSessions(all)
	return all
}

// route finds a path's routes, and the name that it has in metrics and logs.
func (s *Server) route(path string) (name string, all []route) {
	if id, ok := strings.CutPrefix(path, modelPrefix); ok && id != "" {
		path = modelPrefix
	} else if ok {
		path = ""
	} else if rest, ok := strings.CutPrefix(path, sessionPrefix); ok {
		path = sessionPath(rest)
	}
	if all, found := s.routes[path]; found {
		return path, all
	}
	return "other", nil
}

// find returns the route of a method, or one that nobody may use.
func find(all []route, method string) (r route, found bool) {
	if method == "HEAD" {
		method = "GET"
	}
	if i := slices.IndexFunc(all, func(r route) bool { return r.method == method }); i >= 0 {
		return all[i], true
	}
	if len(all) > 0 { // another method is for those who may use the path
		return route{access: all[0].access, body: noBody}, false
	}
	return route{body: noBody}, false
}

// limits is asked when a request's head was read, and says how long its body may
// be: of a client without a key not even a byte.
func (s *Server) limits(head *fasthttp.RequestHeader) fasthttp.RequestConfig {
	uri := fasthttp.AcquireURI()
	defer fasthttp.ReleaseURI(uri)
	if err := uri.Parse(head.Host(), head.RequestURI()); err != nil {
		return fasthttp.RequestConfig{MaxRequestBodySize: noBody} // the HTTP library refuses it
	}
	_, all := s.route(string(uri.Path()))
	r, _ := find(all, string(head.Method()))
	most := r.body
	if _, ok := s.principal(r, head); !ok {
		most = 1 // 0 would be the default
	}
	return fasthttp.RequestConfig{MaxRequestBodySize: most}
}

// principal returns the name of the key that a request shows, and whether it may
// use the route. Without keys everybody is "".
func (s *Server) principal(r route, head *fasthttp.RequestHeader) (name string, ok bool) {
	if s.keys == nil || r.access != keyed {
		return "", true
	}
	return s.keys.get().principal(bearer(head.Peek("Authorization")))
}

// userPrincipal is where handle puts the principal for the route.
const userPrincipal = "principal"

// handle is the entry of every request.
func (s *Server) handle(ctx *fasthttp.RequestCtx) {
	id := requestID(ctx)
	path, all := s.route(string(ctx.Path()))
	r, found := find(all, string(ctx.Method()))
	defer func() {
		if v := recover(); v != nil {
			s.logPanic(id, path, v)
			ctx.Response.Reset()
			ctx.Response.Header.Set(headerRequestID, id)
			sendError(ctx, internalError(id))
		}
		s.metrics.countRequest(path, ctx.Response.StatusCode())
		_ = ctx.SetWriteDeadline(time.Now().Add(s.cfg.WriteTimeout))
	}()
	ctx.Response.Header.Set(headerRequestID, id)
	name, allowed := s.principal(r, &ctx.Request.Header)
	switch {
	case len(all) == 0:
		sendError(ctx, api.NewError(404, api.TypeInvalidRequest, api.CodeNotFound, "There is no such path; completions are at POST /v1/chat/completions."))
	case !allowed:
		sendError(ctx, errNoKey())
	case found:
		ctx.SetUserValue(userPrincipal, name)
		r.serve(ctx)
	default:
		allow := ""
		for _, r := range all {
			if r.method == "GET" {
				allow += "GET, HEAD, "
			} else {
				allow += r.method + ", "
			}
		}
		allow = strings.TrimSuffix(allow, ", ")
		ctx.Response.Header.Set("Allow", allow)
		sendError(ctx, api.NewError(405, api.TypeInvalidRequest, api.CodeMethodNotAllowed, "This path takes "+allow+" only."))
	}
}

func errNoKey() *api.Error {
	return api.NewError(401, api.TypeInvalidRequest, api.CodeInvalidKey, "This server wants a valid API key: send the header 'Authorization: Bearer KEY'.")
}
