package cuda

import (
	"reflect"
	"sync"
	"testing"
	"unsafe"

	"github.com/holdfast-run/holdfast/bindings/dynload"
)

// recorder stands where the driver is: it remembers each call's arguments and
// answers what the test says. Its C functions have as many parameters as the
// table gives them.
type recorder struct {
	calls   []recorded
	code    Code                            // what calls return
	respond map[string]func(args []uintptr) // writes results, by symbol
	codes   map[string]Code                 // instead of code, by symbol
	names   map[Code]string                 // for cuGetErrorName
}

type recorded struct {
	symbol string
	args   []uintptr
}

// current is the recorder that the callbacks, which live for ever, speak to.
var current *recorder

// symbols are the recorder's functions: a callback each, made once.
var symbols = sync.OnceValue(func() dynload.Symbols {
	s := dynload.Symbols{}
	word := reflect.TypeFor[uintptr]()
	for _, f := range funcs {
		in := make([]reflect.Type, len(f.Args))
		for i := range in {
			in[i] = word
		}
		fn := reflect.MakeFunc(reflect.FuncOf(in, []reflect.Type{word}, false), func(values []reflect.Value) []reflect.Value {
			args := make([]uintptr, len(values))
			for i, v := range values {
				args[i] = uintptr(v.Uint())
			}
			return []reflect.Value{reflect.ValueOf(uintptr(uint32(current.called(f.Symbol, args))))}
		})
		s[f.Symbol] = dynload.NewCallback(fn.Interface())
	}
	return s
})

func record(t *testing.T) (*Driver, *recorder) {
	t.Helper()
	r := &recorder{respond: map[string]func([]uintptr){}, codes: map[string]Code{}}
	r.respond["cuDriverGetVersion"] = func(args []uintptr) { write(args[0], int32(13000)) }
	current = r
	d, err := New(symbols())
	if err != nil {
		t.Fatal(err)
	}
	r.calls = nil
	return d, r
}

func (r *recorder) called(symbol string, args []uintptr) Code {
	if symbol == "cuGetErrorName" {
		name := append([]byte(r.names[Code(args[0])]), 0)
		write(args[1], uintptr(unsafe.Pointer(&name[0])))
		keep = name
		return Success
	}
	r.calls = append(r.calls, recorded{symbol, args})
	if f := r.respond[symbol]; f != nil {
		f(args)
	}
	if code, ok := r.codes[symbol]; ok {
		return code
	}
	return r.code
}

// keep holds what C was last given.
var keep []byte

// write stores v where C was told to.
func write[T any](address uintptr, v T) { *(*T)(at(address)) = v }

// read returns what lies at an address.
func read[T any](address uintptr) T { return *(*T)(at(address)) }

//go:noinline
func at(address uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&address)) }
