package ptxemu

import (
	"errors"
	"testing"
)

// barrierKernel has a body per warp of a block of three: w0, w1, w2. %s is the
// address of word %laneid in shared memory, %v what a warp reads there and the
// thread stores at its place of out.
func barrierKernel(w0, w1, w2 string) string {
	return `.version 8.0
.target sm_80
.address_size 64
.visible .entry k(.param .u64 out)
{
	.shared .align 4 .b8 words[128];
	.reg .b32 %s, %v, %w, %t;
	.reg .b64 %o, %x;
	.reg .pred %p;
	mov.u32 %t, %tid.x;
	mov.u32 %s, %laneid;
	shl.b32 %s, %s, 2;
	mov.u32 %v, 0;
	shr.u32 %w, %t, 5;
	setp.eq.u32 %p, %w, 1;
	@%p bra W1;
	setp.eq.u32 %p, %w, 2;
	@%p bra W2;
	` + w0 + `
	bra DONE;
W1:
	` + w1 + `
	bra DONE;
W2:
	` + w2 + `
DONE:
	ld.param.u64 %o, [out];
	mul.wide.u32 %x, %t, 4;
	add.u64 %o, %o, %x;
	st.global.b32 [%o], %v;
	ret;
}
`
}

// TestNamedBarriers: order goes from warp to warp through any barriers between
// them, and only through these.
func TestNamedBarriers(t *testing.T) {
	const write, read = "st.shared.b32 [%s], %t;", "ld.shared.b32 %v, [%s];"
	for name, c := range map[string]struct {
		w0, w1, w2 string
		want       FaultKind // 0: the third warp reads what the first wrote
	}{
		"chain":                 {write + "bar.sync 1, 64;", "bar.sync 1, 64; bar.sync 2, 64;", "bar.sync 2, 64;" + read, 0},
		"broken chain":          {write + "bar.sync 3, 64; bar.sync 1, 64;", "bar.sync 1, 64;", "bar.sync 3, 64; mov.u32 %v, 1; bar.sync 2, 32;" + write, 0},
		"arrive":                {write + "bar.arrive 4, 64;", "", "bar.sync 4, 64;" + read, 0},
		"write after":           {write + "bar.arrive 4, 64; add.u32 %w, %t, 1; st.shared.b32 [%s], %w;", "", "bar.sync 4, 64;" + read, Race},
		"arrive orders one way": {"bar.sync 5, 64;" + read, "", write + "bar.sync 5, 64; bar.sync 6, 32; add.u32 %w, %t, 1; st.shared.b32 [%s], %w;", Race},
		"other barrier":         {write + "bar.sync 1, 64;", "bar.sync 1, 64;", "bar.sync 7, 32;" + read, Race},
		"counts disagree":       {"bar.sync 1, 64;", "bar.sync 1, 96;", "bar.sync 1, 96;", Deadlock},
		"number":                {"bar.sync 16;", "", "", Undefined},
		"count":                 {"bar.sync 1, 40;", "", "", Undefined},
	} {
		b := loadText(t, barrierKernel(c.w0, c.w1, c.w2))
		for seed := range uint64(4) {
			out := alloc(b, make([]uint32, 96))
			err := b.launch("k", Config{Block: Dim3{X: 96}, Seed: seed}, out)
			if c.want == Race {
				// Where the reader comes first there was nothing to read.
				if f := (*Fault)(nil); errors.As(err, &f) && f.Kind == Uninitialised {
					continue
				}
			}
			if c.want != 0 {
				wantFault(t, err, c.want, "")
				continue
			}
			if err != nil {
				t.Fatalf("%s, seed %d: %v", name, seed, err)
			}
			for l, v := range read32(b, out) {
				if name != "broken chain" && v != uint32(l) {
					t.Fatalf("%s: lane %d read %d", name, l, v)
				}
			}
		}
	}
}

// read32 is the third warp's results.
func read32(b *bench, out uint64) []uint32 { return read[uint32](b, out+256, 32) }

// TestUnalignedBarrier: halves of warps meet at barrier.sync, which counts
// threads; what the other halves do meanwhile is not ordered by it.
func TestUnalignedBarrier(t *testing.T) {
	const half = "setp.ge.u32 %p, %s, 64; @%p bra "
	meet := func(extra string) string {
		return barrierKernel(half+"H0; barrier.sync 1, 32; bra DONE; H0: "+extra,
			half+"H1; barrier.sync 1, 32; ld.shared.b32 %v, [%s+64]; H1:", "")
	}
	b := loadText(t, meet(""))
	if err := b.launch("k", Config{Block: Dim3{X: 96}}, alloc(b, make([]uint32, 96))); err == nil {
		t.Error("read what nobody wrote")
	}
	b = loadText(t, meet("st.shared.b32 [%s], %t;"))
	for seed := range uint64(8) {
		err := b.launch("k", Config{Block: Dim3{X: 96}, Seed: seed}, alloc(b, make([]uint32, 96)))
		var f *Fault
		if !errors.As(err, &f) || f.Kind != Race && f.Kind != Uninitialised {
			t.Errorf("seed %d: %v", seed, err)
		}
	}
}

// TestReconvergence: lanes that took three ways are together again behind them.
func TestReconvergence(t *testing.T) {
	b := loadText(t, `.version 8.0
.target sm_80
.address_size 64
.visible .entry k(.param .u64 out)
{
	.reg .b32 %l, %k, %m;
	.reg .b64 %o, %x;
	mov.u32 %l, %laneid;
	rem.u32 %k, %l, 3;
	WAYS: .branchtargets A, B, C;
	brx.idx %k, WAYS;
A:
	add.u32 %k, %k, 1;
	bra JOIN;
B:
	add.u32 %k, %k, 2;
	bra JOIN;
C:
	add.u32 %k, %k, 3;
JOIN:
	add.u32 %k, %k, 1;
	activemask.b32 %m;
	ld.param.u64 %o, [out];
	mul.wide.u32 %x, %l, 4;
	add.u64 %o, %o, %x;
	st.global.b32 [%o], %m;
}
`)
	out := alloc(b, make([]uint32, 32))
	b.run("k", Config{Block: Dim3{X: 32}}, out)
	for l, m := range read[uint32](b, out, 32) {
		if m != 0xffffffff {
			t.Fatalf("lane %d is with %#x", l, m)
		}
	}
}
