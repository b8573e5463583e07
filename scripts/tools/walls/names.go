package main

import (
	"fmt"
	"go/ast"
	"go/token"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/tools/go/analysis"
)

// formats are those that only their packages and cmd know.
var formats = []string{"simplestreams", "oci", "plain"}

// named matches a string that names a format. "plain" is also a word.
var named = regexp.MustCompile(`\b(simplestreams|oci)\b|^plain$`)

// names refuses a format's name, as a string, in the program outside that format
// and cmd, tests excepted: what differs from format to format is a method of
// catalog.Format.
func names(root string) *analysis.Analyzer {
	return &analysis.Analyzer{Name: "names", Doc: "finds the names of formats", Run: func(pass *analysis.Pass) (any,
		error) {
		for _, file := range pass.Files {
			name, err := filepath.Rel(root, pass.Fset.Position(file.Pos()).Filename)
			if err != nil || !anyFormat(filepath.ToSlash(name)) {
				continue
			}
			imports := map[ast.Node]bool{}
			for _, i := range file.Imports {
				imports[i.Path] = true
			}
			ast.Inspect(file, func(n ast.Node) bool {
				lit, ok := n.(*ast.BasicLit)
				if !ok || lit.Kind != token.STRING || imports[lit] {
					return true
				}
				if text, err := strconv.Unquote(lit.Value); err == nil && named.MatchString(text) {
					pass.Reportf(lit.Pos(), "%s names a format: only the format itself and cmd do", lit.Value)
				}
				return true
			})
		}
		return nil, nil
	}}
}

// anyFormat reports whether a file, named from the top of the project, is the
// same for every format.
func anyFormat(name string) bool {
	if strings.HasSuffix(name, "_test.go") {
		return false
	}
	for _, f := range formats {
		if strings.HasPrefix(name, fmt.Sprintf("stage/%s/", f)) {
			return false
		}
	}
	for _, dir := range []string{"publish/", "stage/", "retention/"} {
		if strings.HasPrefix(name, dir) {
			return true
		}
	}
	return false
}
