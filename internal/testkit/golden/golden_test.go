package golden

import (
	"os"
	"testing"
)

func TestTiny(t *testing.T) {
	cases := Tiny(t)
	if len(cases) < 17 {
		t.Errorf("%d tiny models, want at least 17", len(cases))
	}
	crossed := 0
	for _, c := range cases {
		if fi, err := os.Stat(c.Path); err != nil || fi.Size() > 300<<10 {
			t.Errorf("%s: %v, or more than 300 KiB", c.Name, err)
		}
		if len(c.Tokens) > 257 {
			crossed++
		}
		for i, p := range c.Positions {
			best := int32(0)
			for id, v := range c.Logits[i] {
				if v > c.Logits[i][best] {
					best = int32(id)
				}
			}
			if best != c.Argmax[p] {
				t.Errorf("%s: position %d: greatest logit is of token %d, argmax says %d", c.Name, p, best, c.Argmax[p])
			}
		}
		for i, id := range c.Tokens {
			if id < 0 || int(id) >= c.Vocab {
				t.Errorf("%s: token %d is %d of %d", c.Name, i, id, c.Vocab)
			}
			if i >= c.Prompt && id != c.Argmax[i-1] {
				t.Errorf("%s: token %d is %d, the greedy choice is %d", c.Name, i, id, c.Argmax[i-1])
			}
		}
	}
	if crossed < 2 {
		t.Errorf("%d models cross position 256, want at least 2", crossed)
	}
}

func TestParseTinyRejects(t *testing.T) {
	c := TinyCase(t, "mha-odd")
	data, err := os.ReadFile(c.Path[:len(c.Path)-len(".gguf")] + ".golden")
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range [][]byte{nil, data[:7], data[:23], data[:len(data)-1], append([]byte("x"), data...)} {
		if _, err := parseTiny(bad); err == nil {
			t.Errorf("%d bytes were accepted", len(bad))
		}
	}
}
