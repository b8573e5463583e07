package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
)

func listed(t *testing.T, l *Listing) []string {
	t.Helper()
	out := []string{}
	if err := l.Each(func(n Name) error {
		out = append(out, fmt.Sprint(string(n.Text), " ", n.Kind))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	slices.Sort(out)
	return out
}

func TestListing(t *testing.T) {
	dir := files(t, "a", "d/b", "d/e/c", "other/x")
	if err := os.Symlink("../other", filepath.Join(dir, "d/link")); err != nil {
		t.Fatal(err)
	}
	top, err := List(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer top.Close()
	d, err := top.Below("d")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for range 2 { // from the first name on, each time
		if got := fmt.Sprint(listed(t, d)); got != "[b 2 e 1 link 2]" {
			t.Error(got)
		}
	}
	var want syscall.Stat_t
	if err := syscall.Lstat(filepath.Join(dir, "d/b"), &want); err != nil {
		t.Fatal(err)
	}
	if st, err := d.Stat("b"); err != nil || st.Ino != want.Ino {
		t.Errorf("%+v, %v", st, err)
	}
	facts, err := d.Facts()
	plain, err2 := d.facts()
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	if plain.Mounted = facts.Mounted; facts != plain || facts.Mode != 0o755 || facts.Fixed || facts.Mounted {
		t.Errorf("%+v, %+v", facts, plain)
	}
	if _, err := d.Below("link"); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("a link was followed: %v", err)
	}
	if _, err := d.Below("b"); !errors.Is(err, syscall.ENOTDIR) {
		t.Error(err)
	}
	if _, err := d.Below("never"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if err := errors.Join(d.Link("b", top, "linked"), d.Rename("link", top, "moved"), d.Remove("b"), d.RemoveAll("e"),
		d.Chmod(0o700)); err != nil {
		t.Error(err)
	}
	if err := top.RemoveDir("other"); !errors.Is(err, syscall.ENOTEMPTY) {
		t.Error(err)
	}
	if got := fmt.Sprint(listed(t, top), listed(t, d)); got != "[a 2 d 1 linked 2 moved 2 other 1] []" {
		t.Error(got)
	}
	if err := top.RemoveDir("d"); err != nil {
		t.Error(err)
	}
}

func TestMountedBelow(t *testing.T) {
	dir := files(t, "tree with blank/file", "tree with blank-2/file", "other")
	at := filepath.Join(dir, "tree with blank")
	if got := MountedBelow(at); got != "" {
		t.Error(got)
	}
	if os.Getuid() != 0 {
		t.Skip("only root mounts")
	}
	file := filepath.Join(at, "file")
	if err := syscall.Mount(filepath.Join(dir, "other"), file, "", syscall.MS_BIND, ""); err != nil {
		t.Skipf("mount: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(file, syscall.MNT_DETACH) })
	if err := os.Symlink(at, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{at: file, filepath.Join(dir, "link"): file, at + "-2": "", file: ""} {
		if got := MountedBelow(path); got != want {
			t.Errorf("%s: %q", path, got)
		}
	}
}
