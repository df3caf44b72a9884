package mutate

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// TestTarget is the target of the tests below, which run it in a process of its own.
func TestTarget(t *testing.T) {
	how := os.Getenv("MUTATE_TARGET")
	if how == "" {
		t.Skip("TestFailures runs it")
	}
	Fuzz(t, "FuzzPlanted", planted, func(in Input) error {
		err := plantedReader(in[0].([]byte))
		if err == nil && how == "panic" {
			panic("planted")
		}
		if err == nil {
			t.Fatal("planted")
		}
		return err
	})
}

var planted = []Input{{[]byte("name: 12, 34; \x00\x00\x00\x00 end")}}

// plantedReader accepts what its seed does not have: a huge integer behind a list of
// three or more, which it learns of in two steps.
func plantedReader(data []byte) error {
	list, rest, ok := bytes.Cut(data, []byte(";"))
	switch {
	case !ok:
		return errors.New("no list")
	case bytes.Count(list, []byte(",")) < 2:
		return errors.New("too few")
	case len(rest) < 5:
		return errors.New("no integer")
	case binary.LittleEndian.Uint32(rest[1:]) < 1<<24:
		return errors.New("a small integer")
	}
	return nil
}

// TestFailures: what fails or panics is found within the usual count, printed, and written
// where Go's engine reads it.
func TestFailures(t *testing.T) {
	for _, how := range []string{"fail", "panic"} {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestTarget$")
		cmd.Dir = t.TempDir()
		cmd.Env = append(os.Environ(), "MUTATE_TARGET="+how, "HOLDFAST_LONG=")
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), "planted") {
			t.Errorf("%s: %v\n%s", how, err, out)
			continue
		}
		files, _ := filepath.Glob(cmd.Dir + "/testdata/fuzz/FuzzPlanted/*")
		if len(files) != 1 {
			t.Errorf("%s: files %v\n%s", how, files, out)
			continue
		}
		text, err := os.ReadFile(files[0])
		if input := strings.Split(string(text), "\n")[1]; err != nil || !strings.Contains(string(out), input) {
			t.Errorf("%s: %v; %s is not in\n%s", how, err, input, out)
		}
		if in, err := decode(string(text)); err != nil || plantedReader(in[0].([]byte)) != nil {
			t.Errorf("%s: %q, %v", how, text, err)
		}
	}
}

// TestEncode: an input comes back from the file that holds it.
func TestEncode(t *testing.T) {
	want := Input{[]byte("a\n\xff\")"), "b`\u2028", int32(-7), int64(-1 << 63), uint64(1<<64 - 1)}
	got, err := decode(want.encode())
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%#v, %v; want %#v", got, err, want)
	}
	for _, bad := range []string{"", "go test fuzz v2\nint32(1)\n", version + "\nbool(true)\n", version + "\nint32(x)\n"} {
		if in, err := decode(bad); err == nil {
			t.Errorf("%q gives %#v", bad, in)
		}
	}
}

// TestMutants: they are the same for the same target, others than their parent, and no
// longer than what they may be.
func TestMutants(t *testing.T) {
	a, b := newGenerator("x"), newGenerator("x")
	pool := []Input{{bytes.Repeat([]byte("ab "), maxBytes/3), "s", int32(1), int64(2), uint64(3)}, {[]byte(nil), "", int32(0), int64(0), uint64(0)}}
	changed := make([]int, len(pool[0]))
	for range 2000 {
		in, again := a.mutant(pool), b.mutant(pool)
		if !reflect.DeepEqual(in, again) {
			t.Fatalf("%v and %v", in, again)
		}
		if n := len(in[0].([]byte)); n > maxBytes {
			t.Fatalf("%d bytes", n)
		}
		for i, x := range in {
			if !reflect.DeepEqual(x, pool[0][i]) && !reflect.DeepEqual(x, pool[1][i]) {
				changed[i]++
			}
		}
	}
	for i, n := range changed {
		if n == 0 {
			t.Errorf("argument %d is always that of a parent", i)
		}
	}
}
