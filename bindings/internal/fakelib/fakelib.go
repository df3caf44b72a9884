// Package fakelib is a library of C functions that tests put where a vendor's
// would be. It remembers the arguments of each call, holds them against what
// the test expects, and answers what the test says. Each function has as many
// parameters as the binding's table gives it.
package fakelib

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"unsafe"

	"github.com/holdfast-run/holdfast/bindings/dynload"
)

// Library is the fake. It is made once per test binary, since its functions
// live for ever; Reset gives each test a fresh start. Its fields may be set at
// any time between calls.
type Library struct {
	Symbols dynload.Symbols
	Calls   []Call
	// Result is what functions return, Results that of some, by symbol.
	Result  int32
	Results map[string]uintptr
	// Respond may look at arguments and write results, by symbol.
	Respond map[string]func(args []uintptr)

	args map[string]string // of the table
}

// Call is one call that was made.
type Call struct {
	Symbol string
	Args   []uintptr
}

// New makes a library of functions.
func New(funcs []dynload.Func) *Library {
	l := &Library{Symbols: dynload.Symbols{}, args: map[string]string{}}
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
			return []reflect.Value{reflect.ValueOf(l.called(f.Symbol, args))}
		})
		l.Symbols[f.Symbol] = dynload.NewCallback(fn.Interface())
		l.args[f.Symbol] = f.Args
	}
	l.Reset()
	return l
}

// Reset forgets calls and answers.
func (l *Library) Reset() {
	l.Calls, l.Result = nil, 0
	l.Results, l.Respond = map[string]uintptr{}, map[string]func([]uintptr){}
}

func (l *Library) called(symbol string, args []uintptr) uintptr {
	l.Calls = append(l.Calls, Call{symbol, args})
	if f := l.Respond[symbol]; f != nil {
		f(args)
	}
	if r, ok := l.Results[symbol]; ok {
		return r
	}
	return uintptr(uint32(l.Result)) // the upper half is nothing, as in C
}

// What an argument must be, where it is no plain number.
type (
	Out4  uint32   // a pointer to 4 bytes, which get this value
	Out8  uint64   // a pointer to 8 bytes, which get this value
	Fill  string   // a pointer to a buffer, which gets these bytes and a zero
	Text  string   // a pointer to these bytes and a zero
	Bytes []byte   // the address of this memory
	Given struct{} // a pointer that is not null
)

// Expect makes a call and holds the one function that it must call, with its
// arguments, and what the call says it returned, against what is wanted.
func (l *Library) Expect(t *testing.T, symbol string, args []any, call func() string, want string) {
	t.Helper()
	l.Calls = nil
	l.Respond[symbol] = func(got []uintptr) { l.compare(t, symbol, got, args) }
	if got := call(); got != want {
		t.Errorf("%s: the call returned %q, not %q", symbol, got, want)
	}
	if len(l.Calls) != 1 || l.Calls[0].Symbol != symbol {
		t.Errorf("%s: called were %v", symbol, l.Calls)
	}
}

func (l *Library) compare(t *testing.T, symbol string, got []uintptr, want []any) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s has %d arguments, the test has %d", symbol, len(got), len(want))
		return
	}
	for i, w := range want {
		if err := argument(got[i], w, l.args[symbol][i]); err != nil {
			t.Errorf("%s: argument %d: %v", symbol, i, err)
		}
	}
}

func argument(got uintptr, want any, letter byte) error {
	number := uint64(0)
	switch w := want.(type) {
	case Out4:
		dynload.Poke(got, uint32(w))
		return nil
	case Out8:
		dynload.Poke(got, uint64(w))
		return nil
	case Fill:
		copy(dynload.Memory(got, len(w)+1), string(w)+"\x00")
		return nil
	case Text:
		if s := string(dynload.Memory(got, len(w)+1)); s != string(w)+"\x00" {
			return fmt.Errorf("points to %q", s)
		}
		return nil
	case Given:
		if got == 0 {
			return fmt.Errorf("is a null pointer")
		}
		return nil
	case Bytes:
		number = uint64(uintptr(unsafe.Pointer(&w[0])))
	default:
		v := reflect.ValueOf(want)
		if v.CanInt() {
			number = uint64(v.Int())
		} else {
			number = v.Uint()
		}
	}
	g := uint64(got)
	if strings.IndexByte("iu", letter) >= 0 {
		g, number = uint64(uint32(g)), uint64(uint32(number))
	}
	if g != number {
		return fmt.Errorf("is %#x, not %#x", g, number)
	}
	return nil
}

// texts keeps what CString made.
var texts [][]byte

// CString returns the address of a C string that lives for ever.
func CString(s string) uintptr {
	b := append([]byte(s), 0)
	texts = append(texts, b)
	return uintptr(unsafe.Pointer(&b[0]))
}
