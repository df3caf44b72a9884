package cheader

import (
	"regexp"
	"strings"
)

// defined are the macros that a compiler for 64-bit Linux and C would have.
var defined = map[string]bool{"__LP64__": true, "__linux__": true, "__x86_64__": true}

// preprocess drops what conditions exclude and gathers macros that are numbers.
func (h *Header) preprocess(text string) string {
	var out strings.Builder
	var stack []branch
	alive := func() bool {
		for _, b := range stack {
			if !b.on {
				return false
			}
		}
		return true
	}
	for line := range strings.Lines(text) {
		m := directive.FindStringSubmatch(line)
		if m == nil {
			if alive() {
				out.WriteString(line)
			}
			continue
		}
		switch rest := strings.TrimSpace(m[2]); m[1] {
		case "if":
			stack = append(stack, begin(h.holds(rest)))
		case "ifdef":
			stack = append(stack, begin(h.isDefined(rest)))
		case "ifndef":
			stack = append(stack, begin(!h.isDefined(rest)))
		case "elif", "else":
			if n := len(stack) - 1; n >= 0 {
				stack[n].next(m[1] == "else" || h.holds(rest))
			}
		case "endif":
			if len(stack) > 0 {
				stack = stack[:len(stack)-1]
			}
		case "define":
			if alive() {
				h.define(rest)
			}
		}
	}
	return out.String()
}

var directive = regexp.MustCompile(`^\s*#\s*(\w+)(.*)`)

// branch is one #if with its alternatives: on now, and whether any was.
type branch struct{ on, done bool }

func begin(on bool) branch { return branch{on: on, done: on} }

func (b *branch) next(holds bool) {
	b.on = holds && !b.done
	b.done = b.done || b.on
}

func (h *Header) isDefined(name string) bool {
	if _, ok := h.consts[name]; ok {
		return true
	}
	return defined[name]
}

var definedCall = regexp.MustCompile(`defined\s*\(?\s*(\w+)\s*\)?`)

// holds works out a condition. What cannot be is taken to hold.
func (h *Header) holds(expr string) bool {
	expr = definedCall.ReplaceAllStringFunc(expr, func(s string) string {
		if h.isDefined(definedCall.FindStringSubmatch(s)[1]) {
			return "true"
		}
		return "false"
	})
	v, ok := h.value(expr)
	return !ok || v != 0
}

func (h *Header) define(rest string) {
	name, expr, _ := strings.Cut(rest, " ")
	if v, ok := h.value(strings.TrimSpace(expr)); ok {
		h.consts[name] = v
	}
}
