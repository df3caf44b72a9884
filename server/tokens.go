package server

import (
	"context"
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
	if req.Model != "" && !s.named(req.Model) {
		return nil, modelNotFound(req.Model)
	}
	got := &api.Tokenized{MaxModelLen: info.ContextLength}
	err = s.whileThere(ctx, func() (err error) {
		if got.Tokens, err = s.encode(req); err != nil || !req.ReturnTokenStrs {
			return err
		}
		texts := make([]string, len(got.Tokens))
		for i := range texts {
			texts[i] = s.worker.Decode(got.Tokens[i : i+1])
		}
		got.TokenStrs = &texts
		return nil
	})
	got.Count = len(got.Tokens)
	return got, err
}

func (s *Server) encode(req *api.TokenizeRequest) ([]int32, error) {
	if req.Prompt != nil {
		return s.worker.Encode(*req.Prompt, or(req.AddSpecialTokens, true)), nil
	}
	in := chatInput(req.Messages, time.Now())
	in.AddGenerationPrompt, in.ContinueFinal = or(req.AddGenerationPrompt, true), req.ContinueFinalMessage
	return s.worker.EncodeChat(in)
}

// whileThere runs f when it is its turn, unless the client has left by then.
func (s *Server) whileThere(ctx *fasthttp.RequestCtx, f func() error) error {
	base, cancel := context.WithCancelCause(s.base)
	defer cancel(nil)
	w := startWatch(ctx.Conn(), func() { cancel(errClientLeft) })
	defer w.stop()
	return s.queue.tokenising(base, f)
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
	if req.Model != "" && !s.named(req.Model) {
		return nil, modelNotFound(req.Model)
	}
	if err := checkTokens(info.VocabSize, "tokens", req.Tokens); err != nil {
		return nil, err
	}
	got := &api.Detokenized{}
	err = s.whileThere(ctx, func() error {
		got.Prompt = s.worker.Decode(req.Tokens)
		return nil
	})
	return got, err
}

// tokenizerInfo serves GET /tokenizer_info.
func (s *Server) tokenizerInfo(ctx *fasthttp.RequestCtx) {
	info := s.worker.Info()
	bos, eos := s.worker.Ends()
	name := func(token int32) *string {
		if token < 0 {
			return nil
		}
		return new(s.worker.Decode([]int32{token}))
	}
	sendValue(ctx, 200, api.TokenizerInfo{BOSToken: name(bos), EOSToken: name(eos), VocabSize: info.VocabSize, ModelMaxLength: info.ContextLength})
}

// version serves GET /version.
func (s *Server) version(ctx *fasthttp.RequestCtx) {
	sendValue(ctx, 200, api.Version{Version: s.cfg.Version})
}
