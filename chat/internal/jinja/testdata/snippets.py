"""Writes snippets.json: small templates and what Jinja 2 makes of them, set up
as transformers sets it up. An answer of null means that Jinja raises.

Usage: python snippets.py
"""

import json
import os

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment


class Generation(jinja2.ext.Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.Scope(body).set_lineno(line)


def environment():
    env = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    return env


VARS = {
    "s": "Hello, Wörld", "t": "  a b  c\n", "empty": "", "n": 7, "neg": -3, "f": 2.5, "yes": True, "no": False, "nil": None,
    "l": [3, 1, 2], "words": ["b", "A", "c"], "d": {"b": 1, "a": [1, 2], "items": 5}, "nested": {"x": {"y": [{"z": "deep"}]}},
    "people": [{"name": "Ann", "age": 30, "tags": ["x"]}, {"name": "bob", "age": 25, "tags": []}, {"name": "Cy", "age": 30}],
    "uni": "日本語 😀 é", "quote": "it's \"q\"\\", "multi": "one\ntwo\n\nthree\r\nfour", "html": "<a href='x'>&</a>", "num": "42", "flt": "4.25",
    "messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}, {"role": "assistant", "content": "A"}],
}

EXPRESSIONS = r"""
s | s|upper | s|lower | s|length | s[0] | s[-1] | s[1:4] | s[::-1] | s[:-2] | s[::2] | s[5:1] | s[99] | uni[1] | uni[::-1] | uni|length
t|trim | t.strip() | t.lstrip() | t.rstrip() | t.strip(' a') | t.split() | t.split(' ') | t.split(' ', 1) | t.split(None, 1) | t.rsplit(None, 1) | t.rsplit(' ', 1)
s.split(',')[0] | s.split('zz') | s.partition(',') | s.rpartition('l') | s.replace('l', 'L') | s.replace('l', 'L', 1) | s.replace('', '-') | s|replace('l','') | s|replace('l','X',1)
s.startswith('He') | s.startswith(('x','H')) | s.endswith('ld') | s.find('l') | s.find('zz') | s.rfind('l') | s.index('W') | s.index('zz') | s.count('l') | s.title() | s.capitalize() | 'aBC dEF'|capitalize | 'aBC dEF'|title | 'x-ray (foo) bar_baz'|title | "it's a dog's life"|title
'abc'.isalpha() | '12'.isdigit() | ''.isdigit() | ' '.isspace() | 'ab1'.isalnum() | 'AB'.isupper() | 'ab'.islower() | 'a\nb\r\nc'.splitlines() | 'a\nb\n'.splitlines(True) | '-'.join(['a','b']) | '-'.join('xyz') | 'abc'.removeprefix('a') | 'abc'.removesuffix('bc')
n + 1 | n - 10 | n * 3 | n / 2 | n // 2 | neg // 2 | neg % 5 | n % -4 | 2 ** 10 | 2 ** -1 | 2 ** 3 ** 2 | -2 ** 2 | f * 2 | f + n | f // 1 | neg / 2 | 7.0 // 2 | -7.5 % 2 | 1e3 | 1e16 | 1e-5 | 0.1 + 0.2 | 100000000000000000000.0 | 3.0 | 1/3 | 0x1F | 1_000 | 1.5e3 | 5 // 0 | 5 / 0 | 5 % 0
yes + 1 | true and 3 | 0 or 'x' | not n | not '' | nil | nil is none | missing | missing.x | missing is defined | d.zz | d.zz.y | missing == missing2 | missing|default('D') | empty|default('D') | empty|default('D', true) | nil|default('D') | missing ~ 'x' | missing + 'x' | missing|length | 'a' in missing | missing|list | missing|upper | missing|join(',') | missing|int | nil ~ 'x' | nil|string
n == 7.0 | true == 1 | 'a' == 1 | nil == none | [1,2] == [1,2] | (1,2) == [1,2] | {'a':1} == {'a':1.0} | 1 < 2 < 3 | 3 > 2 > 2 | 'a' < 'b' | 'a' < 1 | [1,2] < [1,3] | 1 != 2 | 'l' in s | 'z' not in s | 1 in l | 'b' in d | 'b' in words | 1 in s | none in [none] | 2 in (1,2)
s ~ n ~ f ~ yes ~ nil | 'a' + 'b' | 'a' * 3 | 3 * 'ab' | [1] * 2 | [1] + [2] | 'a' + 1 | [1] + (2,) | 'a' 'b' "c" | "tab\there" | 'uni\u00e9\x41' | 'back\\slash' | 'unk\q' | '\'' | "\""
l | l|sort | l|sort(reverse=true) | words|sort | words|sort(case_sensitive=true) | words|join(', ') | l|join | l|first | l|last | l|length | l|sum | l|max | l|min | words|max | l|reverse|list | l|list | 'abc'|list | 'abc'|reverse | l[0] | l[-1] | l[5] | l[1:] | l[::-1] | l[-2:] | l[10:] | l['0'] | [1,2,2,3,1]|unique|list | ['a','A','b']|unique|list | [1,2,3,4,5]|batch(2)|list | [1,2,3]|batch(2,'x')|list | [1,2,3,4,5]|slice(2)|list | []|first | []|last | []|max | l.index(1) | l.count(1) | l.append(4) | l.pop()
d | d|length | d['b'] | d.b | d.items() | d['items'] | d.keys()|list | d.values()|list | d|list | d|dictsort | d|items|list | d.get('a') | d.get('zz') | d.get('zz', 'def') | d.pop('a') | d.update({'x':1}) | {'b':1,'A':2}|dictsort | {'b':1,'a':2}|dictsort(by='value') | {'a':1,'b':2}|dictsort(reverse=true) | nested.x.y[0].z | nested['x']['y'][0]['z'] | nested.x.y.0.z | {1:'one'}[1] | {'k': n}.k | {} | {}|length | dict(a=1, b='x') | dict({'q':2}) | dict(a=1).a
people|map(attribute='name')|list | people|map(attribute='name')|join(',') | people|map(attribute='tags.0', default='-')|list | words|map('upper')|list | words|map('replace','A','Z')|list | people|selectattr('age','equalto',30)|map(attribute='name')|list | people|selectattr('tags')|list|length | people|rejectattr('age','gt',26)|map(attribute='name')|list | people|selectattr('tags','defined')|list|length | l|select('odd')|list | l|reject('odd')|list | l|select('gt', 1)|list | [0,1,'',none,'a']|select|list | people|sort(attribute='age')|map(attribute='name')|list | people|sort(attribute='age,name') | people|sum(attribute='age') | people|map(attribute='age')|max | people|max(attribute='age') | words|map('nosuch')|list | people|join(', ', attribute='name')
f|round | 2.567|round(2) | 2.5|round | 3.5|round | 2.1|round(method='ceil') | 2.9|round(0,'floor') | 7|round | -3|abs | f|int | '42'|int | 'x'|int | 'x'|int(9) | '4.7'|int | '0x1f'|int(0,16) | '3.5'|float | 'x'|float | n|float | nil|int | true|int | 1234567|string | f|string
'%s-%d' % ('a', 5) | '%05.2f|%-5s|%5s' % (3.14159, 'ab', 'cd') | '%s' % n | '%(a)s' % {'a': 1} | '%d%%' % 5 | '%x' % 255 | '%s %s' % ('a',) | '%d' % 'x' | '{} {}'.format(1, 'b') | '{0}{1}{0}'.format('a','b') | '{x}'.format(x=3) | '{{}}'.format() | '%s/%s'|format(1, 2) | 'abc'|center(9) | 'abc'|center(8) | 'ab'|center(7) | 'a b c'|wordcount | html|escape | html|e
d|tojson | s|tojson | uni|tojson | quote|tojson | multi|tojson | l|tojson(indent=2) | nested|tojson(indent=4) | {}|tojson(indent=2) | []|tojson | {'b':1,'a':2}|tojson(sort_keys=true) | f|tojson | 1e20|tojson | nil|tojson | yes|tojson | d|tojson(separators=(',',':')) | missing|tojson | (1,2)|tojson | {1:2}|tojson | '\x01\x7f\u2028'|tojson | people|tojson
multi|indent | multi|indent(2, true) | multi|indent(2, blank=true) | 'a\n\nb'|indent('> ') | ''|indent
quote | [quote] | [s, n, f, yes, nil, missing] | ['a"b', "a'b", 'a\'b"c'] | ['\n\t\\', 'é', '\x00', '\u200b'] | ('a',) | (1,2) | () | [[]] | {'a': {'b': [1, (2,)]}} | [1.0, 1e22, 1e-7, -0.0]
n is defined | n is number | yes is number | yes is integer | yes is boolean | f is float | n is integer | s is string | l is sequence | d is sequence | s is sequence | d is mapping | l is mapping | s is iterable | n is iterable | missing is iterable | nil is none | nil is not none | n is odd | n is even | n is divisibleby 7 | n is divisibleby(2) | s is upper | 'ABC' is upper | 'abc' is lower | '12' is lower | n is eq 7 | n is gt(3) | n is in [1,7] | n is sameas 7 | yes is true | yes is sameas true | no is false | 1 is true | range is callable | s is callable | missing is undefined | not missing is defined | n is defined and s is string | l|select is sequence | d.items() is sequence | d.items()|length | (l|select)|length
'y' if n > 3 else 'n' | 'y' if no | 'a' if no else 'b' if yes else 'c' | ('x' if no) is defined | (1,2,3)[1] | [1,2,3][-1] | range(5)|list | range(1,4)|list | range(10,0,-3)|list | range(0)|list | range(3) | range(5)|length | range(1,2,0) | namespace(a=1).a | namespace(a=1).b | namespace() is mapping
s.__class__ | ''.__class__.__mro__ | d.__init__ | self | lipsum | cycler('a','b').next() | joiner('|')() | s.nosuch | s.nosuch() | n.real | l.nosuch | nosuch() | nosuch(1)|upper | n() | {'a':1}.a() | raise_exception('boom')
s|nosuchfilter | s is nosuchtest | 1 + | (1, | [1,, 2] | {'a' 1} | a b | 5 5 | s. | s[ | 1 if | not | s|
-n | +n | -'a' | - -n | not not n | -n|abs | -f|string | 5 - -3 | 1 - 1 - 1 | 2 * 3 + 4 | 2 + 3 * 4 | (2 + 3) * 4 | 10 - 2 ~ 'x' | 1 ~ 2 + 3 | 7 // 2 * 2 | true or nosuch() | false and nosuch() | 1 and 0 or 2 | 'a' ~ 'b' == 'ab' | n in l == false
messages[0].role | messages[0]['content'] | messages|length | messages[1:]|length | messages[::-1]|map(attribute='role')|list | messages|selectattr('role','ne','system')|map(attribute='content')|join('/') | (messages|last).content | messages[-1]['role'] == 'assistant' | messages[9] is defined | messages[9].role
""".strip("\n")

# Where we differ on purpose, or for lack of Python's objects: their own tests
# say how.
DIFFERENT = {"d.items()", "range(3)", "s.__class__", "d.__init__", "self", "n.real"}

TEMPLATES = [
    "a\n", "a\n\n", "  {% if yes %}\n  x\n  {% endif %}\n  y", "{% if yes %}x{% endif %}\n", "{%- if yes -%}\n  x  \n{%- endif -%}\n z", "a {%- if yes %} b {% endif -%} c",
    "{# c #}\nx", "  {# c #}  \nx", "a{#- c -#}  b", "{{ s }}\n\n{{ n }}", " {{- s -}} ", "x\n   {{ s }}\n   {%+ if yes %}k{% endif +%}\ny", "{% raw %}{{ x }}{% if %}{% endraw %}!", "{%- raw -%}  {{ a }}  {%- endraw -%}  z",
    "a\r\nb\rc\n{% if yes %}\r\nd{% endif %}", "{% for x in l %}{{ x }},{% endfor %}", "{% for x in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }};{% endfor %}",
    "{% for x in [] %}a{% else %}b{% endfor %}", "{% for x in missing %}a{% else %}b{% endfor %}", "{% for x in n %}a{% endfor %}", "{% for c in uni %}[{{ c }}]{% endfor %}", "{% for k in d %}{{ k }} {% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", "{% for a, b in [(1,2),[3,4]] %}{{ a+b }} {% endfor %}", "{% for a, b in [(1,2,3)] %}x{% endfor %}", "{% for (a, b), c in [((1,2),3)] %}{{ a }}{{ b }}{{ c }}{% endfor %}",
    "{% for x in l if x > 1 %}{{ x }}{{ loop.length }}{% endfor %}", "{% for x in l if x > 9 %}{{ x }}{% else %}none{% endfor %}", "{% for x in l %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}", "{% for x in l %}{% if x == 1 %}{% break %}{% endif %}{{ x }}{% endfor %}",
    "{% for x in l %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }} {% endfor %}", "{% for x in l %}{{ loop.cycle('a','b') }}{% endfor %}", "{% for x in [1,1,2] %}{{ loop.changed(x) }} {% endfor %}", "{% for x in l %}{% for y in l %}{{ loop.index }}{% endfor %}{{ loop.index }}{% endfor %}",
    "{% set a = 1 %}{% for x in l %}{% set a = a + x %}{{ a }} {% endfor %}{{ a }}", "{% set ns = namespace(a=0) %}{% for x in l %}{% set ns.a = ns.a + x %}{% endfor %}{{ ns.a }}", "{% if yes %}{% set q = 5 %}{% endif %}{{ q }}", "{% set a, b = 1, 2 %}{{ a }}{{ b }}", "{% set a = 1, 2 %}{{ a }}",
    "{% set x %}block {{ n }}{% endset %}[{{ x }}]", "{% set x | upper %}block{% endset %}{{ x }}", "{% set x %}{% set y = 5 %}{% endset %}{{ y }}", "{% set d.x = 1 %}", "{% set nosuch.x = 1 %}", "{% set none = 1 %}",
    "{% if no %}a{% elif n == 7 %}b{% elif yes %}c{% else %}d{% endif %}", "{% if no %}a{% else %}b{% endif %}", "{% if missing %}a{% else %}b{% endif %}", "{% if missing.x %}a{% endif %}", "{% if l|select('gt', 9) %}truthy{% endif %}", "{% if [] or {} or '' or 0 %}x{% else %}y{% endif %}",
    "{% macro m(a, b=2, c=a) %}{{ a }}-{{ b }}-{{ c }}{% endmacro %}{{ m(1) }} {{ m(1, 3) }} {{ m(b=5, a=0) }} {{ m() }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(z=2) }}", "{% macro m(a, b) %}{{ a }}{{ b is defined }}{% endmacro %}{{ m(1) }}",
    "{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, x=3) }}", "{% macro m() %}[{{ caller() }}]{% endmacro %}{% call m() %}in{% endcall %}", "{% macro m() %}{{ caller(1, 2) }}{% endmacro %}{% call(a, b) m() %}{{ a + b }}{% endcall %}", "{% macro m() %}x{% endmacro %}{% call m() %}in{% endcall %}",
    "{% macro fact(n) %}{{ 1 if n < 2 else n * (fact(n - 1)|int) }}{% endmacro %}{{ fact(5) }}", "{{ m(1) }}{% macro m(a) %}{{ a }}{% endmacro %}", "{% set g = 'G' %}{% macro m() %}{{ g }}{% endmacro %}{% set g = 'H' %}{{ m() }}", "{% macro m() %}  x  {% endmacro %}{{ m()|trim }}|", "{% macro m(a) %}{% set a = 5 %}{{ a }}{% endmacro %}{% set a = 1 %}{{ m(2) }}{{ a }}",
    "{% filter upper %}abc {{ s }}{% endfilter %}", "{% filter replace('a', 'b')|upper %}banana{% endfilter %}", "{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a }}", "{% with %}{% set z = 1 %}{{ z }}{% endwith %}{{ z }}", "{% generation %}gen{% endgeneration %}",
    "{% for x in l %}\n  {{ x }}\n{% endfor %}\nend", "{%- for x in l %}\n  {{- x }}\n{%- endfor %}\nend", "{% for x in l -%}\n  {{ x }}\n{%- endfor %}\nend", "   {%- set x = 1 %}\n   {{ x }}\n", "{{ '\n' }}{% if yes %}\n\nx{% endif %}", "{{ s }}\n{% if yes %}\n{{ n }}\n{% endif %}\n\n", "{{ {'a': {'b': 1}} }}", "{{ {'a': '}}'} }}", "{{ '{{' }}{{ '%}' }}", "{{ \"a\" ~ '{%' }}",
    "{ { a } } { % %}", "{% if yes %}{{ 'x' }}{% endif", "{{ x", "{% if yes %}x", "{% endif %}", "{% for x in l %}{% endif %}", "{% nosuch %}", "{# open", "{{ 'open }}", "{% raw %}open", "{{ }}", "{% if %}x{% endif %}", "{% break %}", "{% set %}", "{% macro m(a=1, b) %}{% endmacro %}", "{{ s }} {% if yes %} {{ n }} {% endif %} {{ f }}", "x {{ s -}}   \n  y", "x{{- s }}\n", "{{ s|upper|lower|length }}", "{{ l|join(',')|upper }}", "{% for m in messages %}{{ '<|' + m.role + '|>' }}\n{{ m['content'] | trim }}\n{% endfor %}{% if yes %}{{ '<|assistant|>' }}\n{% endif %}",
    "{% for m in messages %}{% if loop.first and m.role == 'system' %}{% continue %}{% endif %}{{ m.role }}{% if not loop.last %},{% endif %}{% endfor %}", "{% set ns = namespace(found=false) %}{% for m in messages %}{% if m.role == 'user' and not ns.found %}{% set ns.found = true %}{{ loop.index }}{% endif %}{% endfor %}{{ ns.found }}", "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set sys = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set sys = false %}{% endif %}{{ sys }}{{ loop_messages|length }}",
    "{{ raise_exception('no') if no else 'ok' }}", "{%- if messages[0].role != 'user' %}{{- raise_exception('must be user: ' + messages[0].role) }}{%- endif %}", "a{% set j = joiner(', ') %}{% for x in l %}{{ j() }}{{ x }}{% endfor %}", "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.current }}{{ c.next() }}{% set q = c.reset() %}{{ c.current }}", "{{ dict(a=1)|items|list }}", "{{ loop }}", "{% for x in l %}{{ loop['index'] }}{% endfor %}",
    "{% for x in l %}{% set last = x %}{% endfor %}{{ last is defined }}", "{% for x in l %}{{ x }}{% else %}{% endfor %}{{ x is defined }}", "{% set x = 'outer' %}{% for x in l %}{% endfor %}{{ x }}", "\n\n{% if yes %}a{% endif %}", "\t{% if yes %}\ta\n\t{% endif %}\tb", "{% if yes %} {% endif %}x", "a\n  {#- c #}\n  b", "a\u00a0{%- if yes %}b{% endif %}", "\u3000{% if yes %}b{% endif %}", "{{ 'a' }}  {% if yes %}b{% endif %}", "{% if yes %}a{% endif %}  {% if yes %}b{% endif %}", "  {% if yes %}a{% endif %}  {% if yes %}b{% endif %}", "x {% if yes %}\n\n  {% endif %} y",
]


def main():
    env = environment()
    sources = []
    for line in EXPRESSIONS.split("\n"):
        sources += ["{{ " + e.strip() + " }}" for e in split(line) if e.strip() not in DIFFERENT]
    sources += TEMPLATES
    cases = []
    for source in sources:
        try:
            want = env.from_string(source).render(**VARS)
        except Exception:
            want = None
        if want is not None and (" at 0x" in want or "<jinja2" in want or "<generator" in want or "<class" in want or "<built" in want):
            continue  # what Python prints of objects that we do not have
        cases.append({"source": source, "want": want})
    here = os.path.dirname(os.path.abspath(__file__))
    with open(os.path.join(here, "snippets.json"), "w") as f:
        json.dump({"vars": VARS, "cases": cases}, f, ensure_ascii=True, indent=0)
        f.write("\n")
    print(len(cases), "cases, jinja2", jinja2.__version__)


def split(line):
    """Expressions of a line, apart at ' | ' outside of quotes and brackets."""
    out, depth, quote, begin, i = [], 0, "", 0, 0
    while i < len(line):
        c = line[i]
        if quote:
            if c == "\\":
                i += 1
            elif c == quote:
                quote = ""
        elif c in "'\"":
            quote = c
        elif line.startswith(" | ", i):
            out.append(line[begin:i])
            begin = i + 3
            quote = ""
        i += 1
    return out + [line[begin:]]


main()
