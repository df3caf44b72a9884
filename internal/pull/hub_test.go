package pull

import (
	"crypto/sha1" //nolint:gosec // as Git does
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// hub is a server that behaves as the Hugging Face hub does, and misbehaves as
// told. Small files come from the hub itself, after a redirect on the same host;
// large ones from another server.
type hub struct {
	front, cdn *httptest.Server

	mu       sync.Mutex
	content  []byte
	commit   string
	large    bool   // SHA-256 in X-Linked-Etag, bytes from the other server
	plain    bool   // no hub's headers at all: an ETag and the bytes
	mute     bool   // and not even an ETag
	token    string // if set, the front asks for it
	announce []byte // content that the headers speak of; nil for content

	cuts     []int                                             // the next bodies end after so many bytes
	statuses []int                                             // the next requests for bytes get these statuses, 0 for none
	before   func(w http.ResponseWriter, r *http.Request) bool // sees requests for bytes first; true if it answered
	onGet    func()                                            // called when the front is asked for the file
	onCut    func()                                            // called after a body was cut
	requests []request
	ranges   []string // of the requests for bytes
}

type request struct {
	server, method, path, auth, rng, ifRange string
}

func newHub(t *testing.T, content []byte) *hub {
	h := &hub{content: content, commit: strings.Repeat("c0", 20), large: true}
	h.front = httptest.NewServer(http.HandlerFunc(h.serveFront))
	h.cdn = httptest.NewServer(http.HandlerFunc(h.serveCDN))
	t.Cleanup(h.front.Close)
	t.Cleanup(h.cdn.Close)
	return h
}

func (h *hub) note(server string, r *http.Request) {
	h.requests = append(h.requests, request{server, r.Method, r.URL.Path, r.Header.Get("Authorization"), r.Header.Get("Range"), r.Header.Get("If-Range")})
}

func (h *hub) etag() string {
	content := h.content
	if h.announce != nil {
		content = h.announce
	}
	if h.large || h.plain {
		sum := sha256.Sum256(content)
		return hex.EncodeToString(sum[:])
	}
	blob := sha1.New() //nolint:gosec // as Git does
	fmt.Fprintf(blob, "blob %d\x00", len(content))
	blob.Write(content)
	return hex.EncodeToString(blob.Sum(nil))
}

func (h *hub) serveFront(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.note("front", r)
	if r.Header.Get("Accept-Encoding") != "identity" {
		http.Error(w, "would be compressed", http.StatusNotAcceptable)
		return
	}
	if h.token != "" && r.Header.Get("Authorization") != "Bearer "+h.token {
		w.Header().Set("X-Error-Code", "RepoNotFound")
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if r.Method == http.MethodGet && h.onGet != nil {
		h.onGet()
	}
	path, cached := strings.CutPrefix(r.URL.Path, "/cache")
	switch {
	case !strings.HasPrefix(path, "/org/"):
		w.Header().Set("X-Error-Code", "RepoNotFound")
		w.WriteHeader(http.StatusNotFound)
	case !strings.HasPrefix(path, "/org/model/resolve/main/") && !strings.HasPrefix(path, "/org/model/resolve/"+h.commit+"/"):
		w.Header().Set("X-Error-Code", "RevisionNotFound")
		w.WriteHeader(http.StatusNotFound)
	case !strings.HasSuffix(path, "/weights.gguf"):
		w.Header().Set("X-Error-Code", "EntryNotFound")
		w.WriteHeader(http.StatusNotFound)
	case h.plain:
		if w.Header().Set("ETag", `"`+h.etag()[:20]+`"`); h.mute {
			w.Header().Del("ETag")
		}
		h.body(w, r)
	case h.large:
		w.Header().Set("X-Repo-Commit", h.commit)
		w.Header().Set("X-Linked-Etag", `"`+h.etag()+`"`)
		w.Header().Set("X-Linked-Size", strconv.Itoa(len(h.content)))
		w.Header().Set("ETag", `"something-else"`)
		w.Header().Set("Location", h.cdn.URL+"/blob?signature=secret")
		w.WriteHeader(http.StatusFound)
	case !cached:
		w.Header().Set("X-Repo-Commit", h.commit)
		w.Header().Set("Location", "/cache"+path)
		w.WriteHeader(http.StatusTemporaryRedirect)
	default:
		w.Header().Set("ETag", `"`+h.etag()+`"`)
		h.body(w, r)
	}
}

func (h *hub) serveCDN(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.note("cdn", r)
	h.body(w, r)
}

// body sends the content, or the range that was asked for, up to a cut.
func (h *hub) body(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodHead {
		w.Header().Set("Content-Length", strconv.Itoa(len(h.content)))
		return
	}
	h.ranges = append(h.ranges, r.Header.Get("Range"))
	if len(h.statuses) > 0 {
		status := h.statuses[0]
		h.statuses = h.statuses[1:]
		if status != 0 {
			w.WriteHeader(status)
			return
		}
	}
	if h.before != nil && h.before(w, r) {
		return
	}
	send, status := h.content, http.StatusOK
	var from int
	tag := strings.Trim(w.Header().Get("ETag"), `"`)
	condition := strings.Trim(r.Header.Get("If-Range"), `"`)
	if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from); err == nil && (condition == "" || condition == tag) {
		if from >= len(send) {
			w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
			return
		}
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(send)-1, len(send)))
		send, status = send[from:], http.StatusPartialContent
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(send)))
	w.WriteHeader(status)
	if len(h.cuts) > 0 {
		send = send[:min(h.cuts[0], len(send))]
		h.cuts = h.cuts[1:]
		_, _ = w.Write(send)
		_ = http.NewResponseController(w).Flush() // the client may be gone
		if h.onCut != nil {
			h.onCut()
		}
		panic(http.ErrAbortHandler)
	}
	_, _ = w.Write(send)
}
