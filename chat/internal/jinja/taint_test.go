package jinja

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// secret stands for a client's text: no template of these tests holds it.
const secret = "\ue000"

// leaked returns whether a byte of secret is in text as the template's own, and
// checks the marks' form.
func leaked(t *testing.T, text Text) bool {
	t.Helper()
	at := 0
	for _, k := range text.marks {
		if k.from < at || k.to <= k.from || k.to > len(text.s) {
			t.Fatalf("bad marks %v in %d bytes", text.marks, len(text.s))
		}
		if strings.ContainsAny(text.s[at:k.from], "\ue000") {
			return true
		}
		at = k.to
	}
	return strings.Contains(text.s[at:], secret)
}

// TestMarks: client text stays marked through every operation; the template's
// own text beside it stays its own.
func TestMarks(t *testing.T) {
	vars := map[string]Value{"c": Client(secret + "a" + secret), "l": NewList(Client(secret), Trusted("own"), Client("x"+secret))}
	d := NewDict()
	d.Set(Client(secret), Client(secret))
	vars["d"] = d
	for _, src := range []string{
		"{{ c }}", "<{{ c }}>", "{{ '<' + c + '>' }}", "{{ '<' ~ c ~ '>' }}", "{{ c * 3 }}", "{{ 3 * c }}", "{{ c|trim }}", "{{ c.strip('a') }}", "{{ c[1:] }}", "{{ c[0] }}",
		"{{ c[::-1] }}", "{{ c|reverse }}", "{{ c|first }}{{ c|last }}", "{{ c|list|join('-') }}", "{% for x in c %}<{{ x }}>{% endfor %}", "{{ c.split('a')|join('|') }}", "{{ c.split('a') }}",
		"{{ c.replace('a', '<>') }}", "{{ 'xay'|replace('a', c) }}", "{{ 'xay'.replace('x', c, 1) }}", "{{ c|upper }}", "{{ c|lower }}", "{{ c|title }}", "{{ c|capitalize }}", "{{ c.title() }}",
		"{{ c|e }}", "{{ c|tojson }}", "{{ l|tojson }}", "{{ d|tojson }}", "{{ d|tojson(indent=2) }}", "{{ [1, 2]|tojson(separators=(c, ':')) }}", "{{ {1: 2}|tojson(separators=(',', c)) }}", "{{ [1]|tojson(indent=c) }}", "{{ (c ~ 'xx' ~ c).split('x')|join('-') }}", "{{ l }}", "{{ d }}", "{{ d.items()|list }}", "{{ d|dictsort }}", "{{ d|list }}", "{{ l|join(', ') }}", "{{ '-'.join(l) }}", "{{ c.join(['a', 'b']) }}", "{{ ['a','b']|join(c) }}",
		"{{ '%s' % c }}", "{{ '%9s' % c }}", "{{ '%r' % [c] }}", "{{ '%s-%s'|format(c, 1) }}", "{{ c % () }}", "{{ '{}'.format(c) }}", "{{ '{x}'.format(x=c) }}", "{{ c.format() }}",
		"{{ c|indent }}", "{{ 'a\nb'|indent(c) }}", "{{ c|center(20) }}", "{{ c|string }}", "{{ c|safe }}", "{{ c|default('x') }}", "{{ nosuch|default(c) }}", "{{ l|sort }}", "{{ l|unique|list }}", "{{ l|max }}{{ l|min }}",
		"{{ l|map('upper')|list }}", "{{ l|select('ne', 'zz')|list }}", "{{ l|batch(2)|list }}", "{{ l|slice(2)|list }}", "{{ c.partition('a') }}", "{{ c.rsplit('a', 1) }}", "{{ c.splitlines() }}", "{{ (c ~ '\n' ~ c).splitlines(true) }}",
		"{% set x = c %}{{ x }}", "{% set x %}<{{ c }}>{% endset %}{{ x }}", "{% set x | upper %}<{{ c }}>{% endset %}{{ x }}", "{% filter upper %}<{{ c }}>{% endfilter %}", "{% macro m(a) %}<{{ a }}>{% endmacro %}{{ m(c) }}",
		"{% macro m() %}<{{ caller() }}>{% endmacro %}{% call m() %}{{ c }}{% endcall %}", "{% set ns = namespace(x=c) %}{{ ns.x }}", "{{ dict(a=c) }}", "{{ {c: c} }}", "{{ [c, [c]] }}", "{{ (c,) }}", "{{ strftime_now(c) }}", "{{ c if true else 'x' }}", "{{ c or 'x' }}", "{{ c.removeprefix('x') }}",
		"{{ ('\"' ~ c ~ '\"')|from_json }}", "{{ cycler(c, 1).next() }}", "{% set j = joiner(c) %}{{ j() }}{{ j() }}", "{{ c|attr('x') or c }}", "{{ l|map('join')|list }}", "{{ c.upper() }}{{ c.lower() }}{{ c.capitalize() }}{{ c.casefold() }}", "{{ [c]|sum(start='') }}",
	} {
		text, err := renderSource(src, vars)
		if err != nil {
			t.Errorf("%s: %v", src, err)
			continue
		}
		if leaked(t, text) {
			t.Errorf("%s: client text passes for the template's: %+v", src, text.Spans())
		}
		if !strings.Contains(text.s, secret) && !strings.Contains(text.s, "\\ue000") && !strings.Contains(src, "[1:]") {
			t.Errorf("%s: the test shows nothing: %q", src, text.s)
		}
	}
	// What stands beside client text is not tainted by it.
	for _, src := range []string{"<{{ c }}>", "{{ '<' + c + '>' }}", "{{ '<' ~ c|trim ~ '>' }}", "{{ 'xay'|replace('a', c) }}", "{{ '<%s>' % c }}", "{{ ('<' ~ c ~ '>').split('a')|join('a') }}", "{% set x %}<{{ c }}>{% endset %}{{ x.strip() }}"} {
		text, err := renderSource(src, vars)
		if err != nil {
			t.Fatal(err)
		}
		if spans := text.Spans(); len(spans) < 3 || spans[0].Client || spans[len(spans)-1].Client {
			t.Errorf("%s: %+v", src, spans)
		}
	}
}

func TestStrftime(t *testing.T) {
	now := time.Date(2026, 3, 5, 7, 8, 9, 123456000, time.UTC)
	tmpl, err := Parse("{{ strftime_now('%d %b %Y|%A %B %-d %H:%M:%S %p %I|%y-%m|%j %f %% %q %') }}")
	if err != nil {
		t.Fatal(err)
	}
	text, err := tmpl.Render(nil, Options{testLimits, now})
	if want := "05 Mar 2026|Thursday March 5 07:08:09 AM 07|26-03|064 123456 % %q %"; err != nil || text.s != want {
		t.Errorf("got %q, %v; want %q", text.s, err, want)
	}
}

// TestSandbox: what reaches Python's insides in other engines is an error here.
func TestSandbox(t *testing.T) {
	for _, src := range []string{
		"{{ ''.__class__ }}", "{{ ''.__class__.__mro__[1].__subclasses__() }}", "{{ lipsum.__globals__ }}", "{{ cycler.__init__.__globals__ }}", "{{ self.__init__ }}",
		"{{ messages.append(1) }}", "{{ {}.update({'a': 1}) }}", "{{ [1].pop() }}", "{{ x|attr('__class__') }}", "{% include 'x' %}", "{% import 'x' as y %}", "{% extends 'x' %}",
		"{{ joiner.__init__ }}", "{{ namespace.__init__ }}", "{{ ''['__class__'] }}", "{{ config.items() }}", "{{ request.application }}", "{{ get_flashed_messages() }}", "{{ ().__class__ }}", "{{ dict.mro() }}",
	} {
		if text, err := renderSource(src, map[string]Value{"messages": NewList(), "x": Trusted("x")}); err == nil {
			t.Errorf("%s gives %q", src, text.s)
		}
	}
}

// FuzzTemplate: no source and no input makes Parse or Render panic, run beyond
// its budget, or let client text pass for the template's; and who wrote a text
// does not change what is rendered.
func FuzzTemplate(f *testing.F) {
	cases, _ := snippets(f, Trusted)
	for i, c := range cases {
		if i%4 == 0 {
			f.Add(c.Source, "client text")
		}
	}
	for _, src := range bombs {
		f.Add(src, "")
	}
	for _, src := range []string{`{{ '\uE000' }}`, "{{ '%c' % 57344 }}", "{{ '\xee' ~ '\x80\x80' }}", `{{ ('"\u' ~ 'e000"')|from_json }}`, "{{ s.split('x')|join('-') }}"} {
		f.Add(src, "xx")
	}
	f.Fuzz(func(t *testing.T, src, client string) {
		if strings.Contains(client, secret) {
			return
		}
		tmpl, err := Parse(src)
		if err != nil {
			return
		}
		vars := func(text func(string) Text, secret string) map[string]Value {
			d := NewDict()
			d.Set(Trusted("role"), Trusted("user"))
			d.Set(Trusted("content"), text(client+secret))
			people := NewDict()
			people.Set(text(secret+"k"), text(secret))
			return map[string]Value{
				"messages": NewList(d, d), "m": d, "s": text(secret + client + secret), "t": text("  a" + secret + "b\n"), "l": NewList(int64(3), int64(1), text(secret)),
				"d": people, "n": int64(7), "f": 2.5, "yes": true, "nil": None{}, "people": NewList(people), "words": NewList(Trusted("b"), text("A"+secret)),
			}
		}
		o := Options{Limits{Steps: 20000, Bytes: 1 << 20, Depth: 16}, testNow}
		got, err := tmpl.Render(vars(Client, secret), o)
		if err != nil {
			return
		}
		if leaked(t, got) {
			// A template may write the secret itself: '\uE000', '%c' % 57344.
			other, err := tmpl.Render(vars(Client, "\ue001"), o)
			if err != nil || !strings.Contains(other.s, secret) {
				t.Fatalf("%q: client text passes for the template's: %+v", src, got.Spans())
			}
		}
		if len(got.s) > o.Limits.Bytes {
			t.Fatalf("%d bytes", len(got.s))
		}
		own, err := tmpl.Render(vars(Trusted, secret), o)
		if err != nil || own.s != got.s {
			t.Fatalf("%q: %q for a client, %q (%v) for the template", src, got.s, own.s, err)
		}
		if utf8.ValidString(src) && utf8.ValidString(client) && !utf8.ValidString(got.s) {
			t.Fatalf("%q: not UTF-8: %q", src, got.s)
		}
	})
}

// TestEmptyMarks: a piece of a client's text that has no byte has no mark, so that
// spans are never empty.
func TestEmptyMarks(t *testing.T) {
	for _, src := range []string{"{{ c[1:1] }}-{{ c[2:2] }}", "{{ c.split('x')|join('-') }}", "{{ c.partition('x')|join('-') }}", "{{ c.removeprefix(c) }}-", "-{{ c.strip('axb') }}-"} {
		text, err := renderSource(src, map[string]Value{"c": Client("axxb")})
		if err != nil {
			t.Fatal(err)
		}
		for _, span := range text.Spans() {
			if span.Text == "" {
				t.Errorf("%s: %+v", src, text.Spans())
			}
		}
	}
}
