package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/holdfast-run/holdfast/api"
)

// remote are the sessions of a server.
type remote struct {
	base string
	key  string
}

// maxAnswer bounds what is read of an answer that is no archive.
const maxAnswer = 64 << 20

func newRemote(at *sessionAt) (*remote, error) {
	u, err := url.Parse(at.Server)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, usagef("session: --server is %q; give a URL, as in http://127.0.0.1:8080", at.Server)
	}
	r := &remote{base: strings.TrimSuffix(strings.TrimSuffix(at.Server, "/"), "/v1"), key: os.Getenv("OPENAI_API_KEY")}
	if at.APIKeyFile != "" {
		text, err := os.ReadFile(at.APIKeyFile)
		if err != nil {
			return nil, fmt.Errorf("session: API key: %w", err)
		}
		line, _, _ := strings.Cut(string(text), "\n")
		r.key = strings.TrimSpace(line)
	}
	return r, nil
}

// send sends a request; the answer of another status than 200 is an error.
func (r *remote) send(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, r.base+"/v1/sessions"+path, body)
	if err != nil {
		return nil, usagef("session: %v", err)
	}
	if r.key != "" {
		req.Header.Set("Authorization", "Bearer "+r.key)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		if uerr := new(url.Error); errors.As(err, &uerr) {
			err = uerr.Err
		}
		return nil, fmt.Errorf("session: %s: %w: is a server there? Give --server URL, or --store DIR for a store that none has open", r.base, err)
	}
	if res.StatusCode == 200 {
		return res, nil
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	var e api.ErrorBody
	if err := json.Unmarshal(text, &e); err != nil || e.Error == nil {
		return nil, fmt.Errorf("session: %s: status %d: is it a Holdfast?", r.base, res.StatusCode)
	}
	return nil, fmt.Errorf("session: %s: %s", r.base, e.Error.Message)
}

// call sends a request and reads the answer into got.
func (r *remote) call(ctx context.Context, method, path string, body, got any) error {
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return err
		}
	}
	res, err := r.send(ctx, method, path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	return read(res, got)
}

func read(res *http.Response, got any) error {
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err == nil {
		err = json.Unmarshal(text, got)
	}
	if err != nil {
		return fmt.Errorf("session: the server's answer: %w", err)
	}
	return nil
}

func (r *remote) each(ctx context.Context, f func(owned) error) error {
	after := ""
	for {
		var page api.SessionList
		if err := r.call(ctx, "GET", fmt.Sprintf("?limit=%d&after=%s", api.MaxSessionList, url.QueryEscape(after)), nil, &page); err != nil {
			return err
		}
		for _, s := range page.Data {
			if err := f(owned{Session: s}); err != nil {
				return err
			}
		}
		if !page.HasMore || len(page.Data) == 0 {
			return nil
		}
		after = page.Data[len(page.Data)-1].ID
	}
}

func (r *remote) get(ctx context.Context, id string) (*owned, error) {
	var got owned
	return &got, r.call(ctx, "GET", "/"+url.PathEscape(id), nil, &got.Session)
}

func (r *remote) turns(ctx context.Context, id string) (*api.TurnList, error) {
	var got api.TurnList
	return &got, r.call(ctx, "GET", "/"+url.PathEscape(id)+"/turns", nil, &got)
}

func (r *remote) fork(ctx context.Context, id, turn string, n int) ([]api.Session, error) {
	var got api.SessionList
	err := r.call(ctx, "POST", "/"+url.PathEscape(id)+"/fork", api.ForkRequest{N: new(int64(n)), Turn: turn}, &got)
	return got.Data, err
}

func (r *remote) rewind(ctx context.Context, id, turn string) (*api.Session, error) {
	var got api.Session
	return &got, r.call(ctx, "POST", "/"+url.PathEscape(id)+"/rewind", api.RewindRequest{Turn: &turn}, &got)
}

func (r *remote) export(ctx context.Context, id string, w io.Writer) error {
	res, err := r.send(ctx, "POST", "/"+url.PathEscape(id)+"/export", nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if _, err := io.Copy(w, res.Body); err != nil {
		return fmt.Errorf("session: export: %w", err)
	}
	return nil
}

func (r *remote) importFrom(ctx context.Context, in io.Reader, inexact bool) (*api.Session, error) {
	archive, err := io.ReadAll(io.LimitReader(in, api.MaxImportBytes+1))
	if err != nil {
		return nil, fmt.Errorf("session: import: %w", err)
	}
	if len(archive) > api.MaxImportBytes {
		return nil, fmt.Errorf("session: import: a server takes %s at most: import it into a stopped store with --store DIR", bytesText(api.MaxImportBytes))
	}
	path := "/import"
	if inexact {
		path += "?allow_inexact=true"
	}
	res, err := r.send(ctx, "POST", path, bytes.NewReader(archive))
	if err != nil {
		return nil, err
	}
	var got api.Session
	return &got, read(res, &got)
}

func (r *remote) verify(ctx context.Context, id string) (*api.SessionReport, error) {
	var got api.SessionReport
	return &got, r.call(ctx, "POST", "/"+url.PathEscape(id)+"/verify", nil, &got)
}

func (r *remote) remove(ctx context.Context, id string) error {
	var got api.SessionDeleted
	return r.call(ctx, "DELETE", "/"+url.PathEscape(id), nil, &got)
}

func (r *remote) Close() error { return nil }
