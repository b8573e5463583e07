package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// If somebody replaces a folder by a link, at any time, the link is not followed.
func TestBelow(t *testing.T) {
	root, out := t.TempDir(), t.TempDir()
	in := func(name string) string { return filepath.Join(root, name) }
	must(t, os.WriteFile(filepath.Join(out, "mine"), nil, 0o644))
	must(t, os.WriteFile(in("new"), []byte("new"), 0o644))
	d, err := MakeBelow(root, "a/b", 0o775, true)
	must(t, err)
	defer d.Close()
	if fi, err := os.Stat(in("a/b")); err != nil || fi.Mode().Perm() != 0o775 {
		t.Errorf("made: %v %v", fi, err)
	}
	must(t, os.WriteFile(in("a/b/mine"), nil, 0o644))
	must(t, os.Rename(in("a"), in("aside")))
	must(t, os.Mkdir(in("a"), 0o755))
	must(t, os.Symlink(out, in("a/b")))

	top, err := OpenBelow(root, ".")
	must(t, err)
	defer top.Close()
	must(t, top.Rename("new", d, "renamed"))
	must(t, d.Link("renamed", d, "linked"))
	must(t, d.Symlink("text", "link"))
	must(t, d.Remove("mine"))
	f, err := d.Create("created")
	must(t, err)
	must(t, f.Close())
	must(t, d.Sync())
	if diff := cmp.Diff([]string{"created", "link", "linked", "renamed"}, names(t, in("aside/b"))); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"mine"}, names(t, out)); diff != "" {
		t.Errorf("outside: %s", diff)
	}

	// A link that stays inside is not followed either.
	must(t, os.Symlink("aside", in("inside")))
	for _, p := range []string{"a/b", "a/b/c", "inside", "inside/b", "../" + filepath.Base(root)} {
		for name, open := range map[string]func() (*Dir, error){
			"open": func() (*Dir, error) { return OpenBelow(root, p) },
			"make": func() (*Dir, error) { return MakeBelow(root, p, 0o755, false) },
		} {
			if d, err := open(); err == nil {
				t.Errorf("%s %s: no error", name, p)
				must(t, d.Close())
			}
		}
	}
	if _, err := OpenBelow(root, "gone/b"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what is not there: %v", err)
	}
	if diff := cmp.Diff([]string{"mine"}, names(t, out)); diff != "" {
		t.Errorf("outside: %s", diff)
	}
}
