// Package cheader reads as much of a vendor's C header as tests need to check
// that a binding declares the same: constants, struct layouts, and the widths
// of functions' arguments, for 64-bit Linux. It is used by tests alone.
//
// It is no compiler. Conditional parts are chosen by a few definitions, macros
// with parameters are skipped, and what it cannot read it does not know: a test
// that asks for it fails.
package cheader

import (
	"fmt"
	"go/constant"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// Folder is where scripts/cuda-wheels.sh puts NVIDIA's headers, from a folder
// two below the root.
const Folder = "../../build/cuda/nvidia/cu13/include"

// Header is what was read.
type Header struct {
	text   string
	consts map[string]int64
	types  map[string]ctype
}

// ctype is a type's layout.
type ctype struct {
	size, align int
	letter      byte // as dynload.Func.Args has it; 0 for structs
	fields      map[string]Field
}

// Field is a member of a struct, in bytes.
type Field struct{ Offset, Size int }

// Read reads header files as one text, in the order given: types before their
// use. The test is skipped if no headers are installed.
func Read(t testing.TB, files ...string) *Header {
	t.Helper()
	if _, err := os.Stat(Folder); err != nil {
		t.Skip("no NVIDIA headers: run scripts/cuda-wheels.sh")
	}
	var all strings.Builder
	for _, name := range files {
		b, err := os.ReadFile(filepath.Join(Folder, name))
		if err != nil {
			t.Fatal(err)
		}
		all.Write(b)
		all.WriteByte('\n')
	}
	return Parse(all.String())
}

// Parse reads a header's text.
func Parse(text string) *Header {
	h := &Header{consts: map[string]int64{}, types: builtin()}
	h.text = h.preprocess(strip(text))
	h.declarations()
	return h
}

func builtin() map[string]ctype {
	m := map[string]ctype{}
	add := func(size int, letter byte, names ...string) {
		for _, n := range names {
			m[n] = ctype{size: size, align: size, letter: letter}
		}
	}
	add(1, 'u', "char", "unsigned char", "uint8_t", "signed char", "int8_t")
	add(2, 'u', "short", "unsigned short", "uint16_t", "int16_t")
	add(4, 'i', "int", "int32_t")
	add(4, 'u', "unsigned int", "unsigned", "uint32_t")
	add(4, 'f', "float")
	add(8, 'q', "long", "unsigned long", "long long", "unsigned long long", "size_t", "uint64_t", "int64_t")
	return m
}

// strip removes comments, a space in place of each, and joins continued lines.
// No header of interest has a comment's mark in a string.
func strip(text string) string {
	var out strings.Builder
	for {
		code, rest, found := strings.Cut(text, "/")
		out.WriteString(code)
		switch {
		case !found:
			return continued.Replace(out.String())
		case strings.HasPrefix(rest, "*"):
			_, text, _ = strings.Cut(rest[1:], "*/")
			out.WriteByte(' ')
		case strings.HasPrefix(rest, "/"):
			_, text, _ = strings.Cut(rest, "\n")
			out.WriteByte('\n')
		default:
			out.WriteByte('/')
			text = rest
		}
	}
}

var continued = strings.NewReplacer("\\\r\n", " ", "\\\n", " ")

// Const returns an enumerator's or a macro's value.
func (h *Header) Const(name string) (int64, bool) {
	v, ok := h.consts[name]
	return v, ok
}

// Struct returns a struct's size and members.
func (h *Header) Struct(name string) (size int, fields map[string]Field, ok bool) {
	t, ok := h.types[name]
	return t.size, t.fields, ok && t.fields != nil
}

// Func returns the letters of a function's arguments.
func (h *Header) Func(name string) (string, error) {
	return h.signature(name, `\b`+regexp.QuoteMeta(name)+`\s*\(([^()]*)\)\s*;`)
}

// FuncType returns the letters of the arguments of a pointer-to-function type.
func (h *Header) FuncType(name string) (string, error) {
	return h.signature(name, `\*\s*`+regexp.QuoteMeta(name)+`\s*\)\s*\(([^()]*)\)\s*;`)
}

func (h *Header) signature(name, pattern string) (string, error) {
	m := regexp.MustCompile(pattern).FindStringSubmatch(h.text)
	if m == nil {
		return "", fmt.Errorf("no declaration of %s", name)
	}
	var letters []byte
	for _, arg := range strings.Split(m[1], ",") {
		if arg = strings.TrimSpace(arg); arg == "void" || arg == "" {
			continue
		}
		letter, err := h.letter(arg)
		if err != nil {
			return "", fmt.Errorf("%s: %w", name, err)
		}
		letters = append(letters, letter)
	}
	return string(letters), nil
}

// letter returns the kind of a parameter: "const void *src".
func (h *Header) letter(arg string) (byte, error) {
	if strings.ContainsAny(arg, "*[") {
		return 'p', nil
	}
	words := strings.Fields(strings.ReplaceAll(" "+arg+" ", " const ", " "))
	for n := len(words); n > 0; n-- { // with the parameter's name, then without
		if t, ok := h.types[strings.Join(words[:n], " ")]; ok && t.letter != 0 {
			return t.letter, nil
		}
	}
	return 0, fmt.Errorf("unknown type in %q", arg)
}

// value works out an integer expression of C, which is one of Go but for
// suffixes, sizeof and casts.
func (h *Header) value(expr string) (int64, bool) {
	if v, err := strconv.ParseInt(expr, 0, 64); err == nil {
		return v, true // nearly always
	}
	expr = sizeof.ReplaceAllStringFunc(expr, func(s string) string {
		t, ok := h.types[sizeof.FindStringSubmatch(s)[1]]
		if !ok {
			return s
		}
		return fmt.Sprint(t.size)
	})
	expr = word.ReplaceAllStringFunc(expr, func(s string) string {
		if v, ok := h.consts[s]; ok {
			return fmt.Sprint(v)
		}
		return s
	})
	expr = suffix.ReplaceAllString(expr, "$1")
	tv, err := types.Eval(token.NewFileSet(), nil, token.NoPos, expr)
	if err != nil || tv.Value == nil {
		return 0, false
	}
	if tv.Value.Kind() == constant.Bool {
		if constant.BoolVal(tv.Value) {
			return 1, true
		}
		return 0, true
	}
	return constant.Int64Val(constant.ToInt(tv.Value))
}

var (
	sizeof = regexp.MustCompile(`sizeof\s*\(\s*(\w+)\s*\)`)
	word   = regexp.MustCompile(`\b[A-Za-z_]\w*\b`)
	suffix = regexp.MustCompile(`\b(0[xX][0-9a-fA-F]+|\d+)[uUlL]+\b`)
)
