package mutate

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const version = "go test fuzz v1"

// corpus reads what lies in testdata/fuzz/TARGET.
func corpus(t *testing.T, target string) (inputs []Input) {
	dir := filepath.Join("testdata", "fuzz", target)
	files, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	for _, f := range files {
		data, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		in, err := decode(string(data))
		if err != nil {
			t.Fatalf("%s/%s: %v", dir, f.Name(), err)
		}
		inputs = append(inputs, in)
	}
	return inputs
}

// decode reads a file of Go's engine: a line for each argument, as Go writes it.
func decode(file string) (Input, error) {
	lines := strings.Split(strings.TrimSpace(file), "\n")
	if lines[0] != version {
		return nil, fmt.Errorf("the first line is %q, not %q", lines[0], version)
	}
	var in Input
	for _, line := range lines[1:] {
		x, err := argument(strings.TrimSpace(line))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", line, err)
		}
		in = append(in, x)
	}
	return in, nil
}

func argument(line string) (any, error) {
	kind, literal, _ := strings.Cut(strings.TrimSuffix(line, ")"), "(")
	switch kind {
	case "[]byte":
		s, err := strconv.Unquote(literal)
		return []byte(s), err
	case "string":
		return strconv.Unquote(literal)
	case "rune":
		s, err := strconv.Unquote(literal)
		return []rune(s + " ")[0], err
	case "int32":
		x, err := strconv.ParseInt(literal, 0, 32)
		return int32(x), err
	case "int64":
		return strconv.ParseInt(literal, 0, 64)
	case "uint64":
		return strconv.ParseUint(literal, 0, 64)
	}
	return nil, errors.New("an argument of another type than mutate.Input has")
}

func (in Input) encode() string {
	var b strings.Builder
	b.WriteString(version + "\n")
	for _, x := range in {
		switch x := x.(type) {
		case []byte:
			fmt.Fprintf(&b, "[]byte(%q)\n", x)
		case string:
			fmt.Fprintf(&b, "string(%q)\n", x)
		default:
			fmt.Fprintf(&b, "%T(%d)\n", x, x)
		}
	}
	return b.String()
}

// clone copies what can be changed.
func (in Input) clone() Input {
	out := slices.Clone(in)
	for i, x := range out {
		if b, ok := x.([]byte); ok {
			out[i] = slices.Clone(b)
		}
	}
	return out
}

// write writes an input to a folder, and returns its path.
func write(t *testing.T, dir string, in Input) string {
	text := in.encode()
	path := fmt.Sprintf("%s/%x", dir, sha256.Sum256([]byte(text)))[:len(dir)+17]
	if err := errors.Join(os.MkdirAll(dir, 0o777), os.WriteFile(path, []byte(text), 0o666)); err != nil {
		t.Error(err)
	}
	return path
}

// classOf returns the words of an error without what differs between errors that say the
// same: numbers, and what is quoted.
func classOf(err error) string {
	if err == nil {
		return "no error"
	}
	text := err.Error()
	class := make([]byte, 0, 128)
	for i := 0; i < len(text) && len(class) < cap(class); i++ {
		c := text[i]
		switch {
		case '0' <= c && c <= '9':
			c = '0'
		case c == '"' || c == '`' || c == '\'':
			for i++; i < len(text) && text[i] != c; i++ {
				if text[i] == '\\' && c != '`' {
					i++
				}
			}
		}
		if n := len(class); c != '0' || n == 0 || class[n-1] != '0' {
			class = append(class, c)
		}
	}
	return string(class)
}

func sorted(classes map[string]int) []string {
	names := slices.Collect(maps.Keys(classes))
	slices.SortFunc(names, func(a, b string) int { return classes[b] - classes[a] })
	return names
}
