package tokenizer

import (
	"slices"
	"sync"
	"unicode/utf8"
)

// Hangul syllables compose and decompose by arithmetic (Unicode 3.12).
const (
	hangulBase               = 0xac00
	jamoL, jamoV, jamoT      = 0x1100, 0x1161, 0x11a7
	countL, countV           = 19, 21
	countT                   = 28
	hangulCount              = countL * countV * countT
	invalidByte         rune = utf8.MaxRune + 1 // + b stands for a byte that is not UTF-8
)

// nfcTables is what canonical composition needs beyond Hangul.
type nfcTables struct {
	class   map[rune]uint8 // combining class, where it is not 0
	apart   map[rune]string
	compose map[[2]rune]rune
	// stirs holds the runes that may make a text another than its NFC: those with
	// a class, those that never stay, and those that join the rune before them.
	stirs map[rune]bool
}

var nfcData = sync.OnceValue(func() *nfcTables {
	t := &nfcTables{
		class: map[rune]uint8{}, apart: map[rune]string{},
		compose: map[[2]rune]rune{}, stirs: map[rune]bool{},
	}
	for _, r := range combiningClasses {
		for c := r[0]; c <= r[1]; c++ {
			t.class[c] = uint8(r[2])
			t.stirs[c] = true
		}
	}
	stays := map[rune]bool{}
	for _, c := range compositions {
		t.compose[[2]rune{c[0], c[1]}] = c[2]
		t.stirs[c[1]] = true
		stays[c[2]] = true
	}
	for _, d := range decompositions {
		t.apart[d.of] = d.to
		if !stays[d.of] {
			t.stirs[d.of] = true
		}
	}
	for c := rune(0); c < countV; c++ {
		t.stirs[jamoV+c] = true
	}
	for c := rune(1); c < countT; c++ {
		t.stirs[jamoT+c] = true
	}
	return t
})

// marked is a rune with its combining class.
type marked struct {
	r     rune
	class uint8
}

var nfcPool = sync.Pool{New: func() any { return new([]marked) }}

// normalNFC reports whether text is its own NFC, by a look at each rune that
// can err only to the other side.
func normalNFC(text string) bool {
	var t *nfcTables
	for i := 0; i < len(text); {
		if text[i] < 0xcc { // a rune below U+0300 is always normal
			i++
			continue
		}
		if t == nil {
			t = nfcData()
		}
		r, n := utf8.DecodeRuneInString(text[i:])
		if t.stirs[r] {
			return false
		}
		i += n
	}
	return true
}

// appendNFC appends text in Unicode's Normalization Form C (Unicode 3.11,
// UAX 15). Bytes that are not UTF-8 stay as they are.
func appendNFC(dst []byte, text string) []byte {
	t := nfcData()
	room := nfcPool.Get().(*[]marked)
	runes := (*room)[:0]
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRuneInString(text[i:])
		switch s := r - hangulBase; {
		case n == 1 && r == utf8.RuneError:
			runes = append(runes, marked{invalidByte + rune(text[i]), 0})
		case s >= 0 && s < hangulCount:
			runes = append(runes, marked{jamoL + s/(countV*countT), 0}, marked{jamoV + s%(countV*countT)/countT, 0})
			if s%countT != 0 {
				runes = append(runes, marked{jamoT + s%countT, 0})
			}
		case t.apart[r] != "":
			for _, part := range t.apart[r] {
				runes = append(runes, marked{part, t.class[part]})
			}
		default:
			runes = append(runes, marked{r, t.class[r]})
		}
		i += n
	}
	sortMarks(runes)
	for _, m := range t.join(runes) {
		if m.r >= invalidByte {
			dst = append(dst, byte(m.r-invalidByte))
		} else {
			dst = utf8.AppendRune(dst, m.r)
		}
	}
	if cap(runes) <= keepSymbols {
		*room = runes
		nfcPool.Put(room)
	}
	return dst
}

// sortMarks orders each run of marks by class, equal ones as they stand.
func sortMarks(runes []marked) {
	for i := 0; i < len(runes); {
		if runes[i].class == 0 {
			i++
			continue
		}
		from := i
		for i < len(runes) && runes[i].class != 0 {
			i++
		}
		if i-from > 1 {
			slices.SortStableFunc(runes[from:i], func(a, b marked) int { return int(a.class) - int(b.class) })
		}
	}
}

// join composes in place: a rune joins the last starter unless something of its
// class or above, or another starter, stands between.
func (t *nfcTables) join(runes []marked) []marked {
	out := runes[:0]
	starter := -1
	for _, m := range runes {
		if starter >= 0 {
			last := out[len(out)-1].class
			near := starter == len(out)-1
			if near || last != 0 && last < m.class {
				if r, ok := t.pair(out[starter].r, m.r); ok {
					out[starter].r = r
					continue
				}
			}
		}
		if m.class == 0 {
			starter = len(out)
		}
		out = append(out, m)
	}
	return out
}

// pair returns what two runes compose to.
func (t *nfcTables) pair(a, b rune) (rune, bool) {
	if l, v := a-jamoL, b-jamoV; l >= 0 && l < countL && v >= 0 && v < countV {
		return hangulBase + (l*countV+v)*countT, true
	}
	if s, f := a-hangulBase, b-jamoT; s >= 0 && s < hangulCount && s%countT == 0 && f > 0 && f < countT {
		return a + f, true
	}
	r, ok := t.compose[[2]rune{a, b}]
	return r, ok
}
