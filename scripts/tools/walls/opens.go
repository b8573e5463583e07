package main

import (
	"go/ast"
	"path/filepath"
	"strings"

	"golang.org/x/tools/go/analysis"
)

// openers are functions of package os that open a file as they find it: they
// follow a link, wait for a pipe, and read what has no end.
var openers = map[string]string{"Open": "Open", "OpenFile": "Create or OpenAppend", "ReadFile": "ReadFile"}

// opens refuses them in the program, tests excepted, outside the two packages
// that open safely: other users may write to the trees that it works in.
func opens(root string) *analysis.Analyzer {
	return &analysis.Analyzer{Name: "opens", Doc: "finds files that are opened without care for what stands there",
		Run: func(pass *analysis.Pass) (any, error) {
			for _, file := range pass.Files {
				name, err := filepath.Rel(root, pass.Fset.Position(file.Pos()).Filename)
				if err != nil || !guarded(filepath.ToSlash(name)) {
					continue
				}
				ast.Inspect(file, func(n ast.Node) bool {
					sel, ok := n.(*ast.SelectorExpr)
					if !ok {
						return true
					}
					if x, ok := sel.X.(*ast.Ident); ok && x.Name == "os" && openers[sel.Sel.Name] != "" {
						pass.Reportf(sel.Pos(),
							"os.%s follows a link, waits for a pipe, and knows no bound; stage/durable has %s",
							sel.Sel.Name, openers[sel.Sel.Name])
					}
					return true
				})
			}
			return nil, nil
		}}
}

// guarded reports whether the rule is for a file, named from the top of the project.
func guarded(name string) bool {
	if strings.HasSuffix(name, "_test.go") || strings.HasPrefix(name, "stage/durable/") ||
		strings.HasPrefix(name, "stage/lock/") {
		return false
	}
	for _, dir := range []string{"cmd/", "publish/", "stage/"} {
		if strings.HasPrefix(name, dir) {
			return true
		}
	}
	return false
}
