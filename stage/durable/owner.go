package durable

import (
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// Root may run a command in the repository of another user. It must leave nothing
// there that the owner cannot change or remove. So each function of this package
// that creates a file or a directory gives it to the owner of the directory that it
// is in. Code that creates something in another way calls Give.

// Give gives a file or directory that root has just made to the owner and the group
// of its directory. It does nothing for other users. It ignores errors, because
// some file systems have no owners.
//
// Other users may be able to write to that directory, and replace the name by
// another file of root. So Give opens the file, checks that it belongs to root and
// has no other hard link, and changes the owner through the descriptor. Otherwise
// it could give another file of root away.
func Give(path string) { Giver(filepath.Dir(path))(path) }

// Giver returns Give for what is in one directory: it looks only once who owns that.
func Giver(dir string) func(path string) {
	if os.Geteuid() == 0 {
		if fi, err := os.Stat(dir); err == nil {
			if st, ok := fi.Sys().(*syscall.Stat_t); ok && st.Uid != 0 {
				return func(path string) { give(unix.AT_FDCWD, path, int(st.Uid), int(st.Gid)) }
			}
		}
	}
	return func(string) {}
}

// MkdirTemp is os.MkdirTemp followed by Give.
func MkdirTemp(dir, pattern string) (string, error) {
	path, err := os.MkdirTemp(dir, pattern)
	if err == nil {
		Give(path)
	}
	return path, err
}

// Symlink is os.Symlink followed by Give.
func Symlink(text, path string) error {
	err := os.Symlink(text, path)
	if err == nil {
		Give(path)
	}
	return err
}
