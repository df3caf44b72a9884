package server

import "github.com/valyala/fasthttp"

// healthBody is the body of the health routes.
type healthBody struct {
	Status string `json:"status"`
	Reason string `json:"reason,omitzero"`
}

// health serves GET /health: the process is alive, drain or not.
func (s *Server) health(ctx *fasthttp.RequestCtx) {
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
