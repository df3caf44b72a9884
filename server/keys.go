package server

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
)

// Limits of a file of keys.
const (
	maxKeys      = 1024
	maxKeyFile   = 1 << 20
	maxPrincipal = 64 // bytes of a name
)

// keys are the API keys of a server. Only their hashes are known: a file that
// leaks opens nothing, as long as keys are random and long.
type keys struct {
	sums  [][sha256.Size]byte
	names []string // of the principals that the keys stand for
}

// readKeys reads a file of keys.
func readKeys(path string) (*keys, error) {
	if info, err := os.Stat(path); err == nil && info.Size() > maxKeyFile {
		return nil, fmt.Errorf("server: API keys: %s has %d bytes; at most %d are read", path, info.Size(), maxKeyFile)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("server: API keys: %w", err)
	}
	k, err := parseKeys(text)
	if err != nil {
		return nil, fmt.Errorf("server: API keys: %s: %w", path, err)
	}
	return k, nil
}

// parseKeys reads lines of the form name:hash, where hash is the SHA-256 of a
// key in hexadecimal. Several keys may have the same name, so that one can be
// replaced by another while both are valid. Empty lines, and lines that begin
// with #, say nothing. A file without a key is an error: it would shut everybody
// out. Errors never show a line, which could be a key that was not hashed.
func parseKeys(text []byte) (*keys, error) {
	k := &keys{}
	for i, line := range strings.Split(string(text), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		name, hash, _ := strings.Cut(line, ":")
		sum, err := hex.DecodeString(hash)
		switch {
		case !validPrincipal(name):
			return nil, fmt.Errorf("line %d: a name has 1 to %d letters, digits, '-', '_' and '.', and a colon follows it", i+1, maxPrincipal)
		case err != nil || len(sum) != sha256.Size:
			return nil, fmt.Errorf("line %d: after the colon come the 64 hexadecimal digits of the key's SHA-256", i+1)
		case k.find([sha256.Size]byte(sum)) >= 0:
			return nil, fmt.Errorf("line %d: the same key stands on an earlier line", i+1)
		case len(k.sums) == maxKeys:
			return nil, fmt.Errorf("line %d: there are more than %d keys", i+1, maxKeys)
		}
		k.sums = append(k.sums, [sha256.Size]byte(sum))
		k.names = append(k.names, name)
	}
	if len(k.sums) == 0 {
		return nil, fmt.Errorf("there is no key in it")
	}
	return k, nil
}

func validPrincipal(name string) bool {
	for _, c := range []byte(name) {
		if !plain(c) {
			return false
		}
	}
	return name != "" && len(name) <= maxPrincipal
}

// principal returns the name of a key, in a time that does not depend on what
// keys there are.
func (k *keys) principal(key []byte) (name string, ok bool) {
	if i := k.find(sha256.Sum256(key)); i >= 0 {
		return k.names[i], true
	}
	return "", false
}

// find returns the place of a hash, or -1. It compares all.
func (k *keys) find(sum [sha256.Size]byte) int {
	found := -1
	for i := range k.sums {
		found = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(sum[:], k.sums[i][:]), i, found)
	}
	return found
}

// bearer returns the key in an Authorization header, or nothing.
func bearer(header []byte) []byte {
	const scheme = "bearer "
	if len(header) < len(scheme) || !strings.EqualFold(string(header[:len(scheme)]), scheme) {
		return nil
	}
	return bytes.TrimSpace(header[len(scheme):])
}
