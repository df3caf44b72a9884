package ptxemu

import "math"

// opcodes compiles an instruction by its mnemonic up to the first dot. It is
// filled by init because calls compile to more than one instruction.
var opcodes map[string]func(c *comp) op

func init() {
	opcodes = map[string]func(c *comp) op{
		"add": opAdd, "sub": opSub, "mul": opMul, "mad": opMad, "fma": opFma, "div": opDiv, "rem": opRem,
		"addc": opAddc, "subc": opSubc, "madc": opMadc, "mul24": opMul24, "mad24": opMad24, "sad": opSad,
		"abs": opAbs, "neg": opNeg, "min": opMin, "max": opMax, "dp4a": opDp4a, "dp2a": opDp2a,

		"rcp":  function1(reciprocal, reciprocal),
		"sqrt": function1(sqrtOdd, sqrtOdd), "rsqrt": function1(rsqrt, nil),
		"ex2": function1(math.Exp2, nil), "lg2": function1(math.Log2, nil),
		"sin": function1(math.Sin, nil), "cos": function1(math.Cos, nil), "tanh": function1(math.Tanh, nil),
		"copysign": opCopysign, "testp": opTestp,

		"and": logic(func(a, b uint64) uint64 { return a & b }),
		"or":  logic(func(a, b uint64) uint64 { return a | b }),
		"xor": logic(func(a, b uint64) uint64 { return a ^ b }),
		"not": opNot, "cnot": opCnot, "shl": opShl, "shr": opShr, "shf": opShf, "lop3": opLop3, "prmt": opPrmt,
		"bfe": opBfe, "bfi": opBfi, "bfind": opBfind, "brev": opBrev, "popc": opPopc, "clz": opClz, "fns": opFns,
		"szext": opSzext, "bmsk": opBmsk,

		"setp": opSetp, "set": opSet, "selp": opSelp, "slct": opSlct, "mov": opMov, "cvt": opCvt,
		"cvta": opCvta, "isspacep": opIsspacep,

		"ld": opLd, "ldu": opLd, "st": opSt, "atom": opAtom, "red": opRed, "cp": opCp,
		"prefetch": opPrefetch, "prefetchu": opPrefetch, "createpolicy": opCreatepolicy,
		"membar": opFence, "fence": opFence, "discard": opFence, "applypriority": opFence,

		"shfl": opShfl, "vote": opVote, "match": opMatch, "redux": opRedux, "activemask": opActivemask, "elect": opElect,
		"ldmatrix": opLdmatrix, "stmatrix": opStmatrix, "movmatrix": opMovmatrix, "mma": opMma,

		"bra": opBra, "brx": opBrx, "call": opCall, "ret": control(instReturn), "exit": control(instExit),
		"trap": opTrap, "brkpt": opTrap, "bar": opBar, "barrier": opBar, "griddepcontrol": opGriddep,
		"nanosleep": opIgnore, "pmevent": opIgnore,
	}
}
