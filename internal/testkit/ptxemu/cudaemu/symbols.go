package cudaemu

import (
	"reflect"
	"sync"
	"unsafe"

	"github.com/holdfast-run/holdfast/bindings/cuda"
	"github.com/holdfast-run/holdfast/bindings/dynload"
)

// What a function needs before it can be called.
const (
	needsNothing = iota
	needsInit
	needsContext
)

// handler does a function of the driver. Its arguments are as wide as the
// binding's table says, sign-extended if they are signed.
type handler struct {
	needs int
	waits bool // for work: it reports a fault that it met itself, others the next call does
	do    func(e *Emulator, a []uintptr) cuda.Code
}

// handlers holds every function, by symbol; init fills it.
var handlers map[string]*handler

// callbacks are the driver's functions. Each goes to the emulator that is active
// when it is called.
var callbacks = sync.OnceValue(func() dynload.Symbols {
	return bind(cuda.Functions(), func(symbol string) func(args []uintptr) uintptr {
		h := handlers[symbol]
		if h == nil {
			panic("cudaemu: BUG: no emulation of " + symbol)
		}
		return func(args []uintptr) uintptr {
			if e := active.Load(); e != nil {
				return uintptr(uint32(e.call(symbol, h, args)))
			}
			return uintptr(cuda.NotInitialized)
		}
	})
})

// bind makes C functions: once a process, because they live for ever.
func bind(funcs []dynload.Func, answer func(symbol string) func(args []uintptr) uintptr) dynload.Symbols {
	symbols := dynload.Symbols{}
	word := reflect.TypeFor[uintptr]()
	for _, f := range funcs {
		do := answer(f.Symbol)
		in := make([]reflect.Type, len(f.Args))
		for i := range in {
			in[i] = word
		}
		fn := reflect.MakeFunc(reflect.FuncOf(in, []reflect.Type{word}, false), func(values []reflect.Value) []reflect.Value {
			args := make([]uintptr, len(values))
			for i, v := range values {
				args[i] = widen(uintptr(v.Uint()), f.Args[i])
			}
			return []reflect.Value{reflect.ValueOf(do(args))}
		})
		symbols[f.Symbol] = dynload.NewCallback(fn.Interface())
	}
	return symbols
}

// widen gives an argument its value: a C caller leaves the upper half of a
// narrow one undefined.
func widen(v uintptr, letter byte) uintptr {
	switch letter {
	case 'i':
		return uintptr(int32(v))
	case 'u':
		return uintptr(uint32(v))
	}
	return v
}

// pointer turns an address of the caller's memory into a pointer.
//
//go:noinline
func pointer(address uintptr) unsafe.Pointer {
	return *(*unsafe.Pointer)(unsafe.Pointer(&address))
}

// put writes a result; a null pointer means that the caller does not want it.
func put[T any](address uintptr, v T) {
	if address != 0 {
		*(*T)(pointer(address)) = v
	}
}

// get reads a value of the caller.
func get[T any](address uintptr) T { return *(*T)(pointer(address)) }

// memory is n bytes of the caller.
func memory(address uintptr, n int) []byte { return unsafe.Slice((*byte)(pointer(address)), n) }

// putText writes a string and a zero into a buffer of n bytes.
func putText(address uintptr, n int, text string) {
	if n > 0 {
		b := memory(address, n)
		b[copy(b[:n-1], text)] = 0
	}
}
