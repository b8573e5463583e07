package durable

import (
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// Root may run a command in another user's repository. It must leave nothing there
// that the owner cannot remove or write to. So each function of this package that
// makes something gives it to the owner of the directory that it is made in.
// Code that makes something by other means calls Give.

// Give gives what root has made at path, and nobody else has a name for, to the
// owner and the group of the directory that it is in. It does nothing for
// other users, and nothing where that fails: a file system may know no owners.
//
// Others may write to the directory. So the owner changes through a descriptor
// of what is there, after a check that it is root's and no hard link. Otherwise
// somebody who swaps the name would become the owner of another file of root's.
func Give(path string) {
	if os.Geteuid() != 0 {
		return
	}
	fi, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok && st.Uid != 0 {
		give(unix.AT_FDCWD, path, int(st.Uid), int(st.Gid))
	}
}

// MkdirTemp is os.MkdirTemp in a directory that may be another user's; see Give.
func MkdirTemp(dir, pattern string) (string, error) {
	path, err := os.MkdirTemp(dir, pattern)
	if err == nil {
		Give(path)
	}
	return path, err
}

// Symlink is os.Symlink in a directory that may be another user's; see Give.
func Symlink(text, path string) error {
	err := os.Symlink(text, path)
	if err == nil {
		Give(path)
	}
	return err
}
