package jinja

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
)

// doubling makes a of a MiB of "ab", which takes few steps.
const doubling = "{% set ns = namespace(a='abababab') %}{% for i in range(17) %}{% set ns.a = ns.a ~ ns.a %}{% endfor %}{% set a = ns.a %}"

// manyKeys makes d a dict with so many keys that a text is looked up by its hash.
const manyKeys = "{% set d = {1: 1, 2: 1, 3: 1, 4: 1, 5: 1, 6: 1, 7: 1, 8: 1, 9: 1, a: 1} %}"

// many lists names, or names with values.
func many(format string) string {
	var list []string
	for i := range 10000 {
		list = append(list, fmt.Sprintf(format, i))
	}
	return strings.Join(list, ",")
}

// bombs are templates that would take forever, or all the memory.
var bombs = map[string]string{
	"nested loops":        "{% for a in range(999) %}{% for b in range(999) %}{% for c in range(999) %}x{% endfor %}{% endfor %}{% endfor %}",
	"silent loops":        "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
	"range":               "{{ range(10**9)|length }}",
	"range of ranges":     "{% for a in range(9999) %}{% set x = range(100000) %}{% endfor %}",
	"repeat":              "{{ 'x' * 10**12 }}",
	"repeat nothing":      "{{ '' * 10**18 }}{{ 'x' * 10**18 }}",
	"repeat list":         "{{ [1] * 10**12 }}",
	"repeat empty list":   "{{ [] * 10**18 }}",
	"doubling ~":          "{% set ns = namespace(s='xxxxxxxx') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
	"doubling +":          "{% set ns = namespace(s='xxxxxxxx') %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
	"doubling list":       "{% set ns = namespace(l=[1]) %}{% for i in range(60) %}{% set ns.l = ns.l + ns.l %}{% endfor %}",
	"shared list":         "{% set ns = namespace(l=[1]) %}{% for i in range(50) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l }}",
	"shared list JSON":    "{% set ns = namespace(l=[1]) %}{% for i in range(50) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l|tojson }}",
	"shared dict JSON":    "{% set ns = namespace(l={}) %}{% for i in range(50) %}{% set ns.l = {'a': ns.l, 'b': ns.l} %}{% endfor %}{{ ns.l|tojson(indent=2) }}",
	"shared list ==":      "{% set a = namespace(l=[1]) %}{% set b = namespace(l=[1]) %}{% for i in range(50) %}{% set a.l = [a.l, a.l] %}{% set b.l = [b.l, b.l] %}{% endfor %}{{ a.l == b.l }}",
	"shared list <":       "{% set a = namespace(l=[1]) %}{% set b = namespace(l=[1]) %}{% for i in range(50) %}{% set a.l = [a.l, a.l] %}{% set b.l = [b.l, b.l] %}{% endfor %}{{ a.l < b.l }}",
	"deep list":           "{% set ns = namespace(l=[1]) %}{% for i in range(100000) %}{% set ns.l = [ns.l] %}{% endfor %}{{ ns.l }}",
	"recursive macro":     "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
	"mutual macros":       "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{% endmacro %}{{ a() }}",
	"recursive default":   "{% macro m(a=m()) %}{% endmacro %}{{ m() }}",
	"recursive caller":    "{% macro m() %}{{ caller() }}{% endmacro %}{% macro n() %}{% call m() %}{{ n() }}{% endcall %}{% endmacro %}{{ n() }}",
	"branching macro":     "{% macro m(n) %}{% if n > 0 %}{{ m(n - 1) }}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(40) }}",
	"replace":             "{% set a = 'a' * 100000 %}{{ a|replace('a', a) }}",
	"replace nothing":     "{% set a = 'a' * 100000 %}{{ a.replace('', a) }}",
	"join":                "{% set a = 'a' * 100000 %}{{ range(10000)|join(a) }}",
	"join method":         "{% set a = 'a' * 100000 %}{{ a.join(a) }}",
	"center":              "{{ 'a'|center(10**12) }}",
	"indent":              "{% set a = 'a\\n' * 10000 %}{{ a|indent(10**6) }}",
	"indent text":         "{% set a = 'a\\n' * 10000 %}{{ a|indent(a) }}",
	"format width":        "{{ '%1000000000d' % 1 }}",
	"format precision":    "{{ '%.1000000000f' % 1 }}",
	"format growth":       "{% set a = 'a' * 100000 %}{{ ('%s' * 10000)|format(a) }}{{ ('{0}' * 100000).format(a) }}",
	"tojson indent":       "{{ [[1]]|tojson(indent=10**9) }}",
	"escape growth":       "{% set a = '<' * 100000 %}{% for i in range(1000) %}{% set x = a|e %}{% endfor %}",
	"quote growth":        "{% set ns = namespace(s='\\\\') %}{% for i in range(60) %}{% set ns.s = [ns.s]|string %}{% endfor %}",
	"batch fill":          "{{ [1]|batch(10**12, 'x')|list }}",
	"slice many":          "{{ [1]|slice(10**12)|list }}",
	"list of text":        "{% for i in range(10000) %}{% set x = ('a' * 10000)|list %}{% endfor %}",
	"split":               "{% set a = 'a ' * 100000 %}{% for i in range(10000) %}{% set x = a.split() %}{% endfor %}",
	"compare long":        "{% set a = 'a' * 1000000 %}{% set b = 'a' * 1000000 %}{% for i in range(100000) %}{% if a == b %}{% endif %}{% endfor %}",
	"search long":         "{% set a = 'a' * 1000000 %}{% for i in range(100000) %}{% if 'b' in a %}{% endif %}{% endfor %}",
	"trim long":           "{% set a = ' ' * 1000000 %}{% for i in range(100000) %}{% set x = a.strip() %}{% endfor %}",
	"index long":          "{% set a = 'a' * 1000000 %}{% for i in range(100000) %}{% set x = a[i] %}{% endfor %}",
	"count long":          "{% set a = 'a' * 1000000 %}{% for i in range(100000) %}{% set x = a.count('aa') + a.find('b') + a.rfind('b') %}{% endfor %}",
	"case long":           "{% set a = 'a' * 100000 %}{% for i in range(100000) %}{% set x = a|upper %}{% endfor %}",
	"sort long":           "{% set a = range(20000)|list %}{% for i in range(1000) %}{% set x = a|sort(reverse=true) %}{% endfor %}",
	"unique strings":      "{% set ns = namespace(l=[]) %}{% for i in range(100000) %}{% set ns.l = ns.l + ['k' ~ i] %}{% endfor %}",
	"dict growth":         "{% set ns = namespace(d={}) %}{% for i in range(1000000) %}{% set ns.d = dict(ns.d, x=ns.d) %}{% endfor %}",
	"macros kept":         "{% set ns = namespace(l=[]) %}{% for i in range(100000) %}{% macro m() %}{% endmacro %}{% set ns.l = [ns.l, m] %}{% endfor %}",
	"names kept":          "{% for i in range(100000) %}{% set a = 1 %}{% set b = 1 %}{% set c = 1 %}{% set d = 1 %}{% set e = 1 %}{% endfor %}",
	"power":               "{% for i in range(100000) %}{% for j in range(1000) %}{% set x = 2 ** 62 %}{% endfor %}{% endfor %}",
	"filter block":        "{% filter replace('', 'a' * 100000) %}{{ 'a' * 100000 }}{% endfilter %}",
	"map with bombs":      "{{ range(1000)|map('center', 10**6)|join }}",
	"marks":               "{% set ns = namespace(s=s ~ 'x') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
	"loop over text":      "{% set a = 'a' * 100000 %}{% for i in range(10000) %}{% for c in a %}{% endfor %}{% endfor %}",
	"strftime":            "{% set a = '%c' * 1000000 %}{% for i in range(100000) %}{{ strftime_now(a) }}{% endfor %}",
	"namespace in itself": "{% set ns = namespace() %}{% for i in range(1000000) %}{% set ns.ns = namespace(a=ns) %}{{ ns }}{% endfor %}{{ range(10**7) }}",
	"tuple sort":          "{% for i in range(10000) %}{{ range(100)|map('string')|batch(2)|sort }}{% endfor %}",
	"from_json":           "{% set a = '[' ~ '[],' * 100000 ~ '1]' %}{% for i in range(10000) %}{% set x = a|from_json %}{% endfor %}",
	"printing numbers":    "{% for i in range(1000) %}{{ range(1000) }}{% endfor %}",
	"strip characters":    doubling + "{% for i in range(100) %}{% set x = a.strip('x' * 100000 ~ 'ab') %}{% endfor %}",
	"affixes":             doubling + "{% set l = [a[2:] ~ 'x'] * 10000 %}{% for i in range(20) %}{% set x = a.startswith(l) %}{% endfor %}",
	"prefixes":            doubling + "{% set b = a[2:] ~ 'x' %}{% set c = 'x' ~ a[2:] %}{% for i in range(50000) %}{% set x = a.removeprefix(b) %}{% set x = a.removesuffix(c) %}{% endfor %}",
	"look-ups":            doubling + manyKeys + "{% for i in range(50000) %}{% set x = d[a] %}{% set x = d.get(a) %}{% set x = a in d %}{% set x = {a: 1} %}{% endfor %}",
	"attributes":          doubling + "{% for i in range(50000) %}{% set x = i|attr(a) %}{% set x = a is filter %}{% set x = a is test %}{% endfor %}",
	"keys compared":       doubling + manyKeys + "{% set e = dict(d) %}{% set l = [a, a[1:], a[2:], a[3:], a[4:], a[5:], a[6:], a[7:], a[8:], a[9:]] * 1000 %}{% for i in range(1000) %}{% set x = d == e %}{% set x = l|unique(case_sensitive=true)|list %}{% endfor %}",
	"path of nothing":     "{% set ns = namespace(a='........') %}{% for i in range(18) %}{% set ns.a = ns.a ~ ns.a %}{% endfor %}{{ [{}]|map(attribute=ns.a, default={})|list }}",
	"sort by nothing":     "{% set ns = namespace(a=',,,,,,,,') %}{% for i in range(18) %}{% set ns.a = ns.a ~ ns.a %}{% endfor %}{{ []|sort(attribute=ns.a) }}",
	"format zeros":        "{% set ns = namespace(a='00000000') %}{% for i in range(17) %}{% set ns.a = ns.a ~ ns.a %}{% endfor %}{% set b = '%' ~ ns.a ~ 'd' %}{% for i in range(10000) %}{% set x = b % 1 %}{% endfor %}",
	"named arguments":     "{% macro m(" + many("a%d") + ") %}{% endmacro %}{% for i in range(100) %}{% set x = m(" + many("a%d=1") + ") %}{% endfor %}",
	"named fields":        "{% set a = '{a0}' * 100000 %}{% for i in range(100) %}{% set x = a.format(" + many("a%d=1") + ") %}{% endfor %}",
	"escape nothing":      "{% for i in range(50000) %}{% set x = 'a'|e %}{% set x = 'a'|e %}{% endfor %}{{ range(10**7) }}",
	"case of long":        doubling + "{% for i in range(50000) %}{% set x = a is upper %}{% endfor %}",
	"cond filter":         "{% for i in range(1000) %}{% for x in range(1000) if false %}{% endfor %}{% endfor %}{% for i in range(10000) %}{% for x in range(10000) if false %}{% endfor %}{% endfor %}",
}

// Bounds of one bomb: what the budget allows, with room for a slow machine.
const (
	bombTime  = time.Second // in one of the tries; they take 20 to 100 ms of one core
	bombBytes = 64 << 20    // allocated in all, most of it garbage at once
	bombLive  = 64 << 20    // of the heap at any time
)

// TestBudget: every bomb ends with ErrBudget (or, where a limit of its own
// refuses it first, an Error), soon, in bounded memory, leaving nothing behind.
func TestBudget(t *testing.T) {
	vars := map[string]Value{"s": Client("client text")}
	before := runtime.NumGoroutine()
	slowest, slowestName := time.Duration(0), ""
	for name, src := range bombs {
		tmpl, err := Parse(src)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var a, b runtime.MemStats
		var text Text
		took := time.Hour
		// A busy machine may stall many tries, not all of a minute.
		for end := time.Now().Add(time.Minute); took > bombTime && time.Now().Before(end); {
			runtime.ReadMemStats(&a)
			begin := time.Now()
			text, err = tmpl.Render(vars, Options{testLimits, testNow})
			took = time.Since(begin)
			runtime.ReadMemStats(&b)
		}
		var own *Error
		if !errors.Is(err, ErrBudget) && !errors.As(err, &own) {
			t.Errorf("%s: rendered %d bytes, error %v", name, len(text.s), err)
		}
		if took > slowest {
			slowest, slowestName = took, name
		}
		if took > bombTime {
			t.Errorf("%s took %v", name, took)
		}
		if made := b.TotalAlloc - a.TotalAlloc; made > bombBytes {
			t.Errorf("%s allocated %d MB", name, made>>20)
		}
	}
	if n := runtime.NumGoroutine(); n > before {
		t.Errorf("%d goroutines left behind", n-before)
	}
	t.Logf("slowest: %s, %v", slowestName, slowest)
}

// TestParseBudget: sources that nest are refused, not followed.
func TestParseBudget(t *testing.T) {
	const n = 3000
	for _, src := range []string{
		strings.Repeat("(", n), strings.Repeat("[", n), strings.Repeat("{'a':", n), strings.Repeat("not ", n), strings.Repeat("-", n),
		"1" + strings.Repeat("+1", n), "1" + strings.Repeat(" or 1", n), "a" + strings.Repeat(".a", n), "a" + strings.Repeat("|list", n),
		"a" + strings.Repeat("[0]", n), "a" + strings.Repeat("()", n), "1" + strings.Repeat(" if 1 else 1", n), strings.Repeat("a(", n), strings.Repeat("a|join(", n),
	} {
		if _, err := Parse("{{ " + src); err == nil {
			t.Errorf("%.20q parses", src)
		}
		if _, err := Parse("{{ " + src + " }}"); err == nil {
			t.Errorf("%.20q parses", src)
		}
	}
	for _, src := range []string{
		strings.Repeat("{% if 1 %}", n), strings.Repeat("{% for x in y %}", n), strings.Repeat("{% macro m() %}", n), strings.Repeat("{% set x %}", n),
		strings.Repeat("{% filter upper %}", n), strings.Repeat("{% with %}", n), "{% set " + strings.Repeat("(", n), "{% set x | upper" + strings.Repeat("|upper", n) + " %}",
		strings.Repeat("x", maxSource+1), "{{ " + strings.Repeat("x", maxName+1) + " }}",
	} {
		if _, err := Parse(src); err == nil {
			t.Errorf("%.20q parses", src)
		}
	}
}

// TestParseStrings: strings beside each other are one, at the cost of one.
func TestParseStrings(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	text, err := renderSource("{{ "+strings.Repeat("'a'", 50000)+" }}", nil)
	runtime.ReadMemStats(&after)
	if made := after.TotalAlloc - before.TotalAlloc; err != nil || text.s != strings.Repeat("a", 50000) || made > 32<<20 {
		t.Errorf("%d bytes, %v, %d MB", len(text.s), err, made>>20)
	}
}

// TestBudgetFields: an error says which limit it was.
func TestBudgetFields(t *testing.T) {
	for what, src := range map[string]string{
		"steps": bombs["branching macro"], "bytes": bombs["repeat"], "depth": bombs["recursive macro"],
	} {
		_, err := renderSource(src, nil)
		var b *BudgetError
		if !errors.As(err, &b) || b.What != what || b.Limit == 0 {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestLiveMemory: the most that a bomb keeps alive is within bounds.
func TestLiveMemory(t *testing.T) {
	for _, name := range []string{"doubling ~", "doubling list", "unique strings", "macros kept", "dict growth", "range of ranges", "join"} {
		tmpl, err := Parse(bombs[name])
		if err != nil {
			t.Fatal(err)
		}
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		base := m.HeapAlloc
		stop := make(chan struct{})
		peak := make(chan uint64)
		go func() {
			most := uint64(0)
			for {
				select {
				case <-stop:
					peak <- most
					return
				case <-time.After(200 * time.Microsecond):
					var m runtime.MemStats
					runtime.ReadMemStats(&m)
					most = max(most, m.HeapAlloc)
				}
			}
		}()
		tmpl.Render(nil, Options{testLimits, testNow})
		close(stop)
		if most := <-peak; most > base+bombLive {
			t.Errorf("%s: heap grew by %d MB", name, (most-base)>>20)
		}
	}
}
