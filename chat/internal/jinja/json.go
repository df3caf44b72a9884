package jinja

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// MaxJSONDepth bounds the nesting of JSON that comes in.
const MaxJSONDepth = 48

// ParseJSON decodes one JSON value. Integers of 64 bits stay integers, keys
// keep their order, duplicate keys and invalid UTF-8 are errors. text makes the
// strings and keys; it is called with "" for every other value too, so that it
// can account for them.
func ParseJSON(data []byte, text func(string) Text) (Value, error) {
	d := jsontext.NewDecoder(bytes.NewReader(data))
	v, err := parseJSON(d, text, 0)
	if err != nil {
		return nil, err
	}
	if _, err := d.ReadToken(); err != io.EOF {
		return nil, errors.New("more than one JSON value")
	}
	return v, nil
}

func parseJSON(d *jsontext.Decoder, text func(string) Text, depth int) (Value, error) {
	if depth > MaxJSONDepth {
		return nil, fmt.Errorf("JSON is nested deeper than %d", MaxJSONDepth)
	}
	t, err := d.ReadToken()
	if err != nil {
		return nil, err
	}
	if t.Kind() == '"' {
		return text(t.String()), nil
	}
	text("")
	switch t.Kind() {
	case 'n':
		return None{}, nil
	case 't', 'f':
		return t.Bool(), nil
	case '0':
		if n, err := strconv.ParseInt(t.String(), 10, 64); err == nil {
			return n, nil
		}
		f, err := strconv.ParseFloat(t.String(), 64)
		if err != nil {
			return nil, fmt.Errorf("number %s is out of range", t.String())
		}
		return f, nil
	case '[':
		l := &List{}
		for d.PeekKind() != ']' {
			v, err := parseJSON(d, text, depth+1)
			if err != nil {
				return nil, err
			}
			l.items = append(l.items, v)
		}
		_, err := d.ReadToken()
		return l, err
	}
	dict := NewDict()
	for d.PeekKind() != '}' {
		key, err := d.ReadToken()
		if err != nil {
			return nil, err
		}
		name := text(key.String())
		v, err := parseJSON(d, text, depth+1)
		if err != nil {
			return nil, err
		}
		dict.Set(name, v)
	}
	_, err = d.ReadToken()
	return dict, err
}

// filterFromJSON is from_json of transformers. What it reads is the client's
// throughout if any byte of it was.
func filterFromJSON(r *run, v Value, a args) Value {
	a.bind()
	t := wantText("from_json", v)
	r.walk(len(t.s))
	got, err := ParseJSON([]byte(t.s), func(s string) Text {
		r.elements(2)
		return r.like(t, s)
	})
	if err != nil {
		fail("from_json: %v", err)
	}
	return got
}
