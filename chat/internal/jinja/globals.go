package jinja

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// globals are the names that every template has: Jinja's (but for lipsum) and
// transformers'.
var globals = map[string]Value{
	"range":           &function{"range", globalRange},
	"namespace":       &function{"namespace", globalNamespace},
	"dict":            &function{"dict", globalDict},
	"joiner":          &function{"joiner", globalJoiner},
	"cycler":          &function{"cycler", globalCycler},
	"raise_exception": &function{"raise_exception", globalRaise},
	"strftime_now":    &function{"strftime_now", globalStrftime},
}

func globalRange(r *run, a args) Value {
	bounds := [3]int64{0, 0, 1}
	if len(a.kw) > 0 || len(a.pos) == 0 || len(a.pos) > 3 {
		fail("range takes 1 to 3 arguments")
	}
	for i, v := range a.pos {
		bounds[i] = wantInt("argument of range", v, 0)
	}
	if len(a.pos) == 1 {
		bounds = [3]int64{0, bounds[0], 1}
	}
	start, stop, step := bounds[0], bounds[1], bounds[2]
	const limit = 1 << 40 // far above any budget; keeps the sums below in range
	if max(start, stop, step) > limit || min(start, stop, step) < -limit {
		fail("argument of range is out of range")
	}
	count := int64(0)
	switch {
	case step == 0:
		fail("range() arg 3 must not be zero")
	case step > 0 && stop > start:
		count = (stop-start-1)/step + 1
	case step < 0 && start > stop:
		count = (start-stop-1)/-step + 1
	}
	r.elements(int(count))
	items := make([]Value, count)
	for i := range items {
		items[i] = start + int64(i)*step
	}
	return &List{items, isList}
}

// dictArg fills set from the arguments of dict() and namespace().
func dictArg(r *run, a args, set func(key, v Value)) {
	if len(a.pos) > 1 {
		fail("expected at most 1 argument, got %d", len(a.pos))
	}
	for _, v := range a.pos {
		if d, ok := v.(*Dict); ok {
			r.elements(2 * len(d.keys))
			for i, key := range d.keys {
				r.key(key)
				set(key, d.values[i])
			}
			continue
		}
		for _, pair := range r.iterate(v) {
			r.elements(2)
			kv := r.iterate(pair)
			if len(kv) != 2 {
				fail("dictionary update sequence has an element of length %d; 2 is required", len(kv))
			}
			r.key(kv[0])
			set(kv[0], kv[1])
		}
	}
	for _, k := range a.kw {
		r.elements(2)
		set(Trusted(k.name), k.value)
	}
}

func globalNamespace(r *run, a args) Value {
	ns := &Namespace{map[string]Value{}}
	r.elements(4)
	dictArg(r, a, func(key, v Value) { ns.vars[wantText("name", key).s] = v })
	return ns
}

func globalDict(r *run, a args) Value {
	d := NewDict()
	r.elements(4)
	dictArg(r, a, d.set)
	return d
}

func globalJoiner(r *run, a args) Value {
	sep := Value(Trusted(", "))
	if v := a.bind("sep")[0]; v != nil {
		sep = v
	}
	used := false
	return &function{"joiner", func(*run, args) Value {
		if !used {
			used = true
			return Text{}
		}
		return sep
	}}
}

func globalCycler(r *run, a args) Value {
	if len(a.pos) == 0 {
		fail("at least one item has to be provided")
	}
	at := 0
	r.elements(4)
	ns := &Namespace{map[string]Value{"current": a.pos[0]}}
	move := func(to int) {
		at = to % len(a.pos)
		ns.vars["current"] = a.pos[at]
	}
	ns.vars["next"] = &function{"next", func(*run, args) Value {
		v := a.pos[at]
		move(at + 1)
		return v
	}}
	ns.vars["reset"] = &function{"reset", func(*run, args) Value {
		move(0)
		return None{}
	}}
	return ns
}

func globalRaise(r *run, a args) Value {
	panic(abort{&Error{Message: r.toText(a.one("message")).s, Raised: true}})
}

// strftimeLayouts are the directives of C's strftime in the C locale, as Go
// layouts.
var strftimeLayouts = map[string]string{
	"Y": "2006", "y": "06", "m": "01", "d": "02", "H": "15", "I": "03", "M": "04", "S": "05", "p": "PM",
	"B": "January", "b": "Jan", "h": "Jan", "A": "Monday", "a": "Mon", "Z": "MST", "z": "-0700", "j": "002", "e": "_2",
	"F": "2006-01-02", "T": "15:04:05", "R": "15:04", "D": "01/02/06", "c": "Mon Jan _2 15:04:05 2006", "x": "01/02/06", "X": "15:04:05",
	"-d": "2", "-m": "1", "-I": "3", "-M": "4", "-S": "5",
}

func globalStrftime(r *run, a args) Value {
	format := wantText("format", a.one("format"))
	client := len(format.marks) > 0
	b := builder{m: &r.meter}
	for rest := format.s; ; {
		text, directive, ok := strings.Cut(rest, "%")
		b.raw(text, client)
		if !ok {
			return b.done()
		}
		r.step(4)
		n := 1
		if strings.HasPrefix(directive, "-") {
			n = 2
		}
		n = min(n, len(directive))
		b.raw(strftime(r.now, directive[:n]), client)
		rest = directive[n:]
	}
}

// strftime gives one directive, without its "%".
func strftime(t time.Time, directive string) string {
	if layout, ok := strftimeLayouts[directive]; ok {
		return t.Format(layout)
	}
	switch directive {
	case "%":
		return "%"
	case "f":
		return fmt.Sprintf("%06d", t.Nanosecond()/1000)
	case "-H":
		return strconv.Itoa(t.Hour())
	case "-j":
		return strconv.Itoa(t.YearDay())
	case "s":
		return strconv.FormatInt(t.Unix(), 10)
	case "w":
		return strconv.Itoa(int(t.Weekday()))
	}
	return "%" + directive
}
