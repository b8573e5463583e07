package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"testing"

	"golang.org/x/tools/go/analysis"
)

func TestOpensBites(t *testing.T) {
	root := filepath.Join(t.TempDir(), "stage")
	for _, c := range []struct {
		file, text string
		bites      bool
	}{
		{"stage/add.go", `f, err := os.Open(p)`, true},
		{"publish/history.go", `data, err := os.ReadFile(p)`, true},
		{"cmd/publish/init.go", `f, err := os.OpenFile(p, os.O_RDONLY, 0)`, true},
		{"stage/tree/tree.go", `open := os.Open`, true},
		{"stage/add.go", `f, err := durable.Open(p)`, false},
		{"stage/add.go", `fi, err := os.Stat(p)`, false},
		{"stage/add_test.go", `f, err := os.Open(p)`, false},
		{"stage/durable/open.go", `f, err := os.OpenFile(p, 0, 0)`, false},
		{"stage/lock/lock.go", `f, err := os.OpenFile(p, 0, 0)`, false},
		{"scripts/crash/main.go", `f, err := os.Open(p)`, false},
	} {
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, filepath.Join(root, c.file), "package p\n\nfunc f() {\n"+c.text+"\n}\n", 0)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		if _, err := opens(root).Run(&analysis.Pass{Fset: fset, Files: []*ast.File{file},
			Report: func(analysis.Diagnostic) { n++ }}); err != nil {
			t.Fatal(err)
		}
		if (n > 0) != c.bites {
			t.Errorf("%s: %s: %d findings", c.file, c.text, n)
		}
	}
}
