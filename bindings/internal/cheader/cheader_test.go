package cheader

import "testing"

const sample = `
/* a comment; with } and { */ /*/ int x; /*/
#ifdef __cplusplus
extern "C" {
#endif
#define LIMIT 0x10u  // a number
#define CALL(x) x
#if defined(_WIN64) || defined(__LP64__)
typedef unsigned long long ptr_t;
#else
typedef unsigned int ptr_t;
#endif
typedef struct thing_st *thing;
typedef enum color_enum { RED, GREEN = 1 << 4, BLUE, DARK = GREEN | 1, } color;
typedef struct inner_st { char a; int b; } inner;
typedef struct outer_st {
	color c;
	char pad[8 - sizeof(color)];
	union { char bytes[64]; ptr_t p; struct { int x; int y; } xy; } value;
	inner in[2];
	const void *last; char tail;
} outer;
typedef int (*callback)(int, void *);
int LIBAPI use(thing t, color c, const outer *o, size_t n, unsigned char b, float f, callback cb, ptr_t p, unsigned int u);
void none(void);
typedef int (LIBAPI *PFN_use)(int a, ptr_t b);
#ifdef __cplusplus
}
#endif
`

func TestParse(t *testing.T) {
	h := Parse(sample)
	for name, want := range map[string]int64{"LIMIT": 16, "RED": 0, "GREEN": 16, "BLUE": 17, "DARK": 17} {
		if v, ok := h.Const(name); !ok || v != want {
			t.Errorf("%s is %d, %v", name, v, ok)
		}
	}
	size, fields, ok := h.Struct("outer")
	if !ok || size != 104 {
		t.Fatalf("size %d, %v", size, ok)
	}
	for name, want := range map[string]Field{"c": {0, 4}, "pad": {4, 4}, "value": {8, 64}, "in": {72, 16}, "last": {88, 8}, "tail": {96, 1}} {
		if fields[name] != want {
			t.Errorf("%s lies at %+v, not %+v", name, fields[name], want)
		}
	}
	if _, fields, _ := h.Struct("inner"); fields["b"] != (Field{4, 4}) {
		t.Errorf("inner.b lies at %+v", fields["b"])
	}
	if s, err := h.Func("use"); s != "pipqufpqu" {
		t.Errorf("use: %q, %v", s, err)
	}
	if s, err := h.Func("none"); s != "" || err != nil {
		t.Errorf("none: %q, %v", s, err)
	}
	if s, err := h.FuncType("PFN_use"); s != "iq" {
		t.Errorf("PFN_use: %q, %v", s, err)
	}
	if _, err := h.Func("absent"); err == nil {
		t.Error("a function that is not there was found")
	}
	if _, _, ok := h.Struct("color"); ok {
		t.Error("an enum is a struct")
	}
}
