package num

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// TestProductsAreRounded reads the source: every product and quotient that is
// not a constant stands in float64(...) itself, so that no compiler may fuse it
// with an addition, be it one statement later or in a caller that it was inlined
// into. A fused operation changes few results; TestGolden alone may miss one.
func TestProductsAreRounded(t *testing.T) {
	files, err := filepath.Glob("float64_*.go")
	if err != nil {
		t.Fatal(err)
	}
	set := token.NewFileSet()
	products := 0
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(set, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		rounded := map[ast.Expr]bool{}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				if f, ok := n.Fun.(*ast.Ident); ok && f.Name == "float64" {
					rounded[n.Args[0]] = true
				}
			case *ast.AssignStmt:
				if n.Tok == token.MUL_ASSIGN || n.Tok == token.QUO_ASSIGN {
					t.Errorf("%s: *= and /= do not round", set.Position(n.Pos()))
				}
			case *ast.BinaryExpr:
				if n.Op != token.MUL && n.Op != token.QUO || constant(n) {
					break
				}
				products++
				if !rounded[n] {
					t.Errorf("%s: not in float64(...)", set.Position(n.OpPos))
				}
			}
			return true
		})
	}
	if products < 50 {
		t.Errorf("saw only %d products", products)
	}
}

func constant(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.BasicLit:
		return true
	case *ast.UnaryExpr:
		return constant(e.X)
	case *ast.BinaryExpr:
		return constant(e.X) && constant(e.Y)
	}
	return false
}
