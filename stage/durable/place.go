package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// SameFile reports whether two paths lead to the same file or directory.
func SameFile(a, b string) (bool, error) {
	fa, err := os.Stat(a)
	if err != nil {
		return false, err
	}
	fb, err := os.Stat(b)
	if err != nil {
		return false, err
	}
	return os.SameFile(fa, fb), nil
}

// Resolve returns an absolute path without links. A part that does not exist stays
// as it is.
func Resolve(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	rest := ""
	for dir := path; ; dir = filepath.Dir(dir) {
		real, err := filepath.EvalSymlinks(dir)
		switch {
		case err == nil:
			return filepath.Join(real, rest), nil
		case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) || dir == filepath.Dir(dir):
			return "", err
		}
		rest = filepath.Join(filepath.Base(dir), rest)
	}
}

// Above returns path and all directories above it, and the same for its other names
// through bind mounts; see Names. path must be absolute and without links.
func Above(path string) []string {
	var list []string
	for _, name := range Names(path) {
		list = append(list, name)
		for name != filepath.Dir(name) {
			name = filepath.Dir(name)
			list = append(list, name)
		}
	}
	return list
}
