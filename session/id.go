package session

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// ID names a session. It is random, and says nothing of whose it is.
type ID [16]byte

const idPrefix = "sess_"

// String returns "sess_" and 32 hexadecimal digits.
func (id ID) String() string { return idPrefix + hex.EncodeToString(id[:]) }

// ParseID reads what String wrote, and nothing else.
func ParseID(s string) (id ID, err error) {
	digits, ok := strings.CutPrefix(s, idPrefix)
	if !ok || len(digits) != 2*len(id) || strings.ToLower(digits) != digits {
		return id, fmt.Errorf("session: %.60q is no session ID; one is %q and 32 hexadecimal digits", s, idPrefix)
	}
	if _, err := hex.Decode(id[:], []byte(digits)); err != nil {
		return ID{}, fmt.Errorf("session: %.60q is no session ID: %w", s, err)
	}
	return id, nil
}

func newID() (id ID) {
	rand.Read(id[:]) // never fails
	return id
}

const turnPrefix = "turn_"

// turnID returns a turn's name: "turn_" and its number, "" for none.
func turnID(number uint32) string {
	if number == 0 {
		return ""
	}
	return turnPrefix + strconv.FormatUint(uint64(number), 10)
}

// parseTurn reads what turnID wrote; "" is 0, the beginning.
func parseTurn(s string) (uint32, error) {
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(strings.TrimPrefix(s, turnPrefix), 10, 32)
	if err != nil || turnID(uint32(n)) != s {
		return 0, ErrNoTurn
	}
	return uint32(n), nil
}
