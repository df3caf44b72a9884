package api

import "github.com/go-json-experiment/json/jsontext"

// ChatRequest is the body of POST /v1/chat/completions.
type ChatRequest struct {
	Options
	Messages            Messages `json:"messages"`
	MaxTokens           *int64   `json:"max_tokens,omitzero"` // older name of MaxCompletionTokens
	MaxCompletionTokens *int64   `json:"max_completion_tokens,omitzero"`
	Logprobs            bool     `json:"logprobs,omitzero"`     // of the tokens of each completion
	TopLogprobs         *int64   `json:"top_logprobs,omitzero"` // beside each, so many of the likeliest

	// Of vLLM.
	AddGenerationPrompt  *bool        `json:"add_generation_prompt,omitzero"`  // begin the answer; true if not given
	ContinueFinalMessage bool         `json:"continue_final_message,omitzero"` // go on with the last message instead
	ChatTemplateKwargs   TemplateVars `json:"chat_template_kwargs,omitzero"`

	// Other holds the members that no field above names.
	Other jsontext.Value `json:",embed"`

	anyModel bool // 'model' may be left out
}

// TokenLimit returns the most tokens to generate, or 0 if the request sets no
// limit. The newer parameter wins.
func (r *ChatRequest) TokenLimit() int {
	switch {
	case r.MaxCompletionTokens != nil:
		return int(*r.MaxCompletionTokens)
	case r.MaxTokens != nil:
		return int(*r.MaxTokens)
	}
	return 0
}

// The roles of a message.
const (
	RoleSystem    = "system"
	RoleDeveloper = "developer" // the newer name of system
	RoleUser      = "user"
	RoleAssistant = "assistant"
)

// Messages is a conversation, oldest message first.
type Messages []Message

// Message is one message of a conversation in a request.
type Message struct {
	Role    string   `json:"role"`
	Content *Content `json:"content"`

	// Other holds the members that no field above names.
	Other jsontext.Value `json:",embed"`
}

// Content is a message's text. On the wire it is a string, or a list of parts
// of which only those of type text are served; their texts are joined by
// newlines.
type Content string

// Text returns s as a message's content.
func Text(s string) *Content { return new(Content(s)) }

// ChatCompletion is the answer to a request that does not stream.
type ChatCompletion struct {
	ID                string   `json:"id"`
	Object            string   `json:"object"` // ObjectChatCompletion
	Created           int64    `json:"created"`
	Model             string   `json:"model"`
	SystemFingerprint string   `json:"system_fingerprint,omitzero"`
	Choices           []Choice `json:"choices"`
	Usage             Usage    `json:"usage"`

	// Of vLLM; absent unless asked for.
	PromptTokenIDs []int32      `json:"prompt_token_ids,omitzero"`
	PromptLogprobs []TokenRanks `json:"prompt_logprobs,omitzero"`

	Session *SessionState `json:"session,omitzero"` // of a session's turn
}

// Choice is one completion of an answer.
type Choice struct {
	Index        int              `json:"index"`
	Message      AssistantMessage `json:"message"`
	Logprobs     *ChatLogprobs    `json:"logprobs"` // null if nobody asked
	FinishReason string           `json:"finish_reason"`
	TokenIDs     []int32          `json:"token_ids,omitzero"` // of vLLM; absent if nobody asked
}

// AssistantMessage is a message that the model made.
type AssistantMessage struct {
	Role    string  `json:"role"`
	Content string  `json:"content"`
	Refusal *string `json:"refusal"` // always null
}

// Usage counts the tokens of a request and its answer.
type Usage struct {
	PromptTokens        int                 `json:"prompt_tokens"`
	CompletionTokens    int                 `json:"completion_tokens"`
	TotalTokens         int                 `json:"total_tokens"`
	PromptTokensDetails PromptTokensDetails `json:"prompt_tokens_details"`
}

// PromptTokensDetails says how much of a prompt did not have to be computed.
type PromptTokensDetails struct {
	CachedTokens int `json:"cached_tokens"`
}

// ChatChunk is one event of a streamed answer.
type ChatChunk struct {
	ID                string        `json:"id"`
	Object            string        `json:"object"` // ObjectChatChunk
	Created           int64         `json:"created"`
	Model             string        `json:"model"`
	SystemFingerprint string        `json:"system_fingerprint,omitzero"`
	Choices           []ChunkChoice `json:"choices"` // empty in the usage chunk
	Usage             *Usage        `json:"usage,omitzero"`
	PromptTokenIDs    []int32       `json:"prompt_token_ids,omitzero"` // in the first chunk, if asked for

	// Of a session's turn.
	SequenceNumber *int          `json:"sequence_number,omitzero"` // ascending in the turn, also when it is read again
	Session        *SessionState `json:"session,omitzero"`         // in the last chunks
}

// ChunkChoice is a piece of one completion.
type ChunkChoice struct {
	Index        int           `json:"index"`
	Delta        Delta         `json:"delta"`
	Logprobs     *ChatLogprobs `json:"logprobs"`
	FinishReason *string       `json:"finish_reason"` // null but in the last piece
	TokenIDs     []int32       `json:"token_ids,omitzero"`
}

// Delta is what a chunk adds to its message.
type Delta struct {
	Role    string  `json:"role,omitzero"` // in the first chunk only
	Content *string `json:"content,omitzero"`
}

// Model describes a model that the server serves.
type Model struct {
	ID          string `json:"id"`
	Object      string `json:"object"` // ObjectModel
	Created     int64  `json:"created"`
	OwnedBy     string `json:"owned_by"`
	MaxModelLen int    `json:"max_model_len"` // tokens of prompt and completion; as vLLM names it
}

// ModelList is the answer to GET /v1/models.
type ModelList struct {
	Object string  `json:"object"` // ObjectList
	Data   []Model `json:"data"`
}

// Values of the object field.
const (
	ObjectChatCompletion = "chat.completion"
	ObjectChatChunk      = "chat.completion.chunk"
	ObjectTextCompletion = "text_completion"
	ObjectModel          = "model"
	ObjectList           = "list"
)
