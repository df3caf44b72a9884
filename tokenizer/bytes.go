package tokenizer

import "unicode/utf8"

// byteRunes maps each byte to the printable rune that byte-level vocabularies
// write for it: bytes that are printable in Latin-1 stand for themselves, the
// others follow from U+0100 in order. Source: openai/gpt-2, src/encoder.py,
// bytes_to_unicode.
var byteRunes = func() (table [256]rune) {
	next := rune(0x100)
	for b := range table {
		switch {
		case b >= '!' && b <= '~', b >= 0xa1 && b <= 0xac, b >= 0xae:
			table[b] = rune(b)
		default:
			table[b] = next
			next++
		}
	}
	return table
}()

// runeBytes is the inverse of byteRunes; -1 where a rune stands for no byte.
var runeBytes = func() (table [0x144]int16) {
	for i := range table {
		table[i] = -1
	}
	for b, r := range byteRunes {
		table[r] = int16(b)
	}
	return table
}()

// appendRaw appends the bytes that the vocabulary text stands for. A text with
// a rune outside the table stands for itself, and ok is false.
func appendRaw(dst []byte, text string) (raw []byte, ok bool) {
	start := len(dst)
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRuneInString(text[i:])
		if int(r) >= len(runeBytes) || runeBytes[r] < 0 {
			return append(dst[:start], text...), false
		}
		dst = append(dst, byte(runeBytes[r]))
		i += n
	}
	return dst, true
}
