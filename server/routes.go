package server

import (
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/holdfast-run/holdfast/api"
)

// A route is one path and the one method that it has; GET stands for HEAD too.
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

// table lists all routes. Open are those that machines ask, without a key:
// probes, and collectors of metrics, which hold numbers and nobody's names.
func (s *Server) table() map[string]route {
	return map[string]route{
		chatKind.route:    {"POST", keyed, api.MaxBodyBytes, s.completions(&chatKind)},
		textKind.route:    {"POST", keyed, api.MaxBodyBytes, s.completions(&textKind)},
		"/v1/models":      {"GET", keyed, noBody, s.models},
		modelPrefix:       {"GET", keyed, noBody, s.model},
		"/tokenize":       {"POST", keyed, api.MaxBodyBytes, s.tokenize},
		"/detokenize":     {"POST", keyed, api.MaxBodyBytes, s.detokenize},
		"/tokenizer_info": {"GET", keyed, noBody, s.tokenizerInfo},
		"/version":        {"GET", keyed, noBody, s.version},
		"/health":         {"GET", open, noBody, s.health},
		"/health/ready":   {"GET", open, noBody, s.ready},
		"/metrics":        {"GET", open, noBody, s.writeMetrics},
	}
}

// route finds a path's route, and the name that it has in metrics and logs.
func (s *Server) route(path string) (name string, r route, found bool) {
	if id, ok := strings.CutPrefix(path, modelPrefix); ok && id != "" {
		path = modelPrefix
	} else if ok {
		path = ""
	}
	if r, found = s.routes[path]; found {
		return path, r, true
	}
	return "other", r, false
}

// limits is asked when a request's head was read, and says how long its body may
// be: of a client without a key not even a byte.
func (s *Server) limits(head *fasthttp.RequestHeader) fasthttp.RequestConfig {
	uri := fasthttp.AcquireURI()
	defer fasthttp.ReleaseURI(uri)
	if err := uri.Parse(head.Host(), head.RequestURI()); err != nil {
		return fasthttp.RequestConfig{MaxRequestBodySize: noBody} // the HTTP library refuses it
	}
	_, r, found := s.route(string(uri.Path()))
	most := r.body
	if !found {
		most = noBody
	}
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
	path, r, found := s.route(string(ctx.Path()))
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
	switch method := string(ctx.Method()); {
	case !found:
		sendError(ctx, api.NewError(404, api.TypeInvalidRequest, api.CodeNotFound, "There is no such path; completions are at POST /v1/chat/completions."))
	case !allowed:
		sendError(ctx, errNoKey())
	case method == r.method, method == "HEAD" && r.method == "GET":
		ctx.SetUserValue(userPrincipal, name)
		r.serve(ctx)
	default:
		allow := r.method
		if allow == "GET" {
			allow = "GET, HEAD"
		}
		ctx.Response.Header.Set("Allow", allow)
		sendError(ctx, api.NewError(405, api.TypeInvalidRequest, api.CodeMethodNotAllowed, "This path takes "+allow+" only."))
	}
}

func errNoKey() *api.Error {
	return api.NewError(401, api.TypeInvalidRequest, api.CodeInvalidKey, "This server wants a valid API key: send the header 'Authorization: Bearer KEY'.")
}
