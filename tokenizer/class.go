package tokenizer

import (
	"slices"
	"unicode/utf8"
)

// class says what a rune is to the pre-tokenizers.
type class uint8

const (
	other    class = 0
	mark     class = 1 << (iota - 1) // \p{M}
	letter                           // \p{L}
	number                           // \p{N}
	newLater                         // a number of a newer Unicode: only Digits splits it off
	space                            // \s
	newline                          // [\r\n], besides space
	upper                            // [\p{Lu}\p{Lt}], besides letter
	lower                            // \p{Ll}, besides letter
)

// classPages maps rune>>8 to a page of 256 classes. Equal pages are shared.
var classPages = buildPages()

func buildPages() *[0x1100]*[256]class {
	pages := new([0x1100]*[256]class)
	shared := map[class]*[256]class{} // pages of one class
	for _, c := range []class{other, letter, mark} {
		shared[c] = new([256]class)
		for i := range shared[c] {
			shared[c][i] = c
		}
	}
	for i := range pages {
		pages[i] = shared[other]
	}
	fill := func(ranges [][2]rune, c class) {
		for _, r := range ranges {
			for at := r[0]; at <= r[1]; {
				page := at >> 8
				if at&255 == 0 && r[1]-at >= 255 && pages[page] == shared[other] && shared[c] != nil {
					pages[page] = shared[c]
					at += 256
					continue
				}
				if own := pages[page]; own == shared[own[0]] {
					own := *own
					pages[page] = &own
				}
				pages[page][at&255] |= c
				at++
			}
		}
	}
	fill(markRanges, mark)
	fill(letterRanges, letter)
	fill(numberRanges, number)
	fill(newNumberRanges, newLater)
	fill(spaceRanges, space)
	fill([][2]rune{{'\n', '\n'}, {'\r', '\r'}}, newline)
	fill(upperRanges, upper)
	fill(lowerRanges, lower)
	return pages
}

var asciiClass = func() (table [utf8.RuneSelf]class) {
	copy(table[:], classPages[0][:])
	return table
}()

// classAt returns the class and the length in bytes of the rune at s[i:],
// which must not be empty. A byte that is not valid UTF-8 is one rune of class
// other.
func classAt(s string, i int) (class, int) {
	if b := s[i]; b < utf8.RuneSelf {
		return asciiClass[b], 1
	}
	r, n := utf8.DecodeRuneInString(s[i:])
	if n == 1 {
		return other, 1
	}
	return classPages[r>>8][r&255], n
}

// skip returns the end of the run of runes from s[i:] on that have a class bit
// of c.
func skip(s string, i int, c class) int {
	for i < len(s) {
		k, n := classAt(s, i)
		if k&c == 0 {
			break
		}
		i += n
	}
	return i
}

// skipOther returns the end of the run [^\s\p{L}\p{N}]* from s[i:] on, which
// also ends before a class bit of stop.
func skipOther(s string, i int, stop class) int {
	for i < len(s) {
		k, n := classAt(s, i)
		if k&(letter|number|space|stop) != 0 {
			break
		}
		i += n
	}
	return i
}

// isWord reports whether r is a word character to an added token.
func isWord(r rune) bool {
	_, ok := slices.BinarySearchFunc(wordRanges, r, func(w [2]rune, r rune) int {
		switch {
		case w[1] < r:
			return -1
		case w[0] > r:
			return 1
		}
		return 0
	})
	return ok
}
