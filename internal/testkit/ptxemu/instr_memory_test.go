package ptxemu

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// TestLoadStore moves values through every space and width, extended and cut.
// Each thread has 16 bytes of shared and of local memory.
func TestLoadStore(t *testing.T) {
	const shared = ".shared .align 16 .b8 s[4096]; .reg .b64 %s, %g; mov.u32 %t, %tid.x; mul.wide.u32 %s, %t, 16; mov.u64 %g, s; add.u64 %s, %s, %g; "
	const local = ".local .align 16 .b8 v[32]; .reg .b64 %s, %g; mov.u64 %s, v; "
	id := func(a, _, _ uint64) uint64 { return a }
	tests := []instrTest{
		{shared + "st.shared.b64 [%s], %a; ld.shared.b64 %d, [%s];", w64, anyInt, id},
		{shared + "st.shared.u32 [%s+4], %a; st.shared.u32 [%s], %b; ld.shared.u64 %d, [%s];", [4]int{64, 32, 32}, anyInt, func(a, b, _ uint64) uint64 { return a<<32 | b }},
		{shared + "cvta.shared.u64 %g, %s; st.b32 [%g], %a; ld.shared.b32 %d, [%s];", w32, anyInt, id},
		{shared + "st.shared.b32 [%s], %a; cvta.shared.u64 %g, %s; ld.b32 %d, [%g];", w32, anyInt, id},
		{shared + "st.shared.b32 [%s], %a; cvt.u32.u64 %t, %s; ld.shared.b32 %d, [%t];", w32, anyInt, id},
		{shared + "cvta.shared.u64 %g, %s; cvta.to.shared.u64 %g, %g; st.shared.b32 [%g], %a; ld.volatile.shared.b32 %d, [%s];", w32, anyInt, id},
		{shared + "st.shared.v2.b16 [%s], {%a, %b}; ld.shared.b32 %d, [%s];", [4]int{32, 16, 16}, anyInt, func(a, b, _ uint64) uint64 { return a | b<<16 }},
		{shared + "st.shared.v4.b8 [%s], {%a, %b, %a, %c}; ld.shared.b32 %d, [%s];", [4]int{32, 16, 16, 16}, anyInt, func(a, b, c uint64) uint64 {
			return a&0xff | b&0xff<<8 | a&0xff<<16 | c&0xff<<24
		}},
		{shared + "st.shared.v4.b32 [%s], {%a, %b, %c, %a}; ld.shared.v4.b32 {_, %t, _, %u}, [%s]; xor.b32 %d, %t, %u;", w32, anyInt, func(a, b, c uint64) uint64 { return a ^ b }},
		{local + "st.local.b64 [%s+8], %a; ld.local.b64 %d, [v+8];", w64, anyInt, id},
		{local + "st.local.b64 [%s], %a; cvta.local.u64 %g, %s; ld.b64 %d, [%g];", w64, anyInt, id},
		{"ld.param.u64 %addr2, [pa+0]; ld.param.u32 %t, [pa]; cvt.u64.u32 %addr3, %t; xor.b64 %addr2, %addr2, %addr3; ld.param.u32 %u, [pa+4]; cvt.u64.u32 %addr3, %u; shl.b64 %addr3, %addr3, 32; xor.b64 %addr2, %addr2, %addr3; add.u64 %d, %addr2, %a;", w64, anyInt, id},
		{".reg .b64 %g; mov.u64 %g, pa; cvta.param.u64 %g, %g; ld.b64 %addr2, [%g]; ld.param.u64 %addr3, [pa]; sub.u64 %addr2, %addr2, %addr3; add.u64 %d, %addr2, %a;", w64, anyInt, id},
	}
	// Loads into wider registers extend as the type says; stores cut.
	for _, c := range []struct {
		load string
		bits int
		f    func(a uint64) uint64
	}{
		{"u8", 16, func(a uint64) uint64 { return a & 0xff }},
		{"s8", 16, func(a uint64) uint64 { return uint64(int8(a)) }},
		{"s8", 32, func(a uint64) uint64 { return uint64(int8(a)) }},
		{"b8", 64, func(a uint64) uint64 { return a & 0xff }},
		{"s16", 32, func(a uint64) uint64 { return uint64(int16(a)) }},
		{"u16", 32, func(a uint64) uint64 { return a & 0xffff }},
		{"s32", 64, func(a uint64) uint64 { return uint64(int32(a)) }},
		{"u32", 64, func(a uint64) uint64 { return a & 0xffffffff }},
	} {
		tests = append(tests, instrTest{shared + fmt.Sprintf("st.shared.%s [%%s], %%a; ld.shared.%s %%d, [%%s];", "b"+c.load[1:], c.load),
			[4]int{c.bits, c.bits}, anyInt, func(a, _, _ uint64) uint64 { return signExtend(c.f(a), c.load) }})
	}
	for _, hint := range []string{"global", "global.nc", "global.ca", "volatile.global", "relaxed.gpu.global", "acquire.sys.global", "global.nc.L1::no_allocate.L2::128B", "global.L1::evict_last"} {
		tests = append(tests, instrTest{"ld.param.u64 %addr2, [pb]; add.u64 %addr2, %addr2, %addr0; ld." + hint + ".b32 %d, [%addr2];", w32, anyInt, func(_, b, _ uint64) uint64 { return b }})
	}
	tests = append(tests, instrTest{".reg .b64 %g; createpolicy.fractional.L2::evict_first.b64 %g, 1.0; ld.param.u64 %addr2, [pb]; add.u64 %addr2, %addr2, %addr0; prefetch.global.L2 [%addr2]; ld.global.nc.L2::cache_hint.b32 %d, [%addr2], %g;", w32, anyInt, func(_, b, _ uint64) uint64 { return b }})
	runInstr(t, tests)
}

// signExtend of what a signed load gave, already in 64 bits.
func signExtend(x uint64, name string) uint64 {
	if name == "s8" {
		return uint64(int64(int8(x)))
	}
	if name == "s16" {
		return uint64(int64(int16(x)))
	}
	if name == "s32" {
		return uint64(int64(int32(x)))
	}
	return x
}

// TestAtomicOperations checks what each leaves and returns, in global and
// shared memory.
func TestAtomicOperations(t *testing.T) {
	const shared = ".shared .align 16 .b8 s[4096]; .reg .b64 %s; mov.u32 %t, %tid.x; mul.wide.u32 %s, %t, 16; st.shared.b32 [%s], %a; "
	const shared64 = ".shared .align 16 .b8 s[4096]; .reg .b64 %s; mov.u32 %t, %tid.x; mul.wide.u32 %s, %t, 16; st.shared.b64 [%s], %a; "
	var tests []instrTest
	for name, f := range map[string]func(a, b, c uint64) uint64{
		"add.u32":  func(a, b, _ uint64) uint64 { return a + b },
		"and.b32":  func(a, b, _ uint64) uint64 { return a & b },
		"or.b32":   func(a, b, _ uint64) uint64 { return a | b },
		"xor.b32":  func(a, b, _ uint64) uint64 { return a ^ b },
		"exch.b32": func(_, b, _ uint64) uint64 { return b },
		"min.s32":  func(a, b, _ uint64) uint64 { return uint64(min(i32(a), i32(b))) },
		"max.u32":  func(a, b, _ uint64) uint64 { return max(a, b) },
		"inc.u32": func(a, b, _ uint64) uint64 {
			if a >= b {
				return 0
			}
			return a + 1
		},
		"dec.u32": func(a, b, _ uint64) uint64 {
			if a == 0 || a > b {
				return b
			}
			return a - 1
		},
	} {
		tests = append(tests,
			instrTest{shared + "red.shared." + name + " [%s], %b; ld.shared.b32 %d, [%s];", w32, anyInt, f},
			instrTest{shared + "atom.relaxed.cta.shared." + name + " %u, [%s], %b; ld.shared.b32 %t, [%s]; xor.b32 %d, %t, %u;", w32, anyInt,
				func(a, b, c uint64) uint64 { return low(f(a, b, c), 32) ^ a }},
			instrTest{"ld.param.u64 %addr2, [pd]; add.u64 %addr2, %addr2, %addr0; st.global.b32 [%addr2], %a; atom.global.gpu." + name + " %t, [%addr2], %b; ld.global.b32 %d, [%addr2];", w32, anyInt, f})
	}
	tests = append(tests,
		instrTest{shared + "atom.shared.cas.b32 %u, [%s], %b, %c; ld.shared.b32 %d, [%s];", w32, anySmall, func(a, b, c uint64) uint64 {
			if a == b {
				return c
			}
			return a
		}},
		instrTest{shared64 + "atom.shared.add.u64 %addr2, [%s], %b; ld.shared.b64 %d, [%s];", w64, anyInt, func(a, b, _ uint64) uint64 { return a + b }},
		instrTest{shared + "atom.shared.add.f32 %t, [%s], %b; ld.shared.b32 %d, [%s];", w32, anyF32, func(a, b, _ uint64) uint64 { return refF32.apply("add", "rn", a, b) }},
		instrTest{shared + "red.shared.add.noftz.bf16x2 [%s], %b; ld.shared.b32 %d, [%s];", w32, anyHalf, func(a, b, _ uint64) uint64 {
			return refBF16.apply("add", "rn", a&0xffff, b&0xffff) | refBF16.apply("add", "rn", a>>16, b>>16)<<16
		}},
		instrTest{"bar.warp.sync -1; ld.param.u64 %addr2, [pd]; add.u64 %addr2, %addr2, %addr0; st.global.b64 [%addr2], 0; atom.add.f64 %addr3, [%addr2], %a; ld.global.b64 %d, [%addr2];", w64, finiteF64, func(a, _, _ uint64) uint64 {
			if a == 1<<63 {
				return 0
			}
			return a
		}})
	runInstr(t, tests)
}

// anySmall makes cas succeed now and then.
func anySmall(r *rand.Rand) uint64 { return uint64(r.IntN(3)) }

func TestAsyncCopyZeroFill(t *testing.T) {
	b := loadText(t, `.version 8.0
.target sm_80
.address_size 64
.visible .entry k(.param .u64 px, .param .u64 py, .param .u32 n)
{
	.shared .align 16 .b8 s[512];
	.reg .b32 %r<8>;
	.reg .b64 %rd<8>;
	.reg .pred %p;
	ld.param.u64 %rd1, [px];
	ld.param.u64 %rd2, [py];
	ld.param.u32 %r1, [n];
	mov.u32 %r2, %tid.x;
	mul.wide.u32 %rd3, %r2, 16;
	add.u64 %rd1, %rd1, %rd3;
	add.u64 %rd2, %rd2, %rd3;
	shl.b32 %r3, %r2, 4;
	setp.ge.u32 %p, %r2, 16;
	@!%p cp.async.cg.shared.global.L2::128B [%r3], [%rd1], 16, %r1;
	@%p cp.async.ca.shared.global [%r3], [%rd1], 8;
	@%p cp.async.ca.shared.global [%r3+8], [%rd1+8], 4;
	@%p cp.async.ca.shared.global [%r3+12], [%rd1+12], 4, 0;
	cp.async.wait_all;
	ld.shared.v4.b32 {%r4, %r5, %r6, %r7}, [%r3];
	st.global.v4.b32 [%rd2], {%r4, %r5, %r6, %r7};
	ret;
}
`)
	x := make([]byte, 512)
	for i := range x {
		x[i] = byte(i*7 + 1)
	}
	for _, n := range []uint32{0, 3, 16} {
		y := alloc(b, make([]byte, 512))
		b.run("k", Config{Block: Dim3{X: 32}}, alloc(b, x), y, n)
		for i, got := range read[byte](b, y, 512) {
			want := x[i]
			if i < 256 && i%16 >= int(n) || i >= 256 && i%16 >= 12 {
				want = 0
			}
			if got != want {
				t.Fatalf("n=%d: byte %d is %d, not %d", n, i, got, want)
			}
		}
	}
	// A source that ends sooner is enough where less is read.
	short := alloc(b, make([]byte, 32*16-12))
	if err := b.launch("k", Config{Block: Dim3{X: 32}}, short, alloc(b, make([]byte, 512)), uint32(16)); err == nil {
		t.Error("read past the end of the source")
	}
}
