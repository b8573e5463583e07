package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"testing"

	"golang.org/x/tools/go/analysis"
)

func TestNamesBite(t *testing.T) {
	root := filepath.Join(t.TempDir(), "stage", "oci")
	for _, c := range []struct {
		file, text string
		bites      bool
	}{
		{"stage/add.go", `if f.Name() == "simplestreams" {}`, true},
		{"publish/config.go", `oneOf("plain")`, true},
		{"stage/tree/tree.go", "x := `an oci layout`", true},
		{"retention/policy.go", `x := "oci"`, true},
		{"stage/add.go", `// a simplestreams tree`, false},
		{"stage/add.go", `x := "in plain English"`, false},
		{"stage/add.go", `x := "sociable"`, false},
		{"stage/add_test.go", `x := "simplestreams"`, false},
		{"stage/simplestreams/add.go", `x := "simplestreams"`, false},
		{"stage/oci/layout.go", `x := "oci-layout"`, false},
		{"stage/oci.go", `x := "oci"`, true},
		{"cmd/publish/formats.go", `x := "plain"`, false},
	} {
		fset := token.NewFileSet()
		text := "package p\n\nimport _ \"example.com/publish/stage/simplestreams\"\n\nfunc f() {\n" + c.text + "\n}\n"
		file, err := parser.ParseFile(fset, filepath.Join(root, c.file), text, 0)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		pass := &analysis.Pass{Fset: fset, Files: []*ast.File{file}, Report: func(analysis.Diagnostic) { n++ }}
		if _, err := names(root).Run(pass); err != nil {
			t.Fatal(err)
		}
		if (n > 0) != c.bites {
			t.Errorf("%s: %s: %d findings", c.file, c.text, n)
		}
	}
}
