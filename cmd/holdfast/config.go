package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"github.com/go-json-experiment/json/jsontext"
)

// configFile is a file that answers for flags which neither the command line nor
// the environment gives: one JSON object of flags' names, without the dashes
// before them, and values. A key that is no flag is refused, so that a slip of
// the pen does not pass for a default.
type configFile struct {
	path   string
	values map[string]any // by flag: a string, or a []any of strings
}

const maxConfigBytes = 1 << 20

// readConfig reads a file of values for the flags of a command.
func readConfig(path string, flags []*kong.Flag) (*configFile, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxConfigBytes+1))
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	if len(data) > maxConfigBytes {
		return nil, fmt.Errorf("config: %s: more than %s", path, bytesText(maxConfigBytes))
	}
	return parseConfig(path, data, flags)
}

// parseConfig reads what is in a file.
func parseConfig(path string, data []byte, flags []*kong.Flag) (*configFile, error) {
	c := &configFile{path: path, values: map[string]any{}}
	known := map[string]*kong.Flag{}
	for _, f := range flags {
		if f.Name != "help" && f.Name != "config" {
			known[f.Name] = f
		}
	}
	d := jsontext.NewDecoder(bytes.NewReader(data))
	if line, err := c.read(d, data, known); err != nil {
		return nil, fmt.Errorf("config: %s: line %d: %w", path, line, err)
	}
	return c, nil
}

// read returns the line on which something is wrong, and what.
func (c *configFile) read(d *jsontext.Decoder, data []byte, known map[string]*kong.Flag) (int, error) {
	line := func() int { return 1 + bytes.Count(data[:min(d.InputOffset(), int64(len(data)))], []byte("\n")) }
	syntax := func(err error) (int, error) {
		at := d.InputOffset()
		var se *jsontext.SyntacticError
		if errors.As(err, &se) {
			at, err = se.ByteOffset, se.Err
		}
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return 1 + bytes.Count(data[:min(at, int64(len(data)))], []byte("\n")), err
	}
	token, err := d.ReadToken()
	if err != nil {
		return syntax(err)
	}
	if token.Kind() != '{' {
		return line(), errors.New(`a JSON object is wanted, as in {"listen": "127.0.0.1:8080"}`)
	}
	for d.PeekKind() != '}' {
		if token, err = d.ReadToken(); err != nil {
			return syntax(err)
		}
		name, at := token.String(), line()
		flag := known[name]
		if flag == nil {
			return at, unknownKey(name, known)
		}
		value, err := readValue(d, flag.IsSlice())
		if err != nil && !errors.Is(err, errKind) {
			return syntax(err)
		}
		if err == nil {
			err = flag.Parse(kong.Scan().PushTyped(value, kong.FlagValueToken), reflect.New(flag.Target.Type()).Elem())
		}
		if text, ok := value.(string); err == nil && ok && flag.Enum != "" && !slices.Contains(flag.EnumSlice(), text) {
			err = fmt.Errorf("must be one of %s, not %q", strings.Join(flag.EnumSlice(), ", "), text)
		}
		if err != nil {
			return line(), fmt.Errorf("%q: %w", name, err)
		}
		c.values[name] = value
	}
	if _, err := d.ReadToken(); err != nil {
		return syntax(err)
	}
	if _, err := d.ReadToken(); !errors.Is(err, io.EOF) {
		return line(), errors.New("there is something after the object")
	}
	return 0, nil
}

var errKind = errors.New("a string, a number, true or false is wanted, or a list of them for a flag that may be given more than once")

// readValue reads a flag's value as text, or a list of such.
func readValue(d *jsontext.Decoder, list bool) (any, error) {
	token, err := d.ReadToken()
	if err != nil {
		return nil, err
	}
	switch token.Kind() {
	case '"', '0', 't', 'f':
		return token.String(), nil
	case '[':
		if !list {
			return nil, errKind
		}
		all := []any{}
		for d.PeekKind() != ']' {
			one, err := readValue(d, false)
			if err != nil {
				return nil, err
			}
			all = append(all, one)
		}
		_, err := d.ReadToken()
		return all, err
	}
	return nil, errKind
}

// longestKey is how many bytes of an unknown key are shown and compared.
const longestKey = 64

// unknownKey names the flag that was probably meant.
func unknownKey(name string, known map[string]*kong.Flag) error {
	if len(name) > longestKey {
		name = strings.ToValidUTF8(name[:longestKey], "") + "…"
	}
	best, least := "", 2+len(name)/3
	for k := range known {
		if d := distance(name, k); d < least || d == least && k < best {
			best, least = k, d
		}
	}
	if best == "" {
		return fmt.Errorf("unknown key %q: see 'holdfast serve --help' for the flags, which are the keys", name)
	}
	return fmt.Errorf("unknown key %q: did you mean %q?", name, best)
}

// distance counts the letters to insert, delete or replace (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// Validate is part of kong's interface; readConfig has done it.
func (c *configFile) Validate(*kong.Application) error { return nil }

// Resolve answers for a flag that the command line does not give. The
// environment goes before the file.
func (c *configFile) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	for _, name := range flag.Envs {
		if _, ok := os.LookupEnv(name); ok {
			return nil, nil
		}
	}
	return c.values[flag.Name], nil // nil if the file does not say
}

// BeforeResolve is called by the flag parser once it knows --config.
func (c *serveCmd) BeforeResolve(ctx *kong.Context) error {
	node := ctx.Selected()
	for _, f := range node.Flags {
		if f.Name != "config" {
			continue
		}
		if path, ok := ctx.FlagValue(f).(string); ok && path != "" {
			file, err := readConfig(path, node.Flags)
			if err != nil {
				return err
			}
			ctx.AddResolver(file)
		}
	}
	return nil
}
