package jinja

// expr is an expression. eval may end the render by a panic of abort.
type expr interface {
	eval(f *frame) Value
}

// stmt is a statement. exec writes to out.
type stmt interface {
	exec(f *frame, out *builder) flow
}

// flow says how a statement ended.
type flow uint8

const (
	goOn flow = iota
	breakLoop
	nextRound
)

// Expressions.
type (
	literal  struct{ v Value }
	nameExpr struct {
		line int
		name string
	}
	attrExpr struct {
		line int
		of   expr
		name string
	}
	itemExpr struct {
		line    int
		of, key expr
	}
	sliceExpr struct {
		line              int
		of                expr
		start, stop, step expr // nil = left out
	}
	unaryExpr struct {
		line int
		op   string
		of   expr
	}
	binaryExpr struct {
		line        int
		op          string
		left, right expr
	}
	// logicExpr is "and" or "or".
	logicExpr struct {
		or          bool
		left, right expr
	}
	// compareExpr is a chain: first ops[0] rest[0] ops[1] rest[1] ...
	compareExpr struct {
		line  int
		first expr
		ops   []string
		rest  []expr
	}
	// concatExpr is a ~ b ~ c.
	concatExpr struct {
		line  int
		parts []expr
	}
	condExpr struct{ cond, yes, no expr } // no may be nil
	callExpr struct {
		line   int
		of     expr
		args   []expr
		kwargs []kwarg
	}
	filterExpr struct {
		line   int
		of     expr // nil in a filter block: what the block rendered
		name   string
		filter filter
		args   []expr
		kwargs []kwarg
	}
	testExpr struct {
		line int
		of   expr
		name string
		test test
		args []expr
	}
	listExpr struct {
		kind  listKind
		items []expr
	}
	dictExpr struct {
		line         int
		keys, values []expr
	}
	kwarg struct {
		name  string
		value expr
	}
)

// Statements.
type (
	textStmt struct{ text Text }
	// printStmt is {{ of }}.
	printStmt struct {
		line int
		of   expr
	}
	ifStmt struct {
		conds  []expr
		bodies [][]stmt // one more than conds if there is an else
	}
	forStmt struct {
		line   int
		target target
		iter   expr
		cond   expr // nil = none
		body   []stmt
		orElse []stmt
	}
	setStmt struct {
		line   int
		target target
		value  expr
	}
	setBlock struct {
		line   int
		target target
		filter *filterExpr // nil = none
		body   []stmt
	}
	macroStmt struct{ macro *macro }
	callStmt  struct {
		line   int
		call   *callExpr
		caller *macro
	}
	filterStmt struct {
		filter *filterExpr
		body   []stmt
	}
	withStmt struct {
		line    int
		targets []target
		values  []expr
		body    []stmt
	}
	flowStmt struct{ flow flow }
)

// target is what an assignment assigns to: a name, a namespace's attribute or
// a tuple of targets.
type target struct {
	name  string
	attr  string // of the namespace called name; "" = the name itself
	tuple []target
}

// macro is a macro, or the body of a call block.
type macro struct {
	line     int
	name     string
	params   []string
	defaults []expr // of the last len(defaults) params
	body     []stmt
	// The special names that the body mentions.
	usesCaller, usesVarargs, usesKwargs bool
}
