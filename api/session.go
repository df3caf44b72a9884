package api

import (
	"bytes"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// Limits on requests about sessions.
const (
	MaxSessionBody  = 4 << 10  // a body that holds no conversation
	MaxImportBytes  = 32 << 20 // an exported session
	MaxForks        = 64       // n of a fork
	MaxSessionList  = 1000     // sessions in one answer
	MaxKeyBytes     = 255      // an Idempotency-Key
	MaxTTLSeconds   = 10 * 365 * 24 * 3600
	defSessionList  = 100
	maxTurnIDBytes  = 32
	sessionIDPrefix = "sess_"
)

// Values of the object field of what is about sessions.
const (
	ObjectSession        = "session"
	ObjectSessionDeleted = "session.deleted"
	ObjectSessionReport  = "session.report"
	ObjectTurn           = "session.turn"
)

// SessionOptions are the parameters of a completion that belongs to a session.
type SessionOptions struct {
	SessionID    string `json:"session_id,omitzero"`    // also the header X-Session-Id
	AllowInexact bool   `json:"allow_inexact,omitzero"` // go on with another model that has the same tokenizer
}

// IsSessionID reports whether s looks like a session's ID. The header
// X-Session-Id is also used by routers, with values of their own.
func IsSessionID(s string) bool {
	return len(s) > len(sessionIDPrefix) && s[:len(sessionIDPrefix)] == sessionIDPrefix
}

// SessionRequest is the body of POST /v1/sessions, and of POST /v1/sessions/{id},
// which changes what can be changed. An empty body is an empty object.
type SessionRequest struct {
	Durability string `json:"durability,omitzero"`  // memory, turn or step; only when a session is made
	TTLSeconds *int64 `json:"ttl_seconds,omitzero"` // how long it lives without being used; 0 is for ever
	Pinned     *bool  `json:"pinned,omitzero"`      // it does not expire
}

// ForkRequest is the body of POST /v1/sessions/{id}/fork.
type ForkRequest struct {
	N    *int64 `json:"n,omitzero"`    // new sessions; 1 if not given
	Turn string `json:"turn,omitzero"` // the last turn that they have; the head if not given
}

// Count returns the number of sessions to make.
func (r *ForkRequest) Count() int {
	if r.N == nil {
		return 1
	}
	return int(*r.N)
}

// RewindRequest is the body of POST /v1/sessions/{id}/rewind.
type RewindRequest struct {
	Turn *string `json:"turn"` // the new head; "" is the beginning
}

// Session describes a session.
type Session struct {
	ID         string         `json:"id"`
	Object     string         `json:"object"` // ObjectSession
	Created    int64          `json:"created"`
	LastUsed   int64          `json:"last_used"`
	ExpiresAt  *int64         `json:"expires_at"` // null for never
	State      string         `json:"state"`      // idle, active, interrupted, parked or damaged
	Head       *string        `json:"head"`       // the turn that the next one follows; null before the first
	Parent     *SessionParent `json:"parent"`     // null unless it was forked
	Durability string         `json:"durability"`
	Durable    bool           `json:"durable"` // the disk holds what durability promises
	Exact      bool           `json:"exact"`   // every turn was made by the same model
	Pinned     bool           `json:"pinned"`
	Turns      int            `json:"turns"`
	Tokens     int            `json:"tokens"` // of the conversation up to the head
	Bytes      *SessionBytes  `json:"bytes"`  // null while a turn is under way
}

// SessionParent says where a session was forked.
type SessionParent struct {
	ID   string  `json:"id"`
	Head *string `json:"head"`
}

// SessionBytes says how much of a session's KV is where. What is nowhere is
// computed anew.
type SessionBytes struct {
	Total  int64 `json:"total"`  // of all full blocks
	Device int64 `json:"device"` // of those that need not be loaded
	Disk   int64 `json:"disk"`   // of those that are in the store
}

// SessionList is the answer to GET /v1/sessions, newest first or as the server
// keeps them: after takes the last ID of the page before.
type SessionList struct {
	Object  string    `json:"object"` // ObjectList
	Data    []Session `json:"data"`
	HasMore bool      `json:"has_more"`
}

// SessionDeleted is the answer to DELETE /v1/sessions/{id}.
type SessionDeleted struct {
	ID      string `json:"id"`
	Object  string `json:"object"` // ObjectSessionDeleted
	Deleted bool   `json:"deleted"`
	Durable bool   `json:"durable"` // the disk says so too
}

// SessionReport is the answer to POST /v1/sessions/{id}/verify.
type SessionReport struct {
	ID      string       `json:"id"`
	Object  string       `json:"object"` // ObjectSessionReport
	OK      bool         `json:"ok"`     // nothing is damaged; a missing block is computed anew
	Records int          `json:"records"`
	Turns   int          `json:"turns"`
	Tokens  int          `json:"tokens"`
	Damage  string       `json:"damage,omitzero"` // what is wrong with the log
	Blocks  BlocksReport `json:"blocks"`
}

// BlocksReport counts the blocks of a session's KV in the store.
type BlocksReport struct {
	Total   int `json:"total"`
	Good    int `json:"good"`
	Missing int `json:"missing"`
	Bad     int `json:"bad"`
}

// Turn describes one turn of a session.
type Turn struct {
	ID               string         `json:"id"`
	Object           string         `json:"object"` // ObjectTurn
	SessionID        string         `json:"session_id"`
	Parent           *string        `json:"parent"` // the turn before; null for none
	State            string         `json:"state"`  // open, committed, interrupted or incomplete
	Created          int64          `json:"created"`
	FinishReason     *string        `json:"finish_reason"`
	PromptTokens     int            `json:"prompt_tokens"` // that came with it
	CompletionTokens int            `json:"completion_tokens"`
	Messages         Messages       `json:"messages,omitzero"` // that came with it
	Text             string         `json:"text"`              // of the completion, as far as it got
	Answer           jsontext.Value `json:"answer,omitzero"`   // what the client was answered, once committed
}

// TurnList is the answer to GET /v1/sessions/{id}/turns: all turns, also those
// that a rewind has left, in the order in which they began.
type TurnList struct {
	Object string  `json:"object"` // ObjectList
	Data   []Turn  `json:"data"`
	Head   *string `json:"head"`
}

// SessionState is what every answer of a session's turn says of it, the last
// events of a stream among them.
type SessionState struct {
	ID      string  `json:"id"`
	Head    *string `json:"head"`
	Durable bool    `json:"durable"`
	Exact   bool    `json:"exact"`
}

// DecodeSessionRequest decodes and checks the body of a request that makes or
// changes a session. An error is always an *Error.
func DecodeSessionRequest(body []byte) (*SessionRequest, error) {
	var r SessionRequest
	return &r, decodeOptional(body, &r)
}

// DecodeForkRequest does the same for a fork.
func DecodeForkRequest(body []byte) (*ForkRequest, error) {
	var r ForkRequest
	return &r, decodeOptional(body, &r)
}

// DecodeRewindRequest does the same for a rewind.
func DecodeRewindRequest(body []byte) (*RewindRequest, error) {
	var r RewindRequest
	return &r, decodeOptional(body, &r)
}

// NoParameters are the parameters of a request that has none. Those that are
// there all the same are ignored, as everywhere.
type NoParameters struct{}

// DecodeNoParameters checks the body of a request that has no parameters.
func DecodeNoParameters(body []byte) error { return decodeOptional(body, &NoParameters{}) }

func (*NoParameters) validate() error { return nil }

// decodeOptional is decodeBody for a body that may be left out.
func decodeOptional(body []byte, into interface{ validate() error }) error {
	if len(bytes.TrimSpace(body)) == 0 {
		body = []byte("{}")
	}
	return decodeBody(body, into)
}

func (r *SessionRequest) validate() error {
	switch r.Durability {
	case "", "memory", "turn", "step":
	default:
		return BadRequest(CodeInvalidValue, "durability", "The durability %s does not exist; use memory, turn or step.", quote(r.Durability))
	}
	return checkInt("ttl_seconds", r.TTLSeconds, 0, MaxTTLSeconds)
}

func (r *ForkRequest) validate() error {
	if err := checkInt("n", r.N, 1, MaxForks); err != nil {
		return err
	}
	return checkTurn(r.Turn)
}

func (r *RewindRequest) validate() error {
	if r.Turn == nil {
		return BadRequest(CodeMissingParameter, "turn", `The parameter 'turn' is required: the turn that shall be the head, or "" for the beginning.`)
	}
	return checkTurn(*r.Turn)
}

func checkTurn(id string) error {
	if len(id) > maxTurnIDBytes {
		return BadRequest(CodeInvalidValue, "turn", "There is no turn %s.", quote(id))
	}
	return nil
}

// CheckSession refuses what a turn of a session cannot do: it is one completion
// whose log is its tokens.
func (r *ChatRequest) CheckSession() error {
	switch {
	case r.Logprobs:
		return notInSession("logprobs")
	case r.ContinueFinalMessage:
		return notInSession("continue_final_message")
	}
	return r.Options.checkSession()
}

// CheckSession is the same for a completion that is no chat.
func (r *CompletionRequest) CheckSession() error {
	switch {
	case r.Prompt.Len() != 1:
		return BadRequest(CodeInvalidValue, "prompt", "A turn of a session has one prompt, not %d.", r.Prompt.Len())
	case r.BestOf != nil && *r.BestOf > 1:
		return notInSession("best_of")
	case r.Logprobs != nil:
		return notInSession("logprobs")
	case r.Echo:
		return notInSession("echo")
	}
	return r.Options.checkSession()
}

func (o *Options) checkSession() error {
	switch {
	case o.Choices() > 1:
		return BadRequest(CodeInvalidValue, "n", "'n' is %d; a turn of a session is one completion. Fork the session for several.", o.Choices())
	case o.PromptLogprobs != nil:
		return notInSession("prompt_logprobs")
	}
	return nil
}

func notInSession(param string) error {
	return BadRequest(CodeInvalidValue, param, "'%s' is not allowed in a turn of a session.", param)
}

// ParseLimit reads the limit of a list; an empty one is the default.
func ParseLimit(text string) (int, error) {
	if text == "" {
		return defSessionList, nil
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n < 1 || n > MaxSessionList {
		return 0, BadRequest(CodeInvalidValue, "limit", "'limit' must be a number from 1 to %d, not %s.", MaxSessionList, quote(text))
	}
	return int(n), nil
}
