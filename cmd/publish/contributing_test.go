package main

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Lines of text and code fit into 120 columns, where a tab is one; those of tables and of
// tests, which hold what others wrote, need not.
func TestWidth(t *testing.T) {
	pages := []string{"../../CONTRIBUTING.md", "../../CHANGELOG.md", "publish.yaml"}
	must(t, filepath.WalkDir("../..", func(p string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() && (e.Name() == ".git" || e.Name() == "bin") {
			return filepath.SkipDir
		}
		if strings.HasSuffix(p, ".go") && !strings.HasSuffix(p, "_test.go") {
			pages = append(pages, p)
		}
		return err
	}))
	for _, page := range pages {
		data, err := os.ReadFile(page)
		must(t, err)
		for i, line := range strings.Split(string(data), "\n") {
			if len(line) > 120 && !strings.HasPrefix(line, "|") {
				t.Errorf("%s:%d: %d columns", page, i+1, len(line))
			}
		}
	}
}

// The map in CONTRIBUTING.md has every package with its imports, the files that
// the page names are there, and so are the targets.
func TestContributing(t *testing.T) {
	data, err := os.ReadFile("../../CONTRIBUTING.md")
	must(t, err)
	text := string(data)
	rows := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z0-9/]+)` \\| .* \\| (.*) \\|$").FindAllStringSubmatch(text, -1) {
		rows[m[1]] = m[2]
	}
	list := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "./...")
	list.Dir = "../.."
	out, err := list.Output()
	must(t, err)
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(strings.ReplaceAll(line, "example.com/publish/", ""))
		name, imports := words[0], words[1:]
		if strings.HasPrefix(name, "scripts/") {
			continue
		}
		row, ok := rows[name]
		if !ok {
			t.Errorf("the map lacks %s", name)
		}
		for _, other := range imports {
			known := row == "all below" || strings.Contains(row, "`"+other+"`") ||
				strings.Contains(row, "its leaves") && strings.HasPrefix(other, "stage/") &&
					!slices.Contains([]string{"stage/simplestreams", "stage/oci", "stage/plain"}, other)
			if _, ours := rows[other]; ours && !known {
				t.Errorf("the map does not say that %s imports %s", name, other)
			}
		}
	}
	for _, m := range regexp.MustCompile("`([a-z]+/[a-z0-9_/.]*)`").FindAllStringSubmatch(text, -1) {
		if _, err := os.Stat("../../" + m[1]); err != nil {
			t.Error(err)
		}
	}
	makefile, err := os.ReadFile("../../Makefile")
	must(t, err)
	targets := regexp.MustCompile(`(?m)^## ([a-z-]+):`).FindAllStringSubmatch(string(makefile), -1)
	for _, m := range regexp.MustCompile("`make ([a-z-]+)").FindAllStringSubmatch(text, -1) {
		if !slices.ContainsFunc(targets, func(target []string) bool { return target[1] == m[1] }) {
			t.Errorf("make %s is not in the Makefile", m[1])
		}
	}
}
