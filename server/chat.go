package server

import (
	"time"

	"github.com/holdfast-run/holdfast/api"
	"github.com/holdfast-run/holdfast/chat"
)

// chatKind is POST /v1/chat/completions.
var chatKind = kind{
	route:    "/v1/chat/completions",
	id:       "chatcmpl-",
	input:    "messages",
	inputHas: "the messages have",
	read:     readChat,
	chunks: chunkForm{
		object: api.ObjectChatChunk,
		first:  `"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}`,
		before: `"delta":{"content":`,
		after:  `},"logprobs":`,
		finish: `"delta":{},"logprobs":null,"finish_reason":`,
	},
	logprobs: func(c *completion, tokens []placed) any { return c.chatLogprobs(tokens) },
	whole:    wholeChat,
}

// turnKind is POST /v1/sessions/{id}/turns.
var turnKind = chatKind.with(api.DecodeTurnRequest)

func readChat(body []byte) (*job, error) { return chatReader(api.DecodeChatRequest)(body) }

// with returns a kind whose requests are decoded in another way.
func (k kind) with(decode func([]byte) (*api.ChatRequest, error)) kind {
	k.read = chatReader(decode)
	return k
}

func chatReader(decode func([]byte) (*api.ChatRequest, error)) func([]byte) (*job, error) {
	return func(body []byte) (*job, error) {
		req, err := decode(body)
		if err != nil {
			return nil, err
		}
		return chatJob(req), nil
	}
}

func chatJob(req *api.ChatRequest) *job {
	size := 0
	for _, m := range req.Messages {
		size += len(*m.Content)
	}
	return &job{
		Options:  &req.Options,
		chat:     req,
		size:     int64(size/bytesPerToken + 1),
		limit:    req.TokenLimit(),
		logprobs: req.Logprobs,
		goesOn:   req.ContinueFinalMessage,
		top:      int(or(req.TopLogprobs, 0)),
		prompts: func(c *completion) ([]prompt, error) {
			if c.turn != nil {
				return c.encodeChat(req)
			}
			in := chatInput(req.Messages, c.start)
			in.AddGenerationPrompt, in.ContinueFinal = or(req.AddGenerationPrompt, true), req.ContinueFinalMessage
			in.Vars = req.ChatTemplateKwargs
			in.MaxTokens = c.info.ContextLength
			tokens, err := c.s.worker.EncodeChat(in)
			return []prompt{{tokens: tokens}}, err
		},
	}
}

func chatInput(messages api.Messages, now time.Time) chat.Input {
	in := chat.Input{AddGenerationPrompt: true, Now: now, Messages: make([]chat.Message, len(messages))}
	for i, m := range messages {
		role := m.Role
		if role == api.RoleDeveloper {
			role = api.RoleSystem
		}
		in.Messages[i] = chat.Message{Role: role, Content: string(*m.Content)}
	}
	return in
}

func wholeChat(c *completion, choices []choice) any {
	all := make([]api.Choice, len(choices))
	for i, one := range choices {
		all[i] = api.Choice{
			Index:        i,
			Message:      api.AssistantMessage{Role: api.RoleAssistant, Content: string(one.text)},
			Logprobs:     c.chatLogprobs(one.tokens),
			FinishReason: string(one.finish),
			TokenIDs:     one.ids,
		}
	}
	whole := &c.generations[0]
	return api.ChatCompletion{
		ID:                c.id,
		Object:            api.ObjectChatCompletion,
		Created:           c.created,
		Model:             c.info.ID,
		SystemFingerprint: c.info.Class,
		Choices:           all,
		Usage:             usageOf(c.usage()),
		PromptTokenIDs:    c.promptIDs(whole),
		PromptLogprobs:    c.promptRanks(whole),
		Session:           c.sessionState(),
	}
}
