package e2e

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// TestBackup copies the log of a server that works, as docs/SESSIONS.md has it, with a
// turn under way, and lets the server go on. A server of the copy has every session as
// it was, and goes on as the first one does.
func TestBackup(t *testing.T) {
	store, backup := t.TempDir(), t.TempDir()
	args := []string{"--model", tinyModel, "--durability", "step", "--restore", "auto", "--store"}
	s := serve(t, append(args, store)...)
	whole, under := s.newSession("{}"), s.newSession("{}")
	s.turn("tiny-chat", whole, "hi", sampled)
	body := chatBody("tiny-chat", "go on", strings.Replace(sampled, "48", "400", 1)+`,"ignore_eos":true,"stream":true`)
	res, err := http.Post(s.url+"/v1/sessions/"+under+"/turns", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	seen, _ := readNumbered(t, lines, 10)

	s.signal(syscall.SIGSTOP)
	err = os.CopyFS(filepath.Join(backup, "log"), os.DirFS(filepath.Join(store, "log")))
	s.signal(syscall.SIGCONT)
	if err != nil {
		t.Fatal(err)
	}
	rest, done := readNumbered(t, lines, 1<<30)
	want := append(seen, rest...)
	if !done || len(rest) == 0 {
		t.Fatalf("%d events before the copy, %d after it, done %v", len(seen), len(rest), done)
	}
	next := s.turn("tiny-chat", whole, "and then?", sampled)

	if out := run(t, "", "session", "fsck", "--store", backup); out.code != 0 || !strings.HasPrefix(out.stdout, "2 sessions, 0 damaged; ") {
		t.Fatalf("fsck of the copy: %+v", out)
	}
	// Exports, of the server that works.
	archive := run(t, "", "session", "export", "--server", s.url, whole)
	if archive.code != 0 {
		t.Fatalf("%+v", archive)
	}

	copied := serve(t, append(args, backup)...)
	wantSame(t, "the next turn", copied.turn("tiny-chat", whole, "and then?", sampled), next)
	_, _, text := copied.do("GET", fmt.Sprintf("/v1/sessions/%s/turns/turn_1?stream=true", under), "")
	got, done := readNumbered(t, bufio.NewScanner(strings.NewReader(text)), 1<<30)
	gotText, gotNumbers := words(got)
	wantText, wantNumbers := words(want)
	if !done || gotText != wantText || !slices.Equal(gotNumbers, wantNumbers) {
		t.Errorf("the turn that was under way: %q %v\nwant %q %v", gotText, gotNumbers, wantText, wantNumbers)
	}

	imported := run(t, archive.stdout, "session", "import", "--server", copied.url)
	id := strings.TrimSpace(imported.stdout)
	if imported.code != 0 || id == whole {
		t.Fatalf("import: %+v", imported)
	}
	third := s.turn("tiny-chat", whole, "what else?", sampled)
	wantSame(t, "after an import", copied.turn("tiny-chat", id, "what else?", sampled), third)
}
