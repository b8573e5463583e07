package durable

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestResolve(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	in := func(p string) string { return filepath.Join(dir, p) }
	must(t, os.MkdirAll(in("a/b"), 0o755))
	must(t, os.WriteFile(in("a/file"), nil, 0o644))
	must(t, os.Symlink("a/b", in("link")))
	must(t, os.Symlink("none", in("dangling")))
	must(t, os.Symlink("circle", in("circle")))
	for path, want := range map[string]string{
		"link": "a/b", "link/x/y": "a/b/x/y", "a/../link": "a/b", "a/file/x": "a/file/x", "dangling/x": "dangling/x",
		"none": "none",
	} {
		if got, err := Resolve(in(path)); err != nil || got != in(want) {
			t.Errorf("%s: %s, %v; want %s", path, got, err, want)
		}
	}
	if got, err := Resolve(in("circle")); err == nil {
		t.Errorf("a circle resolves to %s", got)
	}
	for other, want := range map[string]bool{"link": true, "a": false} {
		if same, err := SameFile(in("a/b"), in(other)); err != nil || same != want {
			t.Errorf("%s: %v, %v", other, same, err)
		}
	}
	if _, err := SameFile(in("a"), in("none")); err == nil {
		t.Error("what is not there is the same")
	}
	up := Above(in("a/b"))
	if i := slices.Index(up, in("a")); i != 1 || !slices.Contains(up, "/") {
		t.Errorf("%q", up)
	}
}
