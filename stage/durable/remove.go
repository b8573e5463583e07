package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// RemoveAll removes a file or a tree. If something cannot be removed, it continues
// with the rest, and returns the first error, which is a *fs.PathError with the path
// that could not be removed. A missing path is not an error.
//
// It does not follow links, and does not enter mounts: a directory on which
// something is mounted stays, with everything in the mount. If a directory lacks
// write permission, it changes the mode first; that works for the owner.
//
// Calls for each name: unlinkat; then, for a directory, unlinkat(AT_REMOVEDIR). That
// fails with EBUSY for a mount point, even if it is not empty. Only after another
// error it opens the directory with openat(O_NOFOLLOW) and removes the names in it.
func RemoveAll(path string) error {
	path = filepath.Clean(path)
	parent, err := os.Open(filepath.Dir(path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer parent.Close()
	return removeAt(int(parent.Fd()), filepath.Dir(path), filepath.Base(path))
}

// removeAt removes a name in the directory dir, which is open as dirFD.
func removeAt(dirFD int, dir, name string) error {
	path := filepath.Join(dir, name)
	fail := func(err error) error { return &fs.PathError{Op: "remove", Path: path, Err: err} }
	err := unlinkat(dirFD, name, 0)
	if err == nil || err == unix.ENOENT {
		return nil
	}
	var st unix.Stat_t
	if unix.Fstatat(dirFD, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return fail(err)
	}
	switch err = unlinkat(dirFD, name, unix.AT_REMOVEDIR); {
	case err == nil, err == unix.ENOENT:
		return nil
	case err == unix.EBUSY, mountRoot(dirFD, name):
		return fail(unix.EBUSY)
	}
	below := empty(dirFD, path, name)
	if err = unlinkat(dirFD, name, unix.AT_REMOVEDIR); err == nil || err == unix.ENOENT {
		return nil
	}
	if below != nil {
		return below
	}
	return fail(err)
}

// empty removes everything in a directory, and returns the first error.
func empty(dirFD int, path, name string) error {
	open := func() (int, error) {
		return ignoringEINTR(func() (int, error) {
			return unix.Openat(dirFD, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		})
	}
	fd, err := open()
	if err == unix.EACCES {
		_ = unix.Fchmodat(dirFD, name, 0o700, 0)
		fd, err = open()
	}
	if err != nil {
		return &fs.PathError{Op: "open", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	if fi, err := f.Stat(); err == nil && fi.Mode().Perm()&0o700 != 0o700 {
		_ = f.Chmod(0o700)
	}
	names, first := f.Readdirnames(-1) // with an error, names may still have some of them
	for _, n := range names {
		if err := removeAt(fd, path, n); err != nil && first == nil {
			first = err
		}
	}
	return first
}

func unlinkat(fd int, name string, flags int) error {
	_, err := ignoringEINTR(func() (int, error) { return 0, unix.Unlinkat(fd, name, flags) })
	return err
}

func ignoringEINTR(f func() (int, error)) (int, error) {
	for {
		if n, err := f(); err != unix.EINTR {
			return n, err
		}
	}
}

// ErrMountPoint is returned for a directory that cannot be renamed, replaced or
// removed because a file system is mounted on it.
var ErrMountPoint = errors.New("is a mount point")

// MountPoint reports whether something is mounted at path. It does not follow a
// link there.
func MountPoint(path string) bool { return mountRoot(unix.AT_FDCWD, path) }

// across reports whether a directory and its parent are on different file systems.
func across(dirFD int, name string) bool {
	var own, parent unix.Stat_t
	if unix.Fstatat(dirFD, name, &own, unix.AT_SYMLINK_NOFOLLOW) != nil || own.Mode&unix.S_IFMT != unix.S_IFDIR {
		return false
	}
	if unix.Fstatat(dirFD, name+"/..", &parent, unix.AT_SYMLINK_NOFOLLOW) != nil {
		return false
	}
	return own.Dev != parent.Dev || own.Ino == parent.Ino
}

// Writable reports whether this user may write to path. It follows a link.
func Writable(path string) bool { return unix.Access(path, unix.W_OK) == nil }

// Usable reports whether this user may list, create and remove names in the
// directory at path.
func Usable(path string) bool { return unix.Access(path, unix.R_OK|unix.W_OK|unix.X_OK) == nil }
