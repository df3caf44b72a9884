package server

import (
	"time"

	"github.com/holdfast-run/holdfast/api"
	"github.com/holdfast-run/holdfast/chat"
	"github.com/holdfast-run/holdfast/engine"
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
		after:  `},"logprobs":null,"finish_reason":null}`,
		finish: `"delta":{},"logprobs":null,"finish_reason":`,
	},
	whole: wholeChat,
}

func readChat(body []byte) (job, error) {
	req, err := api.DecodeChatRequest(body)
	if err != nil {
		return job{}, err
	}
	return job{&req.Options, req.TokenLimit(), func(c *completion) ([][]int32, error) {
		tokens, err := c.s.worker.EncodeChat(chatInput(req.Messages, c.start))
		return [][]int32{tokens}, err
	}}, nil
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

func wholeChat(c *completion, texts [][]byte, reasons []engine.FinishReason) any {
	return api.ChatCompletion{
		ID:                c.id,
		Object:            api.ObjectChatCompletion,
		Created:           c.created,
		Model:             c.info.ID,
		SystemFingerprint: c.info.Class,
		Choices: []api.Choice{{
			Message:      api.AssistantMessage{Role: api.RoleAssistant, Content: string(texts[0])},
			FinishReason: string(reasons[0]),
		}},
		Usage: usageOf(c.usage()),
	}
}
