package model_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/holdfast-run/holdfast/device/cpu"
	"github.com/holdfast-run/holdfast/device/ref"
	"github.com/holdfast-run/holdfast/internal/testkit/golden"
)

// TestFoldersOfRealModels: SmolLM2 and Gemma 3 as folders (scripts/folders.sh). In
// F32 the reference gives the bits that it gives for the quantised GGUF file
// that they were made of; in F16 the CPU gives those of the F16 GGUF file. How
// near the CPU is to the reference is `make accuracy`'s to say.
func TestFoldersOfRealModels(t *testing.T) {
	root := golden.Root(t)
	folders := filepath.Join(root, "build", "folders")
	if os.Getenv("HOLDFAST_LONG") == "" {
		t.Skip("minutes of computing; HOLDFAST_LONG=1 runs it")
	}
	tokens := golden.SmolLM2(t).Tokens[:16] // Gemma's vocabulary has these IDs too
	for name, file := range map[string]string{
		"smollm2": "SmolLM2-135M-Instruct.Q4_1.gguf", "gemma3": "gemma-3-270m-q4_k_m.gguf",
	} {
		path := filepath.Join(folders, name)
		if _, err := os.Stat(path + "-f16.done"); err != nil {
			t.Errorf("%s is not here: scripts/folders.sh writes it", path)
			continue
		}
		t.Run(name+"/f32", func(t *testing.T) {
			sameLogits(t, ref.Backend{}, filepath.Join(root, "models", file), path+"-f32", tokens)
		})
		t.Run(name+"/f16", func(t *testing.T) {
			sameLogits(t, cpu.Backend{}, path+"-f16.gguf", path+"-f16", tokens)
		})
	}
}
