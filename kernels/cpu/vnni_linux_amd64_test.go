//go:build !noasm

package cpu

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"
)

// A CPU with AVX-512 VNNI but not AVX-VNNI can run the kernels of AVX2VNNI all
// the same: their one unknown instruction, VPDPBUSD in the VEX form, has 5 bytes,
// as a call has. Each is replaced in this process by a call of the same
// instruction in the EVEX form, which such a CPU knows. Registers, operands and
// all other bytes are the kernel's own.

// emulated is the tiers that this process can run by translation.
var emulated []Tier

func TestMain(m *testing.M) {
	if available(AVX512) && !available(AVX2VNNI) {
		if err := translateVNNI(); err != nil {
			fmt.Fprintln(os.Stderr, "AVX2VNNI is not tested:", err)
		} else {
			emulated = []Tier{AVX2VNNI}
		}
	}
	os.Exit(m.Run())
}

// vexDot decodes VEX.256.66.0F38.W0 50 /r between registers.
func vexDot(b []byte) (dst, unsigned, signed byte, ok bool) {
	if len(b) < 5 || b[0] != 0xc4 || b[1]&0x1f != 2 || b[2]&0x87 != 5 || b[3] != 0x50 || b[4] < 0xc0 {
		return 0, 0, 0, false
	}
	return ^b[1]>>7&1<<3 | b[4]>>3&7, ^b[2] >> 3 & 15, ^b[1]>>5&1<<3 | b[4]&7, true
}

// evexDot is the same instruction as EVEX.256.66.0F38.W0 50 /r, and a return.
func evexDot(dst, unsigned, signed byte) []byte {
	return []byte{0x62, ^(dst>>3)&1<<7 | 1<<6 | ^(signed>>3)&1<<5 | 1<<4 | 2,
		^unsigned&15<<3 | 1<<2 | 1, 1<<5 | 1<<3, 0x50, 0xc0 | dst&7<<3 | signed&7, 0xc3}
}

func translateVNNI() error {
	// The calls' targets lie within 2 GB of the code: where heaps are not.
	const near, size, slot = 0x2000_0000, 16 * 16 * 16 * 8, 8
	at, _, errno := syscall.Syscall6(syscall.SYS_MMAP, near, size, syscall.PROT_READ|syscall.PROT_WRITE|syscall.PROT_EXEC,
		syscall.MAP_ANON|syscall.MAP_PRIVATE|0x100000 /* MAP_FIXED_NOREPLACE */, ^uintptr(0), 0)
	if errno != 0 || at != near {
		return fmt.Errorf("mmap: %v", errno)
	}
	targets := unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(nil), near)), size)
	found := 0
	for _, f := range functions("AVX2VNNI") {
		code := unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(nil), f[0])), f[1]-f[0])
		page := uintptr(os.Getpagesize())
		from := f[0] &^ (page - 1)
		pages := unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(nil), from)), (f[1]-from+page-1)&^(page-1))
		if err := syscall.Mprotect(pages, syscall.PROT_READ|syscall.PROT_WRITE|syscall.PROT_EXEC); err != nil {
			return fmt.Errorf("mprotect: %w", err)
		}
		for i := range code {
			dst, unsigned, signed, ok := vexDot(code[i:])
			if !ok {
				continue
			}
			n := (int(dst)<<8 | int(unsigned)<<4 | int(signed)) * slot
			copy(targets[n:], evexDot(dst, unsigned, signed))
			offset := uint32(near + n - (int(f[0]) + i + 5))
			copy(code[i:], []byte{0xe8, byte(offset), byte(offset >> 8), byte(offset >> 16), byte(offset >> 24)})
			found++
		}
		if err := syscall.Mprotect(pages, syscall.PROT_READ|syscall.PROT_EXEC); err != nil {
			return fmt.Errorf("mprotect: %w", err)
		}
	}
	if found < 100 {
		return fmt.Errorf("%d instructions found", found)
	}
	return nil
}

// functions returns the addresses of this process's functions with such a name:
// the beginning of each, and of the next one.
func functions(suffix string) (list [][2]uintptr) {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return nil
	}
	for line := range bytes.Lines(maps) {
		var from, to uintptr
		var mode string
		if fmt.Sscanf(string(line), "%x-%x %s", &from, &to, &mode); mode != "r-xp" || !strings.Contains(string(line), ".test") {
			continue
		}
		inside := false
		for pc := from; pc < to; pc += 16 {
			f := runtime.FuncForPC(pc)
			if f == nil || f.Entry() != pc {
				continue
			}
			if inside {
				list[len(list)-1][1], inside = pc, false
			}
			// The wrappers that Go calls have the name too, and none of the bytes.
			if strings.HasSuffix(f.Name(), suffix) {
				list, inside = append(list, [2]uintptr{pc, to}), true
			}
		}
	}
	return list
}

// TestVexDot: the decoder takes what the manual's example of the encoding is.
func TestVexDot(t *testing.T) {
	// From GNU as 2.40: {vex} vpdpbusd %ymm9, %ymm8, %ymm4.
	if d, u, s, ok := vexDot([]byte{0xc4, 0xc2, 0x3d, 0x50, 0xe1}); !ok || d != 4 || u != 8 || s != 9 {
		t.Errorf("decoded as %d %d %d %v", d, u, s, ok)
	}
	// From the same: vpdpbusd %ymm9, %ymm8, %ymm4 of AVX-512.
	if got, want := evexDot(4, 8, 9), []byte{0x62, 0xd2, 0x3d, 0x28, 0x50, 0xe1, 0xc3}; !bytes.Equal(got, want) {
		t.Errorf("encoded as %x, want %x", got, want)
	}
}
