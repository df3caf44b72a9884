package ptxemu

import "sync"

// known is text that was parsed and compiled. Programs are never changed, and those
// that name no variable of global or constant memory serve every memory.
type known struct {
	programs map[string]*program
	vars     []*variable
}

// maxKnown is how many texts are remembered: a worker has seven.
const maxKnown = 16

var memo struct {
	sync.Mutex
	of map[string]*known
}

// remembered returns what Load made of a text before, or nil.
func remembered(ptx string) *known {
	memo.Lock()
	defer memo.Unlock()
	return memo.of[ptx]
}

// remember keeps what Load made, if its code is the same for every memory.
func remember(ptx string, src *source, programs map[string]*program) {
	portable := true
	for _, v := range src.vars {
		portable = portable && (v.space == spaceShared || len(v.relocs) == 0)
	}
	for _, f := range src.funcs {
		eachVariable(f, func(v *variable) {
			portable = portable && v.space != spaceGlobal && v.space != spaceConst
		})
	}
	memo.Lock()
	defer memo.Unlock()
	if portable && len(memo.of) < maxKnown {
		if memo.of == nil {
			memo.of = map[string]*known{}
		}
		memo.of[ptx] = &known{programs, src.vars}
	}
}

// clone copies variables, whose addresses are a module's own.
func clone(vars []*variable) []*variable {
	list := make([]*variable, len(vars))
	for i, v := range vars {
		one := *v
		list[i] = &one
	}
	return list
}
