package engine

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/holdfast-run/holdfast/device"
	"github.com/holdfast-run/holdfast/graph"
	"github.com/holdfast-run/holdfast/internal/atomicfile"
	"github.com/holdfast-run/holdfast/kvcache"
	"github.com/holdfast-run/holdfast/tokenizer"
	"github.com/holdfast-run/holdfast/weights"
)

// identity is worked out beside the first requests.
type identity struct {
	done chan struct{} // closed when id and err are set
	id   kvcache.Identity
	err  error
}

// Identity names the KV of this engine's blocks, before a tenant's salt. It
// waits for the digest of the model file.
func (e *Engine) Identity() (kvcache.Identity, error) {
	<-e.identity.done
	return e.identity.id, e.identity.err
}

// identity returns what the KV of this engine's blocks is named by. The salt is
// the tenant's and comes with the request.
func (l *loaded) identity(digest [32]byte, tok *tokenizer.Tokenizer, class string) kvcache.Identity {
	id := kvcache.Identity{
		Weights:     digest,
		Tokenizer:   tok.Digest(),
		KV:          l.opts.KV.String(),
		BlockTokens: device.BlockTokens,
		Ranks:       1,
		Class:       class,
	}
	for _, n := range l.graph.Nodes {
		op, ok := n.Op.(graph.RoPE)
		if ok && !slices.ContainsFunc(id.RoPE, func(f []float64) bool { return slices.Equal(f, op.Freqs) }) {
			id.RoPE = append(id.RoPE, op.Freqs)
		}
	}
	return id
}

// digestFile is the cache of model digests in the store's folder; its format is
// in docs/FORMATS.md.
const digestFile = "digests.json"

// maxDigests bounds the cache; the oldest entries go first.
const maxDigests = 64

// digestCache is the content of digestFile.
type digestCache struct {
	Version int           `json:"version"`
	Files   []digestEntry `json:"files"`
}

// digestEntry remembers the digest of one state of one file.
type digestEntry struct {
	Device  uint64 `json:"device"`
	Inode   uint64 `json:"inode"`
	Size    int64  `json:"size"`
	MtimeNs int64  `json:"mtime_ns"`
	CtimeNs int64  `json:"ctime_ns"`
	BLAKE3  string `json:"blake3"`
}

// weightsDigest returns the digest of f, whose parts' digests may come from the
// cache in folder store. store may be empty: then nothing is cached.
func weightsDigest(f *weights.File, store string) (sum [32]byte, err error) {
	parts := f.Parts()
	sums := make([][32]byte, len(parts))
	for i, p := range parts {
		if sums[i], err = partDigest(p, store); err != nil {
			return sum, err
		}
	}
	return f.DigestOf(sums), nil
}

// partDigest returns the digest of one file, from the cache if the file has not
// changed since. A cache that cannot be read or written costs time, never an error.
func partDigest(p weights.Part, store string) (sum [32]byte, err error) {
	var stat unix.Stat_t
	if err := unix.Stat(p.Path(), &stat); err != nil {
		return sum, fmt.Errorf("engine: model file: %s: %w", p.Path(), err)
	}
	want := digestEntry{
		Device: uint64(stat.Dev), Inode: stat.Ino, Size: stat.Size,
		MtimeNs: stat.Mtim.Nano(), CtimeNs: stat.Ctim.Nano(),
	}
	path := filepath.Join(store, digestFile)
	var cache digestCache
	if store != "" {
		cache = readDigests(path)
		for _, e := range cache.Files {
			digest, err := hex.DecodeString(e.BLAKE3)
			e.BLAKE3 = ""
			if e == want && err == nil && len(digest) == len(sum) {
				return [32]byte(digest), nil
			}
		}
	}
	if sum, err = p.Digest(); err != nil || store == "" {
		return sum, err
	}
	cache.Files = slices.DeleteFunc(cache.Files, func(e digestEntry) bool { return e.Device == want.Device && e.Inode == want.Inode })
	want.BLAKE3 = hex.EncodeToString(sum[:])
	cache.Version, cache.Files = 1, append(cache.Files, want)
	if n := len(cache.Files); n > maxDigests {
		cache.Files = cache.Files[n-maxDigests:]
	}
	writeDigests(path, cache)
	return sum, nil
}

// readDigests returns the cache, or an empty one if there is none to trust.
func readDigests(path string) digestCache {
	info, err := os.Stat(path)
	if err != nil || info.Size() > 1<<20 {
		return digestCache{}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return digestCache{}
	}
	var c digestCache
	if err := json.Unmarshal(data, &c); err != nil || c.Version != 1 {
		return digestCache{}
	}
	return c
}

// writeDigests replaces the cache file. Without it the next start is slower.
func writeDigests(path string, c digestCache) {
	if data, err := json.Marshal(c); err == nil {
		_ = atomicfile.Write(path, data)
	}
}

// openStore makes the store's folder, for its owner only.
func openStore(path string) error {
	if path == "" {
		return nil
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return fmt.Errorf("engine: store: %w", err)
	}
	if info, err := os.Stat(path); err != nil || !info.IsDir() {
		return fmt.Errorf("engine: store: %w", errors.Join(err, &fs.PathError{Op: "open", Path: path, Err: unix.ENOTDIR}))
	}
	return nil
}
