package kvcache

import (
	"reflect"
	"testing"
)

func sample() Identity {
	id := Identity{
		Adapter: "ad", KV: "F16", RoPE: [][]float64{{1, 0.5}, {0.25}}, BlockTokens: 32,
		Rank: 1, Ranks: 2, Class: "cpu-1", Salt: []byte("salt"),
	}
	for i := range id.Weights {
		id.Weights[i], id.Tokenizer[i] = 1, 2
	}
	return id
}

// TestIdentityVectors pins the hashes to testdata/identity.py's.
func TestIdentityVectors(t *testing.T) {
	root := sample().Root()
	if got, want := root.String(), "c58b68fe44a767c32d81c4f03c059f585bc3aa256314072b753632155fc84151"; got != want {
		t.Errorf("root is %s, want %s", got, want)
	}
	if got, want := root.Next([]int32{7, 0, 49151}, []byte("x")).String(), "27328eb758051fe792d82d283c61d0f59e0b060af20fdc5de340e9411f81a9f7"; got != want {
		t.Errorf("block is %s, want %s", got, want)
	}
}

// TestEveryFieldCounts: changing any one field of the identity, or anything of
// a block, changes the hash.
func TestEveryFieldCounts(t *testing.T) {
	seen := map[Hash]string{sample().Root(): "nothing"}
	note := func(what string, h Hash) {
		if other, ok := seen[h]; ok {
			t.Errorf("changing %s gives the hash of changing %s", what, other)
		}
		seen[h] = what
	}
	for i := range reflect.TypeFor[Identity]().NumField() {
		id := sample()
		f, name := reflect.ValueOf(&id).Elem().Field(i), reflect.TypeFor[Identity]().Field(i).Name
		switch v := f.Addr().Interface().(type) {
		case *[32]byte:
			v[31] ^= 1
		case *string:
			*v += "x"
		case *[][]float64:
			*v = [][]float64{{1, 0.5, 0.25}}
			note(name+" regrouped", id.Root())
			*v = [][]float64{{1, 0.5}, {0.125}}
		case *int:
			*v++
		case *[]byte:
			*v = append(*v, 0)
		default:
			t.Fatalf("no mutation for field %s", name)
		}
		note(name, id.Root())
	}
	moved := sample()
	moved.Adapter, moved.KV = "adF", "16"
	note("where a text ends", moved.Root())

	root := sample().Root()
	note("parent", sample().Root().Next([]int32{1}, nil).Next([]int32{1}, nil))
	note("one token", root.Next([]int32{1}, nil))
	note("another token", root.Next([]int32{2}, nil))
	note("two tokens", root.Next([]int32{1, 2}, nil))
	note("extra", root.Next([]int32{1}, []byte{2}))
}
