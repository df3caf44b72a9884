package engine

import (
	"errors"
	"iter"
	"slices"
	"testing"

	"github.com/holdfast-run/holdfast/device"
	"github.com/holdfast-run/holdfast/internal/testkit/echo"
	"github.com/holdfast-run/holdfast/internal/testkit/golden"
)

// living are sessions as CollectKV asks for them.
func living(all ...Living) iter.Seq2[Living, error] {
	return func(yield func(Living, error) bool) {
		for _, s := range all {
			if !yield(s, nil) {
				return
			}
		}
	}
}

// TestResidence: blocks are written, given up on the device, read back, verified
// and collected when asked for, and nobody finds another's.
func TestResidence(t *testing.T) {
	c := golden.TinyCase(t, "tiny-chat")
	for _, mapped := range []bool{true, false} {
		e := open(t, Config{Store: t.TempDir(), StoreBytes: 8 << 20, Restore: RestoreLoad}, func(l *loaded) {
			if !mapped {
				l.backend = echo.Backend{Overlap: true}
			}
		})
		ctx := t.Context()
		j := &memo{}
		r := Request{Tokens: c.Tokens[:40], MaxTokens: 60, Params: greedy, IgnoreEOS: true, Journal: j, Principal: "a"}
		generate(t, e, r) // Keep is not set: nothing goes to the disk by itself
		tokens := slices.Concat(r.Tokens, j.tokens)
		computed := (len(tokens) - 1) / device.BlockTokens
		full := len(tokens) / device.BlockTokens

		check := func(what string, got Residence, err error, device, disk int) {
			t.Helper()
			if err != nil || got.Blocks != full || got.Device != device || got.Disk != disk || got.BlockBytes == 0 {
				t.Errorf("mapped %v: %s: %+v, %v; want %d on the device and %d on disk of %d", mapped, what, got, err, device, disk, full)
			}
		}
		got, err := e.Residence(ctx, "a", tokens)
		check("before", got, err, computed, 0)
		got, err = e.Checkpoint(ctx, "a", tokens)
		check("checkpoint", got, err, computed, computed)
		got, err = e.Checkpoint(ctx, "a", tokens)
		check("checkpoint again", got, err, computed, computed)
		got, err = e.Residence(ctx, "b", tokens)
		check("another's", got, err, 0, 0)
		got, err = e.Park(ctx, "a", tokens)
		check("park", got, err, 0, computed)
		got, err = e.Prefetch(ctx, "b", tokens)
		check("another's prefetch", got, err, 0, 0)
		got, err = e.Prefetch(ctx, "a", tokens)
		check("prefetch", got, err, computed, computed)
		if v, err := e.VerifyKV(ctx, "a", tokens); err != nil || v != (KVReport{Blocks: full, Good: computed, Missing: full - computed}) {
			t.Errorf("verify: %+v, %v", v, err)
		}
		if s := e.Stats(); s.StoredBlocks != uint64(computed) || s.LoadedBlocks != uint64(computed) {
			t.Errorf("blocks were written or read more than once: %+v", s.TierStats)
		} else if s.StoreBytes < int64(computed*got.BlockBytes) || s.StoreBytes > s.StoreLimit || s.CorruptBlocks != 0 {
			t.Errorf("%d blocks of %d bytes take %d of %d, %d corrupt", computed, got.BlockBytes, s.StoreBytes, s.StoreLimit, s.CorruptBlocks)
		}
		if _, err := e.CollectKV(ctx, living(Living{"a", tokens}, Living{"b", tokens[:10]})); err != nil {
			t.Error(err)
		}
		got, err = e.Residence(ctx, "a", tokens)
		check("collection while it lives", got, err, computed, computed)
		if got, err := e.CollectKV(ctx, living(Living{"b", tokens})); err != nil || got.Blocks != computed {
			t.Errorf("collection: %+v, %v", got, err)
		}
		got, err = e.Residence(ctx, "a", tokens)
		check("after its end", got, err, computed, 0)
		broken := errors.New("broken")
		if _, err := e.CollectKV(ctx, func(yield func(Living, error) bool) { yield(Living{}, broken) }); err != nil && !errors.Is(err, broken) {
			t.Errorf("a list that breaks: %v", err)
		}
		waitIdle(t, e)
	}
}

// TestNoStore: without a store the calls say so, and a request that asks for it
// runs as any other.
func TestNoStore(t *testing.T) {
	e := open(t, Config{}, nil)
	if _, err := e.Park(t.Context(), "", []int32{1}); !errors.Is(err, ErrNoStore) {
		t.Errorf("%v", err)
	}
	generate(t, e, Request{Tokens: []int32{1, 2, 3}, MaxTokens: 2, Params: greedy, IgnoreEOS: true, Journal: &memo{}, Keep: true})
}

// TestManyKeep: more prefixes than may be held at once all get to the disk.
func TestManyKeep(t *testing.T) {
	e := open(t, Config{Store: t.TempDir(), StoreBytes: 8 << 20, MaxSequences: 8}, func(l *loaded) { l.opts.Blocks[device.Full] = 40 })
	var all []*Generation
	for i := range 8 {
		tokens := make([]int32, 100)
		for k := range tokens {
			tokens[k] = int32((i*7 + k*13) % e.info.VocabSize)
		}
		g, err := e.Generate(t.Context(), Request{Tokens: tokens, MaxTokens: 10, Params: greedy, IgnoreEOS: true, Journal: &memo{}, Keep: true})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, g)
	}
	for _, g := range all {
		if _, _, err := result(g); err != nil {
			t.Fatal(err)
		}
	}
	for i, g := range all {
		r, err := e.Checkpoint(t.Context(), "", g.seq.Tokens)
		if err != nil || r.Disk < r.Device || r.Device < 3 {
			t.Errorf("session %d: %+v, %v", i, r, err)
		}
	}
	waitIdle(t, e)
}

// noted is a Journal that calls a function, on the loop, with each token.
type noted struct {
	memo
	call func()
}

func (n *noted) Append(token int32) {
	n.memo.Append(token)
	n.call()
}

// TestBehindPromptAndEnd: the blocks of a prompt are on their way when its first
// token is shown, and those of the end are on disk once the engine is closed.
func TestBehindPromptAndEnd(t *testing.T) {
	c := golden.TinyCase(t, "tiny-chat")
	cfg := Config{Store: t.TempDir(), StoreBytes: 8 << 20}
	e := open(t, cfg, nil)
	var left []int // blocks that are on their way or there, by token
	j := &noted{}
	j.call = func() { left = append(left, len(e.loop.tier.pending)+int(e.loop.tier.counts.StoredBlocks)) }
	r := Request{Tokens: c.Tokens[:70], MaxTokens: 60, Params: greedy, IgnoreEOS: true, Journal: j, Keep: true}
	generate(t, e, r)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if left[0] != 2 {
		t.Errorf("with the first token %d blocks are on their way, want 2", left[0])
	}
	again := open(t, cfg, nil)
	tokens := slices.Concat(r.Tokens, j.tokens)
	got, err := again.Residence(t.Context(), "", tokens)
	if want := (len(tokens) - 1) / device.BlockTokens; err != nil || got.Disk != want {
		t.Errorf("%+v, %v; want %d blocks on disk", got, err, want)
	}
}
