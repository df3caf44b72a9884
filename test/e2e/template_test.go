package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRunWithoutTemplate: a model that knows no conversation continues a prompt
// as text, and refuses what would be a conversation.
func TestRunWithoutTemplate(t *testing.T) {
	data, err := os.ReadFile(tinyModel)
	if err != nil {
		t.Fatal(err)
	}
	key := []byte("tokenizer.chat_template")
	if bytes.Count(data, key) != 1 {
		t.Fatalf("%s has %q %d times", tinyModel, key, bytes.Count(data, key))
	}
	bare := filepath.Join(t.TempDir(), "bare.gguf")
	if err := os.WriteFile(bare, bytes.Replace(data, key, []byte("tokenizer.chat_templat_"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"run", "--model", bare, "--temp", "0", "--max-tokens", "12", "-p", "<|im_start|>user\nhello<|im_end|>\n"}
	got := run(t, "", args...)
	if got.code != 0 || strings.TrimSpace(got.stdout) == "" || got.stderr != "" {
		t.Errorf("a prompt: %+v", got)
	}
	if got := run(t, "", append(args, "--system", "be brief")...); got.code != 1 || !strings.Contains(got.stderr, "no chat template") {
		t.Errorf("a system message: %+v", got)
	}
}
