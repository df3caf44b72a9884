package ptxemu

import "strings"

// A kind is the interpretation of a register's or a memory cell's bits.
type kind uint8

const (
	kindB    kind = iota // bits
	kindU                // unsigned
	kindS                // signed
	kindF                // IEEE float
	kindBF               // bfloat16
	kindTF32             // f32 with 10 bits of mantissa
	kindE4M3             // 8-bit floats
	kindE5M2
	kindPred
)

// A typ is a PTX type. x2 marks a pair in one register, low half first; bits
// is then that of the register.
type typ struct {
	kind kind
	bits int
	x2   bool
}

func (t typ) bytes() int { return t.bits / 8 }

func (t typ) float() bool { return t.kind == kindF || t.kind == kindBF }

// mask covers the bits of t.
func (t typ) mask() uint64 { return 1<<uint(t.bits) - 1 } // 0 - 1 for 64 bits

// half is the element of a packed type.
func (t typ) half() typ { return typ{kind: t.kind, bits: t.bits / 2} }

var types = map[string]typ{
	"b8": {kindB, 8, false}, "b16": {kindB, 16, false}, "b32": {kindB, 32, false}, "b64": {kindB, 64, false},
	"u8": {kindU, 8, false}, "u16": {kindU, 16, false}, "u32": {kindU, 32, false}, "u64": {kindU, 64, false},
	"s8": {kindS, 8, false}, "s16": {kindS, 16, false}, "s32": {kindS, 32, false}, "s64": {kindS, 64, false},
	"f16": {kindF, 16, false}, "f32": {kindF, 32, false}, "f64": {kindF, 64, false},
	"bf16": {kindBF, 16, false}, "tf32": {kindTF32, 32, false},
	"f16x2": {kindF, 32, true}, "bf16x2": {kindBF, 32, true}, "u16x2": {kindU, 32, true}, "s16x2": {kindS, 32, true},
	"e4m3x2": {kindE4M3, 16, true}, "e5m2x2": {kindE5M2, 16, true},
	"pred": {kindPred, 1, false},
}

// A space is a state space. Addresses in instructions that name no space are
// generic: the windows of address.go tell them apart.
type space uint8

const (
	spaceGeneric space = iota
	spaceGlobal
	spaceConst
	spaceShared
	spaceLocal
	spaceParam
)

var spaces = map[string]space{
	"global": spaceGlobal, "const": spaceConst, "shared": spaceShared, "local": spaceLocal, "param": spaceParam,
	"shared::cta": spaceShared, "param::entry": spaceParam, "param::func": spaceParam,
}

// A variable is a declaration outside the registers. addr is its offset in its
// space, or its device address once a module is loaded (global, const).
type variable struct {
	name   string
	space  space
	align  int
	size   int // bytes; 0 for an extern array
	extern bool
	kernel bool   // a parameter of an entry, not of a function
	init   []byte // the first bytes; zeros follow
	relocs []reloc
	addr   uint64
	line   int
}

// A reloc is the address of a variable in another's initialiser.
type reloc struct {
	at  int
	sym *variable
	off int64
}

// A register belongs to one function. slot is its place in the warp's file of
// registers or, for predicates, of predicates; compile assigns it.
type register struct {
	name string
	typ  typ
	slot int // -1 until used
}

// A function is an entry or a device function.
type function struct {
	name      string
	entry     bool
	declared  bool // no body
	params    []*variable
	rets      []*variable
	vars      []*variable // shared and local variables of the body, call parameters
	regs      []*register
	body      []*instr
	maxThread Dim3
	reqThread Dim3
	line      int
}

// An instr is one parsed instruction.
type instr struct {
	pred    *register // guard, or nil
	negated bool
	op      string   // mnemonic up to the first dot
	mods    []string // the rest
	args    []operand
	line    int
	source  int
}

func (in *instr) name() string {
	if len(in.mods) == 0 {
		return in.op
	}
	return in.op + "." + strings.Join(in.mods, ".")
}

type operandKind uint8

const (
	argReg operandKind = iota
	argImm
	argSpecial // a special register, by name
	argVar     // the address of a variable, plus off
	argFunc
	argLabel // a place in the body
	argAddr  // [base + off]
	argVec   // {a, b, …}
	argPair  // p|q
	argSink  // _
	argList  // (a, b) of a call
)

type operand struct {
	kind    operandKind
	reg     *register
	negated bool // !p, or -x of a register
	imm     uint64
	float   int // 32 or 64 for 0f… and 0d… literals, else 0
	name    string
	sym     *variable
	fn      *function
	off     int64
	label   *label
	sub     []operand // base of argAddr, elements of argVec, argPair, argList
}

// A label is a place in a function's body, or a table of such places.
type label struct {
	name  string
	at    int // index in body; -1 until seen
	table []*label
	outer *label // the label of an outer scope that it turned out to be
	line  int
}
