package dynload

import (
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"github.com/ebitengine/purego"
)

// libc returns the address of a function of the C library.
func libc(tb testing.TB, name string) uintptr {
	tb.Helper()
	address, err := purego.Dlsym(purego.RTLD_DEFAULT, name)
	if err != nil {
		tb.Fatal(err)
	}
	return address
}

func TestCall(t *testing.T) {
	c := NewCall()
	defer c.Free()
	if n := c.Do(libc(t, "strlen"), c.String("holdfast")); n != 8 {
		t.Errorf("strlen returned %d", n)
	}
	dst, src := make([]byte, 8), []byte("holdfast")
	if r := c.Do(libc(t, "memcpy"), c.Bytes(dst), c.Bytes(src), 8); r != uintptr(unsafe.Pointer(&dst[0])) || string(dst) != "holdfast" {
		t.Errorf("memcpy wrote %q", dst)
	}
	c.SetWord(3, 99)
	out := c.Out(3)
	if c.Word(3) != 0 {
		t.Error("Out leaves the word as it was")
	}
	c.Do(libc(t, "memset"), out+1, 0xff, 2)
	if c.Word(3) != 0xffff00 || c.At(3) != out || c.Int32(3) != 0xffff00 {
		t.Errorf("memset left %#x", c.Word(3))
	}
	if c.Bytes(nil) != 0 || c.Strings(nil) != 0 {
		t.Error("nothing has an address")
	}
}

var sixteen = NewCallback(func(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p uintptr) uintptr {
	sum := uintptr(0)
	for i, v := range []uintptr{a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p} {
		sum += uintptr(i+1) * v
	}
	return sum
})

// TestManyArguments: the longest function in use has 16, most of them on C's stack.
func TestManyArguments(t *testing.T) {
	c := NewCall()
	defer c.Free()
	args, want := make([]uintptr, 16), uintptr(0)
	for i := range args {
		args[i] = uintptr(1) << (3 * i)
		want += uintptr(i+1) * args[i]
	}
	if got := c.Do(sixteen, args...); got != want {
		t.Errorf("%#x, not %#x", got, want)
	}
	defer func() {
		if r, ok := recover().(string); !ok || !strings.Contains(r, "MaxArgs") {
			t.Errorf("too many arguments: %v", r)
		}
	}()
	c.Do(sixteen, make([]uintptr, MaxArgs+1)...)
}

var second = NewCallback(func(array uintptr) uintptr {
	texts := (*[2]uintptr)(pointer(array))
	c := NewCall() // a call inside a call
	defer c.Free()
	return uintptr(strings.Compare(GoString(texts[1], 100), "second")) + uintptr(len(GoString(texts[0], 100)))
})

func TestStrings(t *testing.T) {
	c := NewCall()
	defer c.Free()
	if r := c.Do(second, c.Strings([]string{"first", "second"})); r != 5 {
		t.Errorf("%d", r)
	}
	if s := GoString(c.String("holdfast"), 4); s != "hold" {
		t.Errorf("limited to %q", s)
	}
	if s := GoString(0, 4); s != "" {
		t.Errorf("null is %q", s)
	}
}

// TestStringsEnd: a string's copy ends with its own zero byte, not one that
// happens to follow. 16 bytes fill a slot of the allocator.
func TestStringsEnd(t *testing.T) {
	const text = "sixteen bytes..."
	calls, copies := make([]*Call, 64), make([]uintptr, 64)
	for i := range calls {
		calls[i] = NewCall()
		copies[i] = calls[i].String(text)
	}
	for i, c := range calls {
		if n := c.Do(libc(t, "strlen"), copies[i]); n != uintptr(len(text)) {
			t.Fatalf("copy %d has %d bytes", i, n)
		}
		c.Free()
	}
}

// TestLentMemoryLives: what Pointer was given is not collected before Free.
func TestLentMemoryLives(t *testing.T) {
	c := NewCall()
	freed := make(chan bool, 1)
	func() {
		p := new([1 << 16]byte)
		runtime.AddCleanup(p, func(int) { freed <- true }, 0)
		c.Pointer(unsafe.Pointer(p))
	}()
	for range 3 {
		runtime.GC()
	}
	select {
	case <-freed:
		t.Fatal("collected while lent")
	default:
	}
	c.Free()
	runtime.GC() // cleanups run after the collection, on their own goroutine
	<-freed
}

func TestView(t *testing.T) {
	c := NewCall()
	defer c.Free()
	type pair struct {
		A uint32
		B uint64
	}
	c.SetWord(4, 7)
	c.SetWord(5, 7)
	v := View[pair](c, 4)
	if *v != (pair{}) {
		t.Errorf("not zero: %+v", *v)
	}
	v.A, v.B = 1, 2
	if c.Word(4) != 1 || c.Word(5) != 2 {
		t.Errorf("words %d, %d", c.Word(4), c.Word(5))
	}
	View[pair](c, Words-2)
	defer func() {
		if recover() == nil {
			t.Error("a view beyond the words")
		}
	}()
	View[pair](c, Words-1)
}
