package server

import (
	"errors"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"
)

// TestReloaded changes a file and looks whether that is seen, without waiting:
// the last look is moved into the past.
func TestReloaded(t *testing.T) {
	path := file(t, "value", "one")
	logs := &logBuffer{}
	reads := 0
	r, err := newReloaded(slog.New(slog.NewTextHandler(logs, nil)), func() (string, error) {
		reads++
		text, err := os.ReadFile(path)
		if string(text) == "bad" {
			err = errors.New("it is bad")
		}
		return string(text), err
	}, path)
	if err != nil || r.get() != "one" {
		t.Fatal(err)
	}
	later := func() string {
		r.looked = r.looked.Add(-recheck)
		return r.get()
	}
	if later() != "one" || reads != 1 {
		t.Errorf("%d reads of a file that did not change", reads)
	}
	replace(t, path, "two")
	if r.looked = time.Now(); r.get() != "one" {
		t.Error("the file is looked at too often")
	}
	if got := later(); got != "two" || reads != 2 {
		t.Errorf("another file: %q after %d reads", got, reads)
	}
	for i, how := range []string{"bad", ""} {
		if how == "" {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		} else {
			replace(t, path, how)
		}
		if got := later(); got != "two" || strings.Count(logs.String(), "is not used") != i+1 {
			t.Errorf("%q: %q, log %s", how, got, logs.String())
		}
		if later(); strings.Count(logs.String(), "is not used") != i+1 {
			t.Errorf("%q is logged twice:\n%s", how, logs.String())
		}
	}
	if err := os.WriteFile(path, []byte("three"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := later(); got != "three" {
		t.Errorf("after a file that was gone: %q", got)
	}
	// The same file, written anew.
	if err := os.WriteFile(path, []byte("four"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := later(); got != "four" {
		t.Errorf("a file of another length: %q", got)
	}
	if err := os.Chtimes(path, time.Time{}, time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	before := reads
	if later(); reads != before+1 {
		t.Error("a file of another time is not read")
	}
}
