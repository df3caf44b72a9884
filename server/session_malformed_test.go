package server

import (
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/holdfast-run/holdfast/api"
)

// fewestOfSessions is how many requests TestMalformedSessions must send.
const fewestOfSessions = 2000

// badCall is a malformed request that is more than its body.
type badCall struct {
	bad
	method  string
	headers []string
}

// TestMalformedSessions is TestMalformed for sessions: what is wrong in bodies, paths,
// queries and headers gets the client's error, and the session that all of it is about
// is the same afterwards, but for the turns that were right.
func TestMalformedSessions(t *testing.T) {
	s := serveSessions(t, newScribe(), t.TempDir())
	one := s.create(`{"durability":"memory"}`) // no disk to wait for
	s.chat(one.ID, "", "hi")
	at := sessionPrefix + one.ID
	samples := []sample{
		{sessionsPath, `{"durability":"memory","ttl_seconds":60,"pinned":false}`, reflect.TypeFor[api.SessionRequest]()},
		{at, `{"ttl_seconds":60,"pinned":true}`, reflect.TypeFor[api.SessionRequest]()},
		{at + "/fork", `{"n":1,"turn":"turn_1"}`, reflect.TypeFor[api.ForkRequest]()},
		{at + "/rewind", `{"turn":"turn_1"}`, reflect.TypeFor[api.RewindRequest]()},
		{at + "/turns", `{"model":"tiny","messages":[{"role":"user","content":"é☺"}],"max_tokens":2,"seed":5,"stop":["x"]}`, reflect.TypeFor[api.ChatRequest]()},
		{textPath, `{"model":"tiny","session_id":"` + one.ID + `","prompt":"b☺","max_tokens":2}`, reflect.TypeFor[api.CompletionRequest]()},
	}
	var all []badCall
	for _, b := range append(append(wrongTypes(samples), cutShort(samples)...), damaged(samples, 1000)...) {
		if b.body == "" && b.path != at+"/turns" && b.path != textPath {
			b.status = 0 // an empty body is an empty object
		}
		all = append(all, badCall{bad: b, method: "POST"})
	}
	all = append(all, badHeaders(at)...)
	all = append(all, badPaths(at, one.ID)...)
	all = append(all, badArchives(s, at)...)
	if len(all) < fewestOfSessions {
		t.Errorf("%d requests, want %d", len(all), fewestOfSessions)
	}
	conn := s.dial()
	for i := range all {
		conn = all[i].send(s, conn)
	}
	t.Logf("%d requests", len(all))

	// The session is there, whole, and goes on.
	must[api.Session](s, "POST", at+"/rewind", `{"turn":"turn_1"}`)
	if got := must[api.SessionReport](s, "POST", at+"/verify", ""); !got.OK {
		t.Errorf("%+v", got)
	}
	if got := s.chat(one.ID, "", "hi"); got.Session == nil || len(got.Choices) != 1 {
		t.Errorf("%+v", got)
	}
	s.drained()
}

// send sends the request, checks its answer, and returns the connection for the next.
func (b *badCall) send(s *testServer, conn *client) *client {
	s.t.Helper()
	head := ""
	for _, h := range b.headers {
		head += h + "\r\n"
	}
	conn.send(fmt.Sprintf("%s %s HTTP/1.1\r\nHost: x\r\n%sContent-Length: %d\r\n\r\n%s", b.method, b.path, head, len(b.body), b.body))
	res := conn.receive()
	b.check(s.t, res, conn.body(res))
	if res.Close {
		return s.dial()
	}
	return conn
}

// badHeaders are headers that sessions read.
func badHeaders(at string) []badCall {
	const turn, ok = `{"model":"tiny","messages":[{"role":"user","content":"x"}],"max_tokens":2}`, http.StatusOK
	long := strings.Repeat("x", 4000)
	var all []badCall
	add := func(status int, param, path, body string, headers ...string) {
		all = append(all, badCall{bad{"header", path, body, status, param}, "POST", headers})
	}
	for _, match := range []string{"turn_0", "turn_", "turn_99999999999999999999", "0", "null", `"`, `W/"turn_x"`, "-", long, "\xff\xfe", "turn_x, turn_y", "[]"} {
		add(409, "", at+"/turns", turn, "If-Match: "+match)
		add(409, "", chatPath, turn[:1]+`"session_id":"`+at[len(sessionPrefix):]+`",`+turn[1:], "If-Match: "+match)
		add(409, "", at+"/rewind", `{"turn":"turn_1"}`, "If-Match: "+match)
	}
	for _, key := range []string{strings.Repeat("k", api.MaxKeyBytes+1), long, "\xff", "a\xc3", strings.Repeat("\xff", 100), "\xed\xa0\x80"} {
		for path, body := range map[string]string{at + "/turns": turn, sessionsPath: "{}", importPath: "x"} {
			add(400, "Idempotency-Key", path, body, "Idempotency-Key: "+key)
		}
	}
	add(ok, "", at+"/turns", turn, "Idempotency-Key: a key, 鍵 \"1\" {}")
	add(422, "", at+"/turns", turn+" ", "Idempotency-Key: a key, 鍵 \"1\" {}")
	add(ok, "", at+"/turns", turn, "Idempotency-Key: \t ")
	for _, id := range []string{"sess_x", "sess_" + long, "sess_\xff", strings.ToUpper(at[len(sessionPrefix):]) + "sess_", "sess_%00", "sess_../.."} {
		status := 404
		if !api.IsSessionID(id) {
			status = ok // a router's
		}
		add(status, "", chatPath, turn, "X-Session-Id: "+id)
	}
	add(400, "session_id", at+"/turns", turn[:1]+`"session_id":"sess_x",`+turn[1:])
	add(ok, "", chatPath, turn, "X-Session-Id: 7", "X-Session-Id: "+at[len(sessionPrefix):])
	add(431, "", at+"/turns", turn, "Idempotency-Key: "+strings.Repeat("k", maxHeaderBytes))
	return all
}

// badPaths are paths and queries.
func badPaths(at, id string) []badCall {
	var all []badCall
	add := func(status int, param, method, path string) {
		all = append(all, badCall{bad: bad{"path", path, "", status, param}, method: method})
	}
	numbers := []string{"-1", "x", "1.5", "1e3", "99999999999999999999", "-", "+", "0x10", "1%00", "%201", "%2B1", "1,2", "null", "%ff"}
	for _, n := range numbers {
		add(400, "starting_after", "GET", at+"/turns/turn_1?stream=true&starting_after="+n)
		add(400, "limit", "GET", sessionsPath+"?limit="+n)
	}
	add(400, "limit", "GET", sessionsPath+"?limit=0")
	add(400, "limit", "GET", sessionsPath+"?limit=1001")
	for _, after := range []string{"x", "sess_", "sess_0", id + "0", id[:len(id)-1], "%00", "%ff", strings.Repeat("s", 4000)} {
		add(400, "after", "GET", sessionsPath+"?after="+after)
	}
	for _, turn := range []string{"turn_0", "turn_01", "turn_+1", "turn_", "turn", "1", "TURN_1", "turn_1x", "turn_99999999999999999999", "turn_-1", "%00", "%ff", strings.Repeat("t", 4000)} {
		add(404, "", "GET", at+"/turns/"+turn)
		add(404, "", "GET", at+"/turns/"+turn+"?stream=true")
	}
	for _, one := range []string{"x", "sess_", "sess_0", id + "0", id[:len(id)-1], strings.ToUpper(id), id[:36] + "g", id[:36] + "%00", "sess_%ff", "sess_" + strings.Repeat("0", 4000)} {
		add(404, "", "GET", sessionPrefix+one)
		add(404, "", "DELETE", sessionPrefix+one)
		for _, verb := range []string{"fork", "checkpoint", "park", "resume", "verify", "export"} {
			add(404, "", "POST", sessionPrefix+one+"/"+verb)
		}
	}
	for _, path := range []string{"/", "//", "/import/x", "/" + id + "/", "/" + id + "/Fork", "/" + id + "/fork/x", "/" + id + "/turns/turn_1/x", "/" + id + "/.", "/%2e%2e/x/y/z"} {
		add(404, "", "POST", sessionsPath+path)
	}
	add(405, "", "PUT", at)
	add(405, "", "DELETE", sessionsPath)
	add(405, "", "GET", at+"/fork")
	add(405, "", "GET", importPath)
	for _, how := range []string{"x", "TURN", "replicated", "%00", "turn,step"} {
		add(400, "durability", "POST", importPath+"?durability="+how)
	}
	return all
}

// badArchives are an export with one byte changed, and cut short.
func badArchives(s *testServer, at string) []badCall {
	_, archive := s.ask("POST", at+"/export", "")
	if len(archive) < 100 {
		s.t.Fatalf("an archive of %d bytes", len(archive))
	}
	var all []badCall
	for i := 0; i < len(archive); i += max(1, len(archive)/100) {
		changed := []byte(archive)
		changed[i] ^= 1 << (i % 8)
		for _, body := range []string{string(changed), archive[:i]} {
			all = append(all, badCall{bad: bad{"archive", importPath, body, 422, ""}, method: "POST"})
		}
	}
	return all
}
