package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// RemoveAll removes a file or a tree. What cannot be removed does not stop it:
// it removes the rest, and returns the first failure, a *fs.PathError with the
// path of what is in the way. A path that is not there is no failure.
//
// It follows no link and enters no mount: a directory on which something is
// mounted stays, and so does everything that is mounted there. A directory of
// the caller's without the permission to change it gets that permission.
//
// Calls for each name: unlinkat; for a directory then unlinkat(AT_REMOVEDIR),
// which answers EBUSY for a mount point before it looks at what is in it, and
// only after another answer openat(O_NOFOLLOW) and the names in it.
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

// removeAt removes the name in the directory dir, which is open as dirFD.
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

// empty removes all that is in a directory, and returns the first failure.
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
	names, first := f.Readdirnames(-1) // some of them, perhaps, with an error
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

// MountPoint reports whether a file system, or a directory of one, is mounted
// at path. A link there is not followed.
func MountPoint(path string) bool { return mountRoot(unix.AT_FDCWD, path) }

// across reports whether a file and the directory that it is in are on
// different file systems.
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

// Writable reports whether this user may write to what is at path. A link is
// followed.
func Writable(path string) bool { return unix.Access(path, unix.W_OK) == nil }

// Usable reports whether this user may make, find and remove names in the
// directory at path.
func Usable(path string) bool { return unix.Access(path, unix.R_OK|unix.W_OK|unix.X_OK) == nil }
