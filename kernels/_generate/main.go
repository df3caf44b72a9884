// Command generate writes the assembly kernels of package cpu, their Go stubs
// and the switches that pick a kernel by shape.
//
//	go run . -out ../cpu
//
// The output depends on nothing but this module, so that running it again gives
// the same bytes. It is a module of its own: nothing of it enters the binary.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"go/format"
	"log"
	"os"
	"path/filepath"
	"strings"

	"github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/pass"
	"github.com/mmcloughlin/avo/printer"
	"github.com/mmcloughlin/avo/reg"
)

// The build constraints of the generated files.
const (
	constraint      = "amd64,!noasm"
	constraintARM64 = "arm64,!noasm"
)

var config = printer.Config{Argv: []string{"go", "run", ".", "-out", "../cpu"}, Pkg: "cpu"}

func main() {
	log.SetFlags(0)
	flags := flag.NewFlagSet("generate", flag.ExitOnError) // avo has flags of its own in the default set
	out := flags.String("out", "../cpu", "the folder of package cpu")
	if err := flags.Parse(os.Args[1:]); err != nil {
		log.Fatal(err)
	}
	for _, f := range []struct {
		name     string
		generate func(a asm)
	}{
		{"linear_avx512", linearAVX512},
		{"linear_avx512bw", linearAVX512BW},
		{"linear_avx2", linearAVX2},
		{"linear_avx2vnni", linearAVX2VNNI},
		{"quantize", quantize},
		{"vector", vector},
		{"attention_avx512", attentionAVX512},
		{"attention_avx2", attentionAVX2},
	} {
		a := asm{build.NewContext()}
		a.ConstraintExpr(constraint)
		f.generate(a)
		file, err := a.Result()
		if err == nil {
			err = pass.Compile.Execute(file)
		}
		if err != nil {
			log.Fatalf("%s: %v", f.name, err)
		}
		for _, p := range []struct {
			suffix  string
			printer printer.Printer
		}{{"_amd64.s", printer.NewGoAsm(config)}, {"_amd64.go", printer.NewStubs(config)}} {
			text, err := p.printer.Print(file)
			if err != nil {
				log.Fatalf("%s: %v", f.name, err)
			}
			write(filepath.Join(*out, f.name+p.suffix), text)
		}
	}
	for _, f := range []struct {
		name     string
		generate func(n *neon)
	}{
		{"linear_sdot", (*neon).linear},
		{"linear_i8mm", (*neon).linearMatrix},
		{"vector_neon", (*neon).vector},
		{"attention_neon", (*neon).attention},
	} {
		n := newNEON()
		f.generate(n)
		write(filepath.Join(*out, f.name+"_arm64.s"), []byte(n.asm.String()))
		writeGo(filepath.Join(*out, f.name+"_arm64.go"), []byte(n.stubs.String()))
	}
	writeGo(filepath.Join(*out, "switch_amd64.go"), switchesAMD64())
	writeGo(filepath.Join(*out, "switch_arm64.go"), switchesARM64())
}

func writeGo(path string, text []byte) {
	text, err := format.Source(text)
	if err != nil {
		log.Fatal(err)
	}
	write(path, text)
}

func write(path string, text []byte) {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, text) {
		return
	}
	if err := os.WriteFile(path, text, 0o644); err != nil {
		log.Fatal(err)
	}
}

// asm is avo's context with this package's conventions. Kernels use physical
// registers throughout: most need all the vector registers, and constant
// assignments are easier to read in the output.
type asm struct{ *build.Context }

// function begins a kernel. It has a frame and no NOSPLIT, so that the assembler
// inserts a stack check, which is also a safepoint: without one, a loop of calls
// could hold up a garbage collection for seconds.
func (a asm) function(name, signature, doc string) {
	a.Function(name)
	a.Pragma("noescape")
	a.Doc(strings.Split(name+" "+doc, "\n")...)
	a.SignatureExpr("func(" + signature + ")")
	a.AllocLocal(160)
}

// load loads the named parameters into registers.
func (a asm) load(params ...any) {
	for i := 0; i < len(params); i += 2 {
		a.Load(a.Param(params[i].(string)), params[i+1].(reg.Register))
	}
}

// ret ends a kernel.
func (a asm) ret() {
	a.VZEROUPPER()
	a.RET()
}

// align aligns the next instruction, the head of a hot loop, to a cache line.
func (a asm) align() {
	a.Instruction(alignment())
}

// add adds a constant to a general register.
func (a asm) add(n int, r reg.Register) { a.ADDQ(operand.U32(n), r) }

// at is the memory at base + disp.
func at(base reg.Register, disp int) operand.Mem { return operand.Mem{Base: base, Disp: disp} }

// row is the memory at base + i·stride + disp, for i of 0, 1, 2.
func row(base, stride reg.Register, i, disp int) operand.Mem {
	m := at(base, disp)
	if i > 0 {
		m.Index, m.Scale = stride, uint8(i)
	}
	return m
}

func name(format string, args ...any) string { return fmt.Sprintf(format, args...) }
