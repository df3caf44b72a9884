package server

import (
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/valyala/fasthttp"

	"github.com/holdfast-run/holdfast/api"
)

// modelPrefix is where single models are; the rest of the path is the ID.
const modelPrefix = "/v1/models/"

// models serves GET /v1/models.
func (s *Server) models(ctx *fasthttp.RequestCtx) {
	list := api.ModelList{Object: api.ObjectList, Data: []api.Model{s.served(s.worker.Info().ID)}}
	for _, alias := range s.cfg.Aliases {
		list.Data = append(list.Data, s.served(alias))
	}
	sendValue(ctx, 200, list)
}

// model serves GET /v1/models/{id}.
func (s *Server) model(ctx *fasthttp.RequestCtx) {
	id := string(ctx.Path())[len(modelPrefix):]
	if !s.named(id) {
		sendError(ctx, modelNotFound(id))
		return
	}
	sendValue(ctx, 200, s.served(id))
}

// named reports whether the model has a name.
func (s *Server) named(id string) bool {
	return id == s.worker.Info().ID || slices.Contains(s.cfg.Aliases, id)
}

func (s *Server) served(id string) api.Model {
	info := s.worker.Info()
	return api.Model{
		ID:          id,
		Object:      api.ObjectModel,
		Created:     info.Created.Unix(),
		OwnedBy:     "holdfast",
		MaxModelLen: info.ContextLength,
	}
}

// sendValue sends v, which can be marshalled.
func sendValue(ctx *fasthttp.RequestCtx, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	sendJSON(ctx, status, body)
}

func sendJSON(ctx *fasthttp.RequestCtx, status int, body []byte) {
	ctx.SetStatusCode(status)
	ctx.SetContentType("application/json")
	ctx.Response.SetBodyRaw(body)
}
