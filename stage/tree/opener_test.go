package tree

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"testing"
)

// The directory of the last file is kept, and no other file is opened because of that.
func TestOpenerFollowsTheTree(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755),
			os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	o := NewOpener(root)
	defer o.Close()
	read := func(name string) string {
		t.Helper()
		f, st, err := o.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		data, err := io.ReadAll(f)
		if err != nil || st.Size != int64(len(data)) {
			t.Fatal(err, st.Size, len(data))
		}
		return string(data)
	}
	fails := func(name string, want error) {
		t.Helper()
		_, _, err := o.Open(name)
		at := new(fs.PathError)
		if !errors.Is(err, want) || !errors.As(err, &at) || at.Path != name {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	write("a/b/one", "1")
	write("a/b/two", "2")
	write("a/c/one", "3")
	write("top", "4")
	for name, want := range map[string]string{"a/b/one": "1", "a/b/two": "2", "a/c/one": "3", "top": "4"} {
		if got := read(name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	read("a/b/one")
	fails("a/b/none", fs.ErrNotExist)
	fails("a/b/one/none", syscall.ENOTDIR)
	fails("a/b", ErrNotRegular)
	read("a/b/one")
	// Another directory takes its place: what is only there is found.
	if err := os.Rename(filepath.Join(dir, "a/b"), filepath.Join(dir, "a/old")); err != nil {
		t.Fatal(err)
	}
	write("a/b/three", "5")
	if got := read("a/b/three"); got != "5" {
		t.Errorf("%q", got)
	}
	fails("a/b/one", fs.ErrNotExist)
	// No way out.
	if err := os.Symlink("/etc", filepath.Join(dir, "out")); err != nil {
		t.Fatal(err)
	}
	if f, _, err := o.Open("out/passwd"); err == nil {
		f.Close()
		t.Error("out/passwd: opened")
	}
	if err := os.Symlink("three", filepath.Join(dir, "a/b/link")); err != nil {
		t.Fatal(err)
	}
	fails("a/b/link", ErrNotRegular)
}

// However many directories it opens, it holds one.
func TestOpenerHoldsOneDirectory(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a", "b"} {
		if err := errors.Join(os.Mkdir(filepath.Join(dir, name), 0o755),
			os.WriteFile(filepath.Join(dir, name, "file"), nil, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	o := NewOpener(root)
	defer o.Close()
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // the collector closes what was forgotten
	held := func() (n int) {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip(err)
		}
		for _, e := range list {
			if at, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && filepath.Dir(at) == dir {
				n++
			}
		}
		return n
	}
	for range 10 {
		for _, name := range []string{"a/file", "b/file"} {
			f, _, err := o.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			f.Close()
		}
	}
	if n := held(); n != 1 {
		t.Errorf("%d directories are open", n)
	}
}
