package server

import (
	"time"

	"github.com/valyala/fasthttp"

	"github.com/holdfast-run/holdfast/api"
)

// tokenize serves POST /tokenize.
func (s *Server) tokenize(ctx *fasthttp.RequestCtx) {
	got, err := s.tokenized(ctx)
	if err != nil {
		s.fail(ctx, err)
		return
	}
	sendValue(ctx, 200, got)
}

func (s *Server) tokenized(ctx *fasthttp.RequestCtx) (*api.Tokenized, error) {
	if err := checkMedia(ctx); err != nil {
		return nil, err
	}
	req, err := api.DecodeTokenizeRequest(ctx.Request.Body())
	if err != nil {
		return nil, err
	}
	info := s.worker.Info()
	if req.Model != "" && req.Model != info.ID {
		return nil, modelNotFound(req.Model)
	}
	var tokens []int32
	if req.Prompt != nil {
		tokens = s.worker.Encode(*req.Prompt, or(req.AddSpecialTokens, true))
	} else {
		in := chatInput(req.Messages, time.Now())
		in.AddGenerationPrompt = or(req.AddGenerationPrompt, true)
		if tokens, err = s.worker.EncodeChat(in); err != nil {
			return nil, err
		}
	}
	got := &api.Tokenized{Count: len(tokens), MaxModelLen: info.ContextLength, Tokens: tokens}
	if req.ReturnTokenStrs {
		texts := make([]string, len(tokens))
		for i := range tokens {
			texts[i] = s.worker.Decode(tokens[i : i+1])
		}
		got.TokenStrs = &texts
	}
	return got, nil
}

// detokenize serves POST /detokenize.
func (s *Server) detokenize(ctx *fasthttp.RequestCtx) {
	got, err := s.detokenized(ctx)
	if err != nil {
		s.fail(ctx, err)
		return
	}
	sendValue(ctx, 200, got)
}

func (s *Server) detokenized(ctx *fasthttp.RequestCtx) (*api.Detokenized, error) {
	if err := checkMedia(ctx); err != nil {
		return nil, err
	}
	req, err := api.DecodeDetokenizeRequest(ctx.Request.Body())
	if err != nil {
		return nil, err
	}
	info := s.worker.Info()
	if req.Model != "" && req.Model != info.ID {
		return nil, modelNotFound(req.Model)
	}
	if err := checkTokens(info.VocabSize, "tokens", req.Tokens); err != nil {
		return nil, err
	}
	return &api.Detokenized{Prompt: s.worker.Decode(req.Tokens)}, nil
}

// version serves GET /version.
func (s *Server) version(ctx *fasthttp.RequestCtx) {
	sendValue(ctx, 200, api.Version{Version: s.cfg.Version})
}
