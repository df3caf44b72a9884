package server

import (
	"errors"

	"github.com/valyala/fasthttp"

	"github.com/holdfast-run/holdfast/engine"
)

// healthBody is the body of the health routes.
type healthBody struct {
	Status string `json:"status"`
	Reason string `json:"reason,omitzero"`
}

// health serves GET /health: the process is alive, drain or not. 503 says that it does
// not come back by itself, and has to be started again.
func (s *Server) health(ctx *fasthttp.RequestCtx) {
	if err := s.worker.Ready(); errors.Is(err, engine.ErrGivenUp) {
		sendValue(ctx, 503, healthBody{"failed", err.Error()})
		return
	}
	sendValue(ctx, 200, healthBody{Status: "ok"})
}

// ready serves GET /health/ready: send me requests, or 503.
func (s *Server) ready(ctx *fasthttp.RequestCtx) {
	if s.gate.closed() {
		sendValue(ctx, 503, healthBody{"stopping", "the server is shutting down"})
		return
	}
	if err := s.worker.Ready(); err != nil {
		sendValue(ctx, 503, healthBody{"not ready", err.Error()})
		return
	}
	sendValue(ctx, 200, healthBody{Status: "ready"})
}
