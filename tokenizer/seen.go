package tokenizer

const (
	seenBits  = 12 // of the number of slots: 256 KiB, which fit a core's second cache
	seenBytes = 24 // of the longest word that is kept
	seenIDs   = 8  // the most tokens of a word that is kept
)

// seenWords remembers what the words of one text became: text repeats its words,
// and to find one here is several times faster than to merge it again. A word has
// one place, which it takes from the word before it, so no text makes the table
// slow; and what another text left there is not found, so the time that a text
// takes tells nothing of others. One call owns it at a time.
type seenWords struct {
	slots [1 << seenBits]seenWord
	call  uint32 // counts the texts
}

// seenWord is a cache line.
type seenWord struct {
	key   wordKey
	call  uint32
	size  uint8 // of the word, in bytes
	count uint8
	ids   [seenIDs]int32
}

// wordKey is a word of at most seenBytes bytes. Words of one size have one key
// only if they are equal.
type wordKey struct{ head, middle, tail uint64 }

func keyOf(word string) (k wordKey) {
	n := len(word)
	switch {
	case n >= 8:
		k.head, k.tail = load64(word), load64(word[n-8:])
		if n > 16 {
			k.middle = load64(word[8:])
		}
	case n >= 4:
		k.head, k.tail = uint64(load32(word)), uint64(load32(word[n-4:]))
	case n > 0:
		k.head = uint64(word[0]) | uint64(word[n/2])<<8 | uint64(word[n-1])<<16
	}
	return k
}

func load32(s string) uint32 {
	_ = s[3]
	return uint32(s[0]) | uint32(s[1])<<8 | uint32(s[2])<<16 | uint32(s[3])<<24
}

func load64(s string) uint64 {
	_ = s[7]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

// place returns the slot of a key.
func (s *seenWords) place(k wordKey) *seenWord {
	h := k.head*0x9e3779b97f4a7c15 ^ k.middle*0xd6e8feb86659fd93 ^ k.tail*0xc2b2ae3d27d4eb4f
	h ^= h >> 32
	return &s.slots[h*0x9e3779b97f4a7c15>>(64-seenBits)]
}

// appendWord appends the tokens of one word, which is not empty.
func (t *Tokenizer) appendWord(dst []int32, word string, seen *seenWords) []int32 {
	if len(word) > seenBytes {
		return t.encodeWord(dst, word)
	}
	key := keyOf(word)
	slot := seen.place(key)
	if slot.key == key && slot.call == seen.call && int(slot.size) == len(word) {
		if slot.count == 1 {
			return append(dst, slot.ids[0])
		}
		return append(dst, slot.ids[:slot.count]...)
	}
	start := len(dst)
	dst = t.encodeWord(dst, word)
	if count := len(dst) - start; count <= seenIDs {
		slot.key, slot.call, slot.size, slot.count = key, seen.call, uint8(len(word)), uint8(count)
		copy(slot.ids[:], dst[start:])
	}
	return dst
}

// newText returns a table in which nothing is found, for one text.
func (t *Tokenizer) newText() *seenWords {
	seen, ok := t.seen.Get().(*seenWords)
	if !ok {
		seen = new(seenWords)
	}
	seen.call++
	return seen
}
