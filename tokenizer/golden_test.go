package tokenizer

import (
	"bytes"
	"encoding/binary"
	"slices"
	"sync"
	"testing"
)

// goldenPres are the columns of testdata/golden.gz; the last is EncodeTemplate
// under smollm.
var goldenPres = []string{"gpt-2", "smollm", "llama-bpe", "qwen2", "smollm"}

type goldenCase struct {
	text string
	ids  [5][]int32
	lens [4][]int // of the pre-tokens, in bytes, under goldenPres[:4]
}

// goldenCases returns the cases, which belong to all tests.
func goldenCases(t testing.TB) []goldenCase {
	t.Helper()
	cases, err := readGolden()
	if err != nil {
		t.Fatal(err)
	}
	return cases
}

var readGolden = sync.OnceValues(func() ([]goldenCase, error) {
	data, err := gunzip("testdata/golden.gz")
	if err != nil {
		return nil, err
	}
	var cases []goldenCase
	for len(data) > 0 {
		var c goldenCase
		n := binary.LittleEndian.Uint32(data)
		c.text, data = string(data[4:4+n]), data[4+n:]
		for i := range c.ids {
			n := int(binary.LittleEndian.Uint16(data))
			data = data[2:]
			for range n {
				c.ids[i] = append(c.ids[i], int32(binary.LittleEndian.Uint16(data)))
				data = data[2:]
			}
		}
		for i := range c.lens {
			n := int(binary.LittleEndian.Uint16(data))
			data = data[2:]
			for range n {
				c.lens[i] = append(c.lens[i], int(binary.LittleEndian.Uint16(data)))
				data = data[2:]
			}
		}
		cases = append(cases, c)
	}
	return cases, nil
})

// TestGolden compares every string with the reference's IDs, and the text that
// the IDs give with the string.
func TestGolden(t *testing.T) {
	cases := goldenCases(t)
	if len(cases) != 10000 {
		t.Fatalf("%d cases", len(cases))
	}
	for column, pre := range goldenPres {
		tok := smol(t, pre)
		missing := tok.MissingBytes()
		encode := tok.Encode
		name := pre
		if column == 4 {
			encode, name = tok.EncodeTemplate, "template"
		}
		t.Run(name, func(t *testing.T) {
			var ids []int32
			var raw []byte
			wrong := 0
			for i, c := range cases {
				ids = encode(ids[:0], c.text)
				if !slices.Equal(ids, c.ids[column]) {
					if wrong++; wrong <= 5 {
						t.Errorf("case %d %q:\n got %d %q\nwant %d %q", i, c.text, ids, pieces(tok, ids), c.ids[column], pieces(tok, c.ids[column]))
					}
				}
				raw = raw[:0]
				for _, id := range ids {
					raw = tok.AppendPiece(raw, id)
				}
				if want := without(c.text, missing); !bytes.Equal(raw, want) {
					t.Fatalf("case %d %q: pieces give %q", i, c.text, raw)
				}
			}
			if wrong > 0 {
				t.Errorf("%d of %d differ", wrong, len(cases))
			}
		})
	}
}

// TestGoldenPreTokens compares the pre-tokens, which a vocabulary without
// merges for them would hide.
func TestGoldenPreTokens(t *testing.T) {
	for column, pre := range goldenPres[:4] {
		next := families[pre].next
		for i, c := range goldenCases(t) {
			var lens []int
			for rest := c.text; len(rest) > 0; {
				n := next(rest)
				lens = append(lens, n)
				rest = rest[n:]
			}
			if !slices.Equal(lens, c.lens[column]) {
				t.Errorf("%s: case %d %q: got %d, want %d", pre, i, c.text, lens, c.lens[column])
				break
			}
		}
	}
}

func pieces(tok *Tokenizer, ids []int32) []string {
	var out []string
	for _, id := range ids {
		out = append(out, tok.Piece(id))
	}
	return out
}

func without(text string, missing []byte) []byte {
	var out []byte
	for i := 0; i < len(text); i++ {
		if !slices.Contains(missing, text[i]) {
			out = append(out, text[i])
		}
	}
	return out
}
