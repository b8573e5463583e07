package durable

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// files makes files with the given paths below a new directory.
func files(t *testing.T, paths ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, p := range paths {
		p = filepath.Join(dir, p)
		if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, nil, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func TestRemoveAllTree(t *testing.T) {
	dir := files(t, "tree/a/b/c", "tree/a/d", "tree/e", "kept/x", "file")
	for name, text := range map[string]string{"tree/link": "../kept", "tree/a/dangling": "nowhere", "link": "kept"} {
		if err := os.Symlink(text, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []string{"tree/a/b", "tree/a"} {
		if err := os.Chmod(filepath.Join(dir, d), 0); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"tree", "file", "link", "never/was", "never"} {
		if err := RemoveAll(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
		if exists(filepath.Join(dir, name)) {
			t.Errorf("%s is there", name)
		}
	}
	if !exists(filepath.Join(dir, "kept/x")) {
		t.Error("a link was followed")
	}
}

// A file that cannot be removed is reported, and everything else is removed.
func TestRemoveAllGoesOn(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can make a file that its owner cannot remove")
	}
	dir := files(t, "tree/a/x", "tree/b/y", "tree/b/z", "tree/c")
	stuck := filepath.Join(dir, "tree/b/y")
	if out, err := exec.Command("chattr", "+i", stuck).CombinedOutput(); err != nil {
		t.Skipf("chattr: %v: %s", err, out)
	}
	defer exec.Command("chattr", "-i", stuck).Run()
	if !Immutable(stuck) || Immutable(filepath.Dir(stuck)) {
		t.Error("what is immutable is not reported")
	}
	err := RemoveAll(filepath.Join(dir, "tree"))
	var path *fs.PathError
	if !errors.As(err, &path) || path.Path != stuck || !errors.Is(err, syscall.EPERM) {
		t.Errorf("%v, want EPERM of %s", err, stuck)
	}
	for _, p := range []string{"tree/a", "tree/b/z", "tree/c"} {
		if exists(filepath.Join(dir, p)) {
			t.Errorf("%s is there", p)
		}
	}
	if err := exec.Command("chattr", "-i", stuck).Run(); err != nil {
		t.Fatal(err)
	}
	if err := RemoveAll(filepath.Join(dir, "tree")); err != nil || exists(filepath.Join(dir, "tree")) {
		t.Errorf("%v, want it gone", err)
	}
}

// RemoveAll removes nothing in a file system that is mounted in the tree.
func TestRemoveAllMount(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root mounts")
	}
	dir := files(t, "tree/a/x", "tree/mnt/hidden", "tree/z", "other/precious")
	mnt := filepath.Join(dir, "tree/mnt")
	if err := syscall.Mount(filepath.Join(dir, "other"), mnt, "", syscall.MS_BIND, ""); err != nil {
		t.Skipf("mount: %v", err)
	}
	defer syscall.Unmount(mnt, syscall.MNT_DETACH)
	if !MountPoint(mnt) || MountPoint(filepath.Dir(mnt)) || MountPoint(filepath.Join(dir, "never")) {
		t.Error("what is a mount point is not reported")
	}
	for _, top := range []string{"tree", "tree/mnt"} {
		err := RemoveAll(filepath.Join(dir, top))
		var path *fs.PathError
		if !errors.As(err, &path) || path.Path != mnt || !errors.Is(err, syscall.EBUSY) {
			t.Errorf("%s: %v, want EBUSY of %s", top, err, mnt)
		}
	}
	if !exists(filepath.Join(dir, "other/precious")) {
		t.Error("what was mounted was removed")
	}
	if exists(filepath.Join(dir, "tree/a")) || exists(filepath.Join(dir, "tree/z")) {
		t.Error("the rest is there")
	}
	if err := syscall.Unmount(mnt, 0); err != nil {
		t.Fatal(err)
	}
	if err := RemoveAll(filepath.Join(dir, "tree")); err != nil || exists(filepath.Join(dir, "tree")) {
		t.Errorf("%v, want it gone", err)
	}
}

// Files that root makes get the owner of their directory.
func TestGive(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can give")
	}
	const owner, group = 12345, 23456
	dir := files(t, "roots")
	if err := os.Chown(dir, owner, group); err != nil {
		t.Fatal(err)
	}
	made := func(path string) {
		t.Helper()
		fi, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		if st := fi.Sys().(*syscall.Stat_t); st.Uid != owner || st.Gid != group {
			t.Errorf("%s belongs to %d:%d", strings.TrimPrefix(path, dir), st.Uid, st.Gid)
		}
	}
	if err := WriteFile(filepath.Join(dir, "file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	made(filepath.Join(dir, "file"))
	if err := MkdirAll(filepath.Join(dir, "a/b"), 0o755); err != nil {
		t.Fatal(err)
	}
	made(filepath.Join(dir, "a"))
	made(filepath.Join(dir, "a/b"))
	if err := Symlink("nowhere", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	made(filepath.Join(dir, "link"))
	tmp, err := MkdirTemp(dir, "tmp-")
	if err != nil {
		t.Fatal(err)
	}
	made(tmp)

	// Somebody who replaces the name does not get another file of root.
	if err := os.Link(filepath.Join(dir, "roots"), filepath.Join(dir, "a/swapped")); err != nil {
		t.Fatal(err)
	}
	Give(filepath.Join(dir, "a/swapped"))
	fi, err := os.Lstat(filepath.Join(dir, "roots"))
	if err != nil || fi.Sys().(*syscall.Stat_t).Uid != 0 {
		t.Errorf("a hard link was given away: %v", err)
	}
}
