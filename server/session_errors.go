package server

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/valyala/fasthttp"

	"github.com/holdfast-run/holdfast/api"
	"github.com/holdfast-run/holdfast/engine"
	"github.com/holdfast-run/holdfast/session"
)

func errStoreOff() *api.Error {
	return api.NewError(501, api.TypeInvalidRequest, api.CodeStoreOff, "This server keeps no sessions: it was started with --store off.")
}

// sessionError returns what the client shall be told of an error about sessions,
// or nil if it is none.
func sessionError(err error) *api.Error {
	told := func(status int, code, format string, args ...any) *api.Error {
		return api.NewError(status, api.TypeInvalidRequest, code, fmt.Sprintf(format, args...))
	}
	var stale *session.StaleHeadError
	var busy *session.BusyError
	var damage *session.DamagedError
	var unreadable *session.UnreadableError
	var model *session.ModelError
	var archive *session.ArchiveError
	switch {
	case errors.As(err, &stale):
		e := told(409, api.CodeStaleHead, "The session's head is %s by now: read the turns that came, then send the request with that in If-Match.", headName(stale.Head))
		e.Head = &stale.Head
		return e
	case errors.As(err, &busy):
		e := told(409, api.CodeSessionBusy, "Another turn of this session is under way, behind %s: wait for its end, or fork the session.", headName(busy.Head))
		e.Head = &busy.Head
		return e
	case errors.As(err, &model):
		return told(409, api.CodeModelMismatch, "The session was made with another model: the %s differ. With 'allow_inexact' it goes on from its tokens if the tokenizer is the same.", strings.Join(model.Differs, ", "))
	case errors.As(err, &damage):
		return told(422, api.CodeSessionDamaged, "Records of this session are damaged from %s on. Rewind to a turn before that, or fork there.", damage.Turn)
	case errors.As(err, &unreadable):
		return told(422, api.CodeSessionDamaged, "A record of this session is not understood by this server: %s.", trimPackage(err))
	case errors.As(err, &archive):
		return told(422, api.CodeInvalidImport, "The body is no session that can be imported: %s.", archive.What)
	case errors.Is(err, session.ErrNotFound):
		return told(404, api.CodeSessionNotFound, "There is no such session.")
	case errors.Is(err, session.ErrGone):
		return told(410, api.CodeSessionGone, "The session has expired or was deleted.")
	case errors.Is(err, session.ErrNoTurn):
		return told(404, api.CodeTurnNotFound, "The session has no such turn, or not as one that was committed: GET /v1/sessions/{id}/turns lists them.")
	case errors.Is(err, session.ErrNotRunning):
		return told(409, api.CodeTurnIncomplete, "The turn is not the session's last one, so it cannot go on.")
	case errors.Is(err, session.ErrKeyReused):
		return told(422, api.CodeKeyReused, "The Idempotency-Key was used for another request; take a new one.")
	case errors.Is(err, session.ErrTooMany):
		return told(422, api.CodeTooMany, "A limit was reached: %s.", trimPackage(err))
	case errors.Is(err, session.ErrTooLarge):
		return told(413, api.CodeTooLarge, "The session cannot hold this: %s.", trimPackage(err))
	case errors.Is(err, session.ErrInvalid):
		return told(400, api.CodeInvalidValue, "%s.", trimPackage(err))
	case errors.Is(err, session.ErrClosed):
		return api.NewError(503, api.TypeServer, api.CodeShuttingDown, "The server is shutting down; please retry.")
	case errors.Is(err, engine.ErrPrincipals):
		return api.NewError(503, api.TypeServer, api.CodeOverloaded, "The server has seen too many principals since it was started.")
	}
	return nil
}

// headName names a head in a sentence.
func headName(head string) string {
	if head == "" {
		return "its beginning"
	}
	return head
}

// checkHead compares the head that a request expects in If-Match, if it says so, with
// the one that is. An ETag's quotes may be left out, but for those around nothing: that
// is the head of a session without a turn.
func checkHead(http *fasthttp.RequestCtx, head string) error {
	want := strings.TrimSpace(string(http.Request.Header.Peek("If-Match")))
	if want == "" || want == "*" || strings.Trim(want, `"`) == head {
		return nil
	}
	return &session.StaleHeadError{Head: head}
}

// idempotencyKey returns the key of a request that may be sent again, "" for none.
func idempotencyKey(http *fasthttp.RequestCtx) (string, error) {
	key := strings.TrimSpace(string(http.Request.Header.Peek("Idempotency-Key")))
	if len(key) > api.MaxKeyBytes {
		return "", api.BadRequest(api.CodeInvalidValue, "Idempotency-Key", "An Idempotency-Key may have %d bytes.", api.MaxKeyBytes)
	}
	if !utf8.ValidString(key) {
		return "", api.BadRequest(api.CodeInvalidValue, "Idempotency-Key", "An Idempotency-Key must be UTF-8.")
	}
	return key, nil
}
