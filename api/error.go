package api

import "fmt"

// Error is OpenAI's error object. It is a Go error as well, so that a decoder
// can say in one value what is wrong and how the client shall be told.
type Error struct {
	Status  int     `json:"-"` // the HTTP status it is sent with
	Message string  `json:"message"`
	Type    string  `json:"type"`
	Param   *string `json:"param"` // the parameter at fault, or null
	Code    *string `json:"code"`  // for programs; always a string here
	// Head is the head of a session that has another one than the client thinks;
	// empty before its first turn.
	Head *string `json:"head,omitzero"`
}

// ErrorBody is the body of every answer that is not a success.
type ErrorBody struct {
	Error *Error `json:"error"`
}

func (e *Error) Error() string { return e.Message }

// Values of Error.Type.
const (
	TypeInvalidRequest = "invalid_request_error"
	TypeRateLimit      = "rate_limit_error"
	TypeServer         = "server_error"
)

// Values of Error.Code.
const (
	CodeInvalidJSON          = "invalid_json"
	CodeInvalidType          = "invalid_type"
	CodeInvalidValue         = "invalid_value"
	CodeMissingParameter     = "missing_required_parameter"
	CodeUnsupportedParameter = "unsupported_parameter"
	CodeInvalidPrompt        = "invalid_prompt"
	CodeContextLength        = "context_length_exceeded"
	CodeModelNotFound        = "model_not_found"
	CodeNotFound             = "not_found"
	CodeMethodNotAllowed     = "method_not_allowed"
	CodeUnsupportedMedia     = "unsupported_media_type"
	CodeTooLarge             = "request_too_large"
	CodeTimeout              = "request_timeout"
	CodeRateLimit            = "rate_limit_exceeded"
	CodeShuttingDown         = "shutting_down"
	CodeOverloaded           = "overloaded"
	CodeDeadline             = "deadline_exceeded"
	CodeInvalidKey           = "invalid_api_key"
	CodeDevice               = "device_error"
	CodeInternal             = "internal_error"

	// Of sessions.
	CodeStoreOff        = "store_off"
	CodeSessionNotFound = "session_not_found"
	CodeSessionGone     = "session_gone"
	CodeSessionBusy     = "session_busy"
	CodeSessionDamaged  = "session_damaged"
	CodeTurnNotFound    = "turn_not_found"
	CodeTurnIncomplete  = "turn_incomplete"
	CodeStaleHead       = "stale_head"
	CodeModelMismatch   = "model_mismatch"
	CodeHistoryMismatch = "history_mismatch"
	CodeKindMismatch    = "kind_mismatch"
	CodeKeyReused       = "idempotency_key_reused"
	CodeTooMany         = "too_many_sessions"
	CodeInvalidImport   = "invalid_import"
)

// NewError returns an error with no parameter.
func NewError(status int, typ, code, message string) *Error {
	return &Error{Status: status, Type: typ, Code: &code, Message: message}
}

// BadRequest returns a 400 for a parameter; param is empty when none is at fault.
func BadRequest(code, param, format string, args ...any) *Error {
	e := NewError(400, TypeInvalidRequest, code, fmt.Sprintf(format, args...))
	if param != "" {
		e.Param = &param
	}
	return e
}
