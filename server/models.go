package server

import (
	"github.com/go-json-experiment/json"
	"github.com/valyala/fasthttp"

	"github.com/holdfast-run/holdfast/api"
)

// modelPrefix is where single models are; the rest of the path is the ID.
const modelPrefix = "/v1/models/"

// models serves GET /v1/models.
func (s *Server) models(ctx *fasthttp.RequestCtx) {
	sendValue(ctx, 200, api.ModelList{Object: api.ObjectList, Data: []api.Model{s.served()}})
}

// model serves GET /v1/models/{id}.
func (s *Server) model(ctx *fasthttp.RequestCtx) {
	m := s.served()
	if id := string(ctx.Path())[len(modelPrefix):]; id != m.ID {
		sendError(ctx, modelNotFound(id))
		return
	}
	sendValue(ctx, 200, m)
}

func (s *Server) served() api.Model {
	info := s.worker.Info()
	return api.Model{
		ID:          info.ID,
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
