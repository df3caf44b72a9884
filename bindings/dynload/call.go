package dynload

import (
	"sync"
	"unsafe"

	"github.com/ebitengine/purego"
)

const (
	// MaxArgs is how many arguments a C function may take.
	MaxArgs = 20
	// Words is how many 64-bit words a call has for results and small structs.
	Words = 64
	// maxPointers is how many Go pointers a call may hand over.
	maxPointers = 8
)

// Call is the memory of one C call: arguments, words that C may read and write,
// and the Go memory that is lent to it. It belongs to one goroutine from
// NewCall to Free. No C function keeps a pointer into it: what Out, Pointer and
// String return is valid until Free.
//
// The point of it: an address handed to C as a uintptr keeps nothing alive, and
// a variable whose address only becomes a uintptr may lie on a stack that
// moves. A Call is on the heap, and so is all that Pointer has seen.
type Call struct {
	args  [MaxArgs]uintptr
	words [Words]uint64
	lent  [maxPointers]unsafe.Pointer
	used  int // of lent
}

var calls = sync.Pool{New: func() any { return new(Call) }}

// NewCall returns a call; its words hold anything.
func NewCall() *Call { return calls.Get().(*Call) }

// Free gives the call back. It must not be used afterwards.
func (c *Call) Free() {
	clear(c.lent[:c.used])
	c.used = 0
	calls.Put(c)
}

// Do calls the C function at address fn, which must not be 0, and returns what
// came back in the integer result register: a function that returns a 32-bit
// int leaves the upper half undefined. The calling thread is the goroutine's;
// it blocks in C without holding up other goroutines.
func (c *Call) Do(fn uintptr, args ...uintptr) uintptr {
	n := copy(c.args[:], args)
	if n != len(args) {
		panic("dynload: BUG: more than MaxArgs arguments")
	}
	// A slice of memory that is on the heap anyway: SyscallN makes its
	// variadic slice escape, and a literal one would be allocated per call.
	r, _, _ := purego.SyscallN(fn, c.args[:n]...)
	return r
}

// Out returns the address of word i, set to zero, for C to write a result of
// at most 8 bytes to; Word and Int32 read it.
func (c *Call) Out(i int) uintptr {
	c.words[i] = 0
	return c.At(i)
}

// At returns the address of word i as it is.
func (c *Call) At(i int) uintptr { return uintptr(unsafe.Pointer(&c.words[i])) }

// Word returns word i.
func (c *Call) Word(i int) uint64 { return c.words[i] }

// Address returns word i as a pointer that C gave.
func (c *Call) Address(i int) unsafe.Pointer { return pointer(uintptr(c.words[i])) }

// Int32 returns the first four bytes of word i.
func (c *Call) Int32(i int) int32 { return *(*int32)(unsafe.Pointer(&c.words[i])) }

// SetWord sets word i.
func (c *Call) SetWord(i int, v uint64) { c.words[i] = v }

// View returns the words from i on as a T set to zero, for C structs; its
// address is c.At(i). T holds no pointers.
func View[T any](c *Call, i int) *T {
	var zero T
	if end := i*8 + int(unsafe.Sizeof(zero)); end > Words*8 {
		panic("dynload: BUG: a struct beyond the words of a call")
	}
	p := (*T)(unsafe.Pointer(&c.words[i]))
	*p = zero
	return p
}

// Pointer lends Go memory to C until Free and returns its address. p may be nil
// or point to memory that Go did not allocate.
func (c *Call) Pointer(p unsafe.Pointer) uintptr {
	if p == nil {
		return 0
	}
	c.lent[c.used] = p // also what moves p's memory to the heap
	c.used++
	return uintptr(p)
}

// Bytes lends the memory of b; the address of no bytes is 0.
func (c *Call) Bytes(b []byte) uintptr { return c.Pointer(unsafe.Pointer(unsafe.SliceData(b))) }

// String lends a copy of s with a zero byte at its end. It allocates.
func (c *Call) String(s string) uintptr { return c.Bytes(append([]byte(s), 0)) }

// Strings lends an array of copies of list with zero bytes at their ends: a
// char**, 0 for an empty list. It allocates.
func (c *Call) Strings(list []string) uintptr {
	if len(list) == 0 {
		return 0
	}
	// The array holds Go pointers, so that the copies live as long as it does.
	array := make([]*byte, len(list))
	for i, s := range list {
		array[i] = unsafe.SliceData(append([]byte(s), 0))
	}
	return c.Pointer(unsafe.Pointer(&array[0]))
}

// GoString copies a C string, at most limit bytes of it; address 0 is "".
func GoString(address uintptr, limit int) string {
	if address == 0 {
		return ""
	}
	var b []byte
	for len(b) < limit {
		c := *(*byte)(pointer(address + uintptr(len(b))))
		if c == 0 {
			break
		}
		b = append(b, c)
	}
	return string(b)
}

// pointer turns an address that C gave us into a pointer. The collector never
// sees it as one of its own: C memory is outside the Go heap. Inlined, it makes Go
// 1.26's compiler fail on some callers ("disjointTypes: not a pointer").
//
//go:noinline
func pointer(address uintptr) unsafe.Pointer {
	return *(*unsafe.Pointer)(unsafe.Pointer(&address))
}
