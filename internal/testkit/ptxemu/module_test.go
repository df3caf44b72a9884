package ptxemu

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
)

func TestLoadErrors(t *testing.T) {
	entry := func(body string) string {
		return ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 p)\n{\n.reg .b32 %r<4>;\n.reg .b64 %rd<4>;\n.reg .pred %p;\n" + body + "\nret;\n}\n"
	}
	for text, want := range map[string]string{
		entry("frobnicate.b32 %r1, %r2;"):                        "line 9: frobnicate.b32: unknown opcode",
		entry("add.wobbly.s32 %r1, %r2, %r3;"):                   "unknown modifier .wobbly",
		entry("add.s32 %r1, %r2;"):                               "2 operands; it has 3",
		entry("add.s32 %rd1, %r2, %r3;"):                         "no register of 32 bits",
		entry("add.s32 %r1, %r2, %rd3;"):                         "has not 32 bits",
		entry("mov.u32 %r1, %nosuch;"):                           "unknown special register %nosuch",
		entry("bra NOWHERE;"):                                    "no label NOWHERE",
		entry("T: .branchtargets A; A: bra T;"):                  "target is no place",
		entry("T: .branchtargets T; brx.idx %r1, T;"):            "no label T",
		entry("mov.u32 %r9, 1;"):                                 "no register",
		entry("cvt.f32.s32 %r1, %r2;"):                           "rounding mode",
		entry("shfl.bfly.b32 %r1, %r2, 1, 31;"):                  "only .sync",
		entry("cp.async.bulk.shared.global [%r1], [%rd1], 16;"):  "unknown form",
		entry("wgmma.fence.sync.aligned;"):                       "unknown opcode",
		entry("mma.sync.aligned.m8n8k4.row.col.f32.f16.f16.f32"): "",
		entry("call.uni (r), vprintf, (a);"):                     "no label vprintf",
		".version 8.0\n.entry k()\n{\n.reg .b33 %r;\n}\n":        "register of type",
		".version 8.0\n/* never closed":                          "comment without end",
		".version 8.0\n.global .b8 x[4] = {1,2,3,4,5};\n":        "too many initial values",
		".version 8.0\n.global .b8 x[99999999999999];\n":         "size out of range",
		".version 8.0\n.global .b64 x[9000000];\n":               "larger than",
		".version 8.0\n.entry k()\n{\n@":                         "unexpected end",
		entry("mov.b32 %r1, " + strings.Repeat("[", 1000)):       "nested deeper than 64",
		entry(strings.Repeat("{", 1000)):                         "nested deeper than 64",
		".global .b8 x[4] = " + strings.Repeat("{", 1000):        "nested deeper than 64",
		".wrong\n":                       "unknown directive",
		".version 8.0\n.entry k()\n{\n":  "unexpected end",
		entry(".shared .b8 big[50000];"): "static shared memory",
		entry("ld.global.v4.b64 {%rd1, %rd2, %rd3, %rd0}, [%rd1];mma;"): "mma",
	} {
		_, err := Load(NewMemory(1<<20), text)
		var e *LoadError
		if !errors.As(err, &e) || !strings.Contains(e.Error(), want) {
			t.Errorf("Load of ...%q: %v, want %q", text[max(0, len(text)-60):], err, want)
		}
	}
}

// TestLoadCosts: what a text costs follows its length, not its numbers nor the ways
// through its calls.
func TestLoadCosts(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := Load(NewMemory(1<<20), ".global .b8 x[60000000] = {1};\n")
	runtime.ReadMemStats(&after)
	var full *MemoryError
	if made := after.TotalAlloc - before.TotalAlloc; !errors.As(err, &full) || made > 8<<20 {
		t.Errorf("%v, %d bytes", err, made)
	}
	text := ".func f0()\n{\nret;\n}\n"
	for i := range 60 { // 2^60 ways down
		text += fmt.Sprintf(".func f%d()\n{\ncall f%d, ();\ncall f%d, ();\nret;\n}\n", i+1, i, i)
	}
	if _, err := Load(NewMemory(1<<20), text+".entry k()\n{\ncall f60, ();\nret;\n}\n"); err != nil {
		t.Error(err)
	}
}

// TestInitialValues: a variable begins with the values that are given, and zeros.
func TestInitialValues(t *testing.T) {
	mem := NewMemory(1 << 20)
	m, err := Load(mem, ".global .b16 y[3] = {{1}, {2}};\n.global .b64 x[3] = {5, y+2};\n")
	if err != nil {
		t.Fatal(err)
	}
	y, size, _ := m.Global("y")
	got := make([]byte, 6)
	if err := mem.Read(y, got); err != nil || size != 6 || string(got) != "\x01\x00\x02\x00\x00\x00" {
		t.Error(err, size, got)
	}
	x, size, _ := m.Global("x")
	got = make([]byte, 24)
	want := binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64([]byte{5, 0, 0, 0, 0, 0, 0, 0}, y+2), 0)
	if err := mem.Read(x, got); err != nil || size != 24 || string(got) != string(want) {
		t.Error(err, size, got)
	}
}

func TestMemory(t *testing.T) {
	m := NewMemory(1000)
	a, err := m.Alloc(600)
	if err != nil || a%512 != 0 {
		t.Fatal(a, err)
	}
	var e *MemoryError
	if _, err := m.Alloc(401); !errors.As(err, &e) {
		t.Error("allocated more than the limit")
	}
	b := make([]byte, 8)
	if err := m.Read(a+592, b); err != nil || binary.LittleEndian.Uint64(b) != 0xcdcdcdcdcdcdcdcd {
		t.Error(err, b)
	}
	if err := m.Read(a+593, b); !errors.As(err, &e) {
		t.Error("read past the end")
	}
	if err := m.Write(a-1, b); !errors.As(err, &e) {
		t.Error("wrote before the start")
	}
	if err := m.Free(a + 512); !errors.As(err, &e) {
		t.Error("freed the middle")
	}
	if err := m.Fill(a, 600, []byte{1, 2}); err != nil {
		t.Error(err)
	}
	if err := m.Copy(a+1, a, 599); err != nil || m.Read(a, b) != nil || b[1] != 1 || b[2] != 2 {
		t.Error(err, b)
	}
	if base, size, ok := m.Range(a + 99); base != a || size != 600 || !ok {
		t.Error(base, size, ok)
	}
	if err := m.Free(a); err != nil || m.Used() != 0 || m.Live() != 0 {
		t.Error(err)
	}
	if err := m.Read(a, b); !errors.As(err, &e) || !strings.Contains(err.Error(), "freed") {
		t.Error(err)
	}
	if c, err := m.Alloc(1000); err != nil || c == a {
		t.Error("addresses came twice", err)
	}
}

// FuzzLoad: text of any kind is loaded or refused with a *LoadError or a
// *MemoryError.
func FuzzLoad(f *testing.F) {
	for _, name := range []string{"dependent", "timing"} {
		text, err := os.ReadFile("testdata/" + name + ".ptx")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Add(".version 8.0\n.global .align 8 .b64 t[2] = {generic(t)+8, 1};\n.func (.param .b32 r) g(.param .b32 a)\n{\n.reg .b32 %r<3>;\nld.param.u32 %r1, [a];\nst.param.b32 [r], %r1;\nret;\n}\n" +
		".entry k(.param .align 8 .b8 p[16])\n{\n.reg .b32 %r<9>;\n.reg .pred %p<3>;\n.param .b32 x;\n.param .b32 y;\nst.param.b32 [x], 5;\ncall.uni (y), g, (x);\nld.param.b32 %r1, [y];\n" +
		"ts: .branchtargets A, B;\nbrx.idx %r1, ts;\nA:\n@!%p1 bra B;\nshfl.sync.bfly.b32 %r2|%p2, %r1, 1, 31, -1;\nB:\nbar.red.popc.u32 %r3, 0, %p1;\n}\n")
	f.Fuzz(func(t *testing.T, text string) {
		_, err := Load(NewMemory(1<<20), text)
		var bad *LoadError
		var full *MemoryError
		if err != nil && !errors.As(err, &bad) && !errors.As(err, &full) {
			t.Error(err)
		}
	})
}

// TestLoadShuffled swaps, drops and repeats words of PTX that loads: most of it
// gets past the parser, and none past Load without a typed error.
func TestLoadShuffled(t *testing.T) {
	var texts [][]string
	split := regexp.MustCompile(`[\w.%$:]+|\n|\S`)
	for _, name := range []string{"dependent", "block", "faults"} {
		text, err := os.ReadFile("testdata/" + name + ".ptx")
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, split.FindAllString(string(text), -1))
	}
	rng := rand.New(rand.NewPCG(41, 42))
	refused := 0
	for range 200 {
		words := slices.Clone(texts[rng.IntN(len(texts))])
		for range 1 + rng.IntN(2) {
			switch i, j := rng.IntN(len(words)), rng.IntN(len(words)); rng.IntN(3) {
			case 0:
				words[i] = words[j]
			case 1:
				words[i] = ""
			case 2:
				words[i] += " " + words[j]
			}
		}
		_, err := Load(NewMemory(1<<20), strings.Join(words, " "))
		var bad *LoadError
		var full *MemoryError
		if err != nil && !errors.As(err, &bad) && !errors.As(err, &full) {
			t.Fatal(err)
		}
		if err != nil {
			refused++
		}
	}
	if refused < 70 {
		t.Errorf("only %d of 200 were refused", refused)
	}
}
