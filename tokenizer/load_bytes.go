package tokenizer

import "fmt"

// loadBytes fills t from a vocabulary that spells bytes as byteRunes does. It
// returns the IDs by spelling, for the merges.
func (t *Tokenizer) loadBytes(v *vocabulary) (map[string]int32, error) {
	t.pieces = make([]string, len(v.tokens))
	t.kinds = v.kinds
	t.canonical = make([]uint32, len(v.tokens))
	t.words = make(map[string]int32, len(v.tokens))
	t.specials = map[string]int32{}
	for b := range t.byteToken {
		t.byteToken[b] = -1
	}
	ids := make(map[string]int32, len(v.tokens))
	var special []addedToken
	var raw []byte
	for i, token := range v.tokens {
		id := int32(i)
		if len(token) > maxTokenBytes {
			return nil, fmt.Errorf("%w: %s[%d] has %d bytes, limit %d", ErrVocabulary, v.where, i, len(token), maxTokenBytes)
		}
		if token == "" {
			continue // padding: stands for nothing, is never produced
		}
		if first, ok := ids[token]; ok {
			return nil, v.errorf(i, "repeats %d", first)
		}
		ids[token] = id
		if t.kinds[i].special() {
			t.pieces[i] = token
			t.specials[token] = id
			special = append(special, addedToken{text: token, id: id})
			continue
		}
		var exact bool
		if raw, exact = appendRaw(raw[:0], token); !exact {
			t.pieces[i] = token // no bytes spell it, so no text yields it
			continue
		}
		t.pieces[i] = string(raw)
		if kind := t.kinds[i]; kind != kindUnknown && kind != kindUnused {
			t.addWord(id)
		}
	}
	if err := t.checkBytes(v); err != nil {
		return nil, err
	}
	var err error
	t.special, err = newSpecialSet(special, v.where)
	return ids, err
}

// addWord makes a token one that merges of bytes can yield.
func (t *Tokenizer) addWord(id int32) {
	piece := t.pieces[id]
	t.words[piece] = id
	t.longestWord = max(t.longestWord, len(piece))
	if len(piece) == 1 {
		t.byteToken[piece[0]] = id
	}
}

// checkBytes refuses a vocabulary that could not spell ordinary text: it must
// have printable ASCII, tab, line feed, carriage return, and the continuation
// bytes of UTF-8.
func (t *Tokenizer) checkBytes(v *vocabulary) error {
	for b, id := range t.byteToken {
		needed := b >= ' ' && b < 0x7f || b == '\t' || b == '\n' || b == '\r' || b >= 0x80 && b < 0xc0
		if needed && id < 0 {
			return fmt.Errorf("%w: %s has no token for byte 0x%02x (spelt %q)", ErrVocabulary, v.where, b, string(byteRunes[b]))
		}
	}
	return nil
}
