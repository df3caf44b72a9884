package cuda

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var (
	entry    = regexp.MustCompile(`(?s)\.entry (\w+)\(\s*\.param \.align (\d+) \.b8 \w+\[(\d+)\]\s*\)\s*\.maxntid (\d+)`)
	constant = regexp.MustCompile(`\.const \.align 4 \.u32 (\w+)_shared = (\d+);`)
)

// TestTable compares the table of kernels with what the images say: the same
// kernels, parameters of the same size, blocks, shared memory.
func TestTable(t *testing.T) {
	for _, arch := range Archs {
		seen := map[string]bool{}
		for _, module := range Modules {
			ptx, err := PTX(module, arch)
			if err != nil {
				t.Fatal(err)
			}
			shared := map[string]string{}
			for _, m := range constant.FindAllStringSubmatch(string(ptx), -1) {
				shared[m[1]] = m[2]
			}
			for _, m := range entry.FindAllStringSubmatch(string(ptx), -1) {
				k, ok := Lookup(m[1])
				if !ok || k.Module != module {
					t.Errorf("%s %s: kernel %s is not in the table", module, arch, m[1])
					continue
				}
				seen[k.Name] = true
				p := reflect.TypeOf(k.Params).Elem()
				wantInt(t, k.Name+": alignment of parameters", m[2], p.Align())
				wantInt(t, k.Name+": bytes of parameters", m[3], k.ParamBytes())
				wantInt(t, k.Name+": threads", m[4], int(k.Threads))
				if s, ok := shared[k.Name]; ok {
					wantInt(t, k.Name+": shared memory", s, int(k.Shared))
				} else if k.Shared != 0 {
					t.Errorf("%s: %d bytes of shared memory, the image wants none", k.Name, k.Shared)
				}
			}
		}
		for _, k := range Kernels {
			if !seen[k.Name] {
				t.Errorf("%s: no image has kernel %s", arch, k.Name)
			}
		}
	}
}

func wantInt(t *testing.T, what, image string, table int) {
	t.Helper()
	if n, err := strconv.Atoi(image); err != nil || n != table {
		t.Errorf("%s: %s in the image, %d in the table", what, image, table)
	}
}

// TestCubins looks into the machine code: an ELF file for the architecture that
// has every kernel of its module.
func TestCubins(t *testing.T) {
	for _, arch := range Archs {
		for _, module := range Modules {
			f := cubin(t, module, arch)
			const cuda = 190 // EM_CUDA
			if f.Machine != cuda {
				t.Errorf("%s %s: ELF machine %d, want %d", module, arch, f.Machine, cuda)
			}
			for _, k := range Kernels {
				if k.Module != module {
					continue
				}
				if f.Section(".text."+k.Name) == nil {
					t.Errorf("%s %s: no code of %s", module, arch, k.Name)
				}
				if n := resource(t, f, k.Name, registerCount); n > k.Registers || n < 8 {
					t.Errorf("%s: %s uses %d registers, its budget is %d", arch, k.Name, n, k.Registers)
				}
				if n := resource(t, f, k.Name, frameSize); n != 0 {
					t.Errorf("%s: %s has a stack of %d bytes: it spills", arch, k.Name, n)
				}
			}
		}
	}
}

func cubin(t *testing.T, module, arch string) *elf.File {
	t.Helper()
	image, err := Cubin(module, arch)
	if err != nil {
		t.Fatal(err)
	}
	f, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// Attributes of a kernel in a cubin's section .nv.info, as cuobjdump -elf names them.
const (
	frameSize     = 0x11 // EIATTR_FRAME_SIZE
	registerCount = 0x2f // EIATTR_REGCOUNT
)

// resource returns an attribute of a kernel. The section is a list of: format,
// attribute, and for format 4 a size, then the index of the kernel's symbol and the value.
func resource(t *testing.T, f *elf.File, kernel string, attribute byte) int {
	t.Helper()
	info, err := f.Section(".nv.info").Data()
	if err != nil {
		t.Fatal(err)
	}
	symbols, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	for len(info) >= 4 {
		size := 0
		if info[0] == 4 {
			size = int(le.Uint16(info[2:]))
		}
		if value := info[4:]; info[0] == 4 && info[1] == attribute && symbols[le.Uint32(value)-1].Name == kernel {
			return int(le.Uint32(value[4:]))
		}
		info = info[4+size:]
	}
	t.Fatalf("no attribute %#x of %s", attribute, kernel)
	return 0
}

// TestBytesInFlight counts what the kernels that stream memory keep under way on an
// SM of an H100: the rings of all blocks that fit one, 128 KiB at least. (64 KiB must
// be in flight, and a ring has a stage or a half that is being worked on.)
func TestBytesInFlight(t *testing.T) {
	const registers, threads, memory, reserved = 64 << 10, 2048, 228 << 10, 1 << 10
	for _, k := range Kernels {
		if !strings.HasSuffix(k.Name, "_8") && k.Module != "decode" || k.Shared == 0 {
			continue
		}
		f := cubin(t, k.Module, "sm_90a")
		each := (resource(t, f, k.Name, registerCount) + 7) &^ 7
		n := min(registers/(each*int(k.Threads)), threads/int(k.Threads), memory/(int(k.Shared)+reserved))
		t.Logf("%s: %d registers, %d blocks, %d KiB", k.Name, each, n, n*int(k.Shared)>>10)
		if n*int(k.Shared) < 128<<10 {
			t.Errorf("%s: the rings of %d blocks on an SM hold %d KiB, want 128", k.Name, n, n*int(k.Shared)>>10)
		}
	}
}

func TestHeader(t *testing.T) {
	have, err := os.ReadFile(filepath.Join("src", HeaderFile))
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != Header() {
		t.Errorf("src/%s is not what the structs give: run make generate-cuda", HeaderFile)
	}
}

// TestStructs shows that Go and C lay the structs out alike: every field stands at
// a multiple of its own size, and no byte is left undeclared.
func TestStructs(t *testing.T) {
	for _, s := range structs {
		typ := reflect.TypeOf(s)
		if end := layout(t, typ, 0); end != typ.Size() {
			t.Errorf("%v has %d bytes, its fields %d", typ, typ.Size(), end)
		}
	}
}

// layout checks the fields of a struct that begins at from, and returns its end.
func layout(t *testing.T, typ reflect.Type, from uintptr) uintptr {
	next := from
	for i := range typ.NumField() {
		f := typ.Field(i)
		at := from + f.Offset
		if f.Type.Kind() == reflect.Struct {
			if end := layout(t, f.Type, at); end != at+f.Type.Size() {
				t.Errorf("%v.%s has %d bytes, its fields %d", typ, f.Name, f.Type.Size(), end-at)
			}
		} else if at%f.Type.Size() != 0 {
			t.Errorf("%v.%s stands at %d", typ, f.Name, at)
		}
		if at != next {
			t.Errorf("%v.%s stands at %d, the field before ends at %d", typ, f.Name, at, next)
		}
		next = at + f.Type.Size()
	}
	return next
}

func TestLoadRefuses(t *testing.T) {
	if _, err := Cubin("elementwise", "sm_70"); err == nil {
		t.Error("an architecture without images: no error")
	}
	if _, err := PTX("nothing", "sm_80"); err == nil {
		t.Error("a module that is none: no error")
	}
}

// TestImagesAreOfTheSource shows that nobody changed the source and forgot the
// images. That they are the same to the byte is shown by make test-long.
func TestImagesAreOfTheSource(t *testing.T) {
	files, err := os.ReadDir("src")
	if err != nil {
		t.Fatal(err)
	}
	src := map[string][]byte{}
	for _, f := range files {
		if src[f.Name()], err = os.ReadFile(filepath.Join("src", f.Name())); err != nil {
			t.Fatal(err)
		}
	}
	digest, err := os.ReadFile(DigestFile)
	if err != nil {
		t.Fatal(err)
	}
	if Digest(src)+"\n" != string(digest) {
		t.Error("the images are not of this source: run make generate-cuda")
	}
}

// TestImagesAreSmall holds the images to their share of the binary.
func TestImagesAreSmall(t *testing.T) {
	const limit = 3 << 20
	total := 0
	files, err := os.ReadDir("images")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		info, err := f.Info()
		if err != nil {
			t.Fatal(err)
		}
		total += int(info.Size())
	}
	if want := len(Modules)*len(Archs)*2 + 1; len(files) != want {
		t.Errorf("%d files of images, want %d", len(files), want)
	}
	if total > limit {
		t.Errorf("images take %d bytes, at most %d", total, limit)
	}
}
