package cuda

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/holdfast-run/holdfast/internal/atomicfile"
)

// imageCache keeps compiled images in a folder, one a file. A file's name is the digest
// of all that the image was made of; its first bytes are the digest of the image, so
// that one that was damaged is made again. A folder that cannot be written makes
// starts slower and nothing else: no method fails.
//
// Several processes may use a folder at once.
type imageCache struct{ dir string } // "" keeps nothing

const (
	imageSuffix    = ".cubin"
	maxCached      = 64       // files: nine sets of seven
	maxCachedBytes = 16 << 20 // of one
)

// defaultCache is in the user's cache folder; nothing is kept where there is none.
func defaultCache() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "holdfast", "cuda")
}

func (c imageCache) path(key string) string { return filepath.Join(c.dir, key+imageSuffix) }

// get returns an image, or nil.
func (c imageCache) get(key string) []byte {
	if c.dir == "" {
		return nil
	}
	info, err := os.Stat(c.path(key))
	if err != nil || info.Size() > maxCachedBytes {
		return nil
	}
	data, err := os.ReadFile(c.path(key))
	if err != nil || len(data) <= sha256.Size {
		return nil
	}
	sum := sha256.Sum256(data[sha256.Size:])
	if !bytes.Equal(sum[:], data[:sha256.Size]) {
		return nil
	}
	now := time.Now()
	_ = os.Chtimes(c.path(key), now, now) // the least recently used go first
	return data[sha256.Size:]
}

// put keeps an image: whole or not at all, whoever reads meanwhile.
func (c imageCache) put(key string, image []byte) {
	if c.dir == "" || len(image)+sha256.Size > maxCachedBytes || os.MkdirAll(c.dir, 0o700) != nil {
		return
	}
	sum := sha256.Sum256(image)
	_ = atomicfile.Write(c.path(key), append(sum[:], image...))
	c.trim()
}

// trim removes the files that were not used for longest.
func (c imageCache) trim() {
	paths, _ := filepath.Glob(filepath.Join(c.dir, "*"+imageSuffix))
	if len(paths) <= maxCached {
		return
	}
	used := map[string]time.Time{}
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil {
			used[path] = info.ModTime()
		}
	}
	slices.SortFunc(paths, func(a, b string) int { return cmp.Or(used[a].Compare(used[b]), cmp.Compare(a, b)) })
	for _, path := range paths[:len(paths)-maxCached] {
		_ = os.Remove(path)
	}
}
