package cuda

import (
	"fmt"
	"reflect"
	"strings"
	"unicode"
)

// structs are the types that Go and CUDA share.
var structs = []any{
	Draw{}, Change{}, Penalty{}, EmbedParams{}, NormParams{}, GateParams{}, SoftCapParams{}, RoPEParams{}, CopyParams{}, LinearParams{}, GEMMParams{}, UnpackParams{},
	AttendParams{}, DecodeParams{}, MergeParams{}, AdjustParams{}, SampleParams{},
}

// Header returns src/params.cuh: the structs in C, each with its size asserted, and
// the limits that kernels have of Go.
func Header() string {
	var b strings.Builder
	b.WriteString("// Made by kernels/cuda/build from the Go structs of params*.go. DO NOT EDIT.\n#pragma once\n")
	fmt.Fprintf(&b, "\nconstexpr u32 maxNormedHeads = %d;\n", MaxNormedHeads)
	for _, s := range structs {
		t := reflect.TypeOf(s)
		fmt.Fprintf(&b, "\nstruct %s {\n", t.Name())
		declare(&b, t, new(int))
		fmt.Fprintf(&b, "};\nstatic_assert(sizeof(%s) == %d, \"%[1]s\");\n", t.Name(), t.Size())
	}
	return b.String()
}

// declare writes the fields of t, those of embedded structs in their place.
// Blank fields pad: every byte of a struct is declared, so that Go and C agree.
func declare(b *strings.Builder, t reflect.Type, pads *int) {
	for i := range t.NumField() {
		f := t.Field(i)
		switch {
		case f.Anonymous:
			declare(b, f.Type, pads)
		case f.Name == "_":
			fmt.Fprintf(b, "    u32 pad%d;\n", *pads)
			*pads++
		default:
			fmt.Fprintf(b, "    %s %s;\n", f.Tag.Get("c"), lowerFirst(f.Name))
		}
	}
}

// lowerFirst turns a Go field's name into its C name: its leading capitals, but
// for one that begins another word, become small (QKV is qkv, KVHeads kvHeads).
func lowerFirst(name string) string {
	r := []rune(name)
	for i := range r {
		if i > 0 && (!unicode.IsUpper(r[i]) || i+1 < len(r) && unicode.IsLower(r[i+1])) {
			break
		}
		r[i] = unicode.ToLower(r[i])
	}
	return string(r)
}
