package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Listing is an open directory, for listing, comparing and emptying it. Opening it
// takes one system call, and opening a Dir takes five. That matters in a tree with
// as many directories as files. Its methods do not use paths, and do not follow
// links.
type Listing struct {
	path string
	f    *os.File
}

// Name is an entry of a directory.
type Name struct {
	Text []byte // valid until the next one
	Ino  uint64 // see Exact
	Kind Kind
	// Regular is set for a Leaf that is a regular file according to the directory.
	Regular bool
}

// Kind is the kind of a name, according to the directory.
type Kind uint8

const (
	// Unknown means that the file system does not store the kind, so stat is needed.
	Unknown Kind = iota
	// Folder is a directory.
	Folder
	// Leaf is anything else.
	Leaf
)

// Facts are properties of a directory that matter before changing it.
type Facts struct {
	Dev     uint64
	UID     uint32
	Mode    fs.FileMode // permissions, with the sticky and set-id bits
	Mounted bool        // something is mounted here, or the parent is on another file system
	Fixed   bool        // immutable or append-only: no name in it can change
}

// List opens the directory at path. It does not follow a link there.
func List(path string) (*Listing, error) {
	f, err := OpenDir(path)
	if err != nil {
		return nil, err
	}
	return &Listing{path: filepath.Clean(path), f: f}, nil
}

// ListNamed is like List, for a directory that a person named: it follows a link.
func ListNamed(path string) (*Listing, error) {
	f, err := OpenDirNamed(path)
	if err != nil {
		return nil, err
	}
	return &Listing{path: filepath.Clean(path), f: f}, nil
}

// ListIn is like List, for the directory rel of an open tree, such as a generation
// whose path may lead to another one by now. It follows links that stay in the
// tree. path is the name of the tree in errors.
func ListIn(root *os.Root, rel, path string) (*Listing, error) {
	f, err := root.OpenFile(rel, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	return &Listing{path: filepath.Join(path, rel), f: f}, nil
}

// Below opens a subdirectory.
func (l *Listing) Below(name string) (*Listing, error) {
	fd, err := ignoringEINTR(func() (int, error) {
		return unix.Openat(l.fd(), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC,
			0)
	})
	if err != nil {
		return nil, l.fail("open", name, err)
	}
	path := l.path + "/" + name
	return &Listing{path: path, f: os.NewFile(uintptr(fd), path)}, nil
}

// Path returns the path with which the directory was opened.
func (l *Listing) Path() string { return l.path }

// Close closes the directory.
func (l *Listing) Close() error { return l.f.Close() }

func (l *Listing) fd() int { return int(l.f.Fd()) }

func (l *Listing) fail(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: filepath.Join(l.path, name), Err: err}
}

// Remove removes a name that is not a directory.
func (l *Listing) Remove(name string) error { return l.fail("remove", name, unlinkat(l.fd(), name, 0)) }

// RemoveDir removes an empty directory.
func (l *Listing) RemoveDir(name string) error {
	return l.fail("remove", name, unlinkat(l.fd(), name, unix.AT_REMOVEDIR))
}

// RemoveAll is like the function RemoveAll, for a name in the directory.
func (l *Listing) RemoveAll(name string) error { return removeAt(l.fd(), l.path, name) }

// Chmod changes the directory's own mode.
func (l *Listing) Chmod(mode fs.FileMode) error { return l.fail("chmod", "", l.f.Chmod(mode)) }

// Link makes a hard link to a name in the directory, with the name to in the
// directory at. It does not follow a symbolic link, but links the link itself. It is
// not durable before that directory is synced.
func (l *Listing) Link(name string, at *Listing, to string) error {
	return l.two("link", name, at, to, func(from, into int) error { return unix.Linkat(from, name, into, to, 0) })
}

// Rename moves a name to the directory at, with the name to. It is not durable
// before both directories are synced.
func (l *Listing) Rename(name string, at *Listing, to string) error {
	return l.two("rename", name, at, to, func(from, into int) error { return unix.Renameat(from, name, into, to) })
}

func (l *Listing) two(op, name string, at *Listing, to string, do func(from, into int) error) error {
	_, err := ignoringEINTR(func() (int, error) { return 0, do(l.fd(), at.fd()) })
	if err != nil {
		return &os.LinkError{Op: op, Old: filepath.Join(l.path, name), New: filepath.Join(at.path, to), Err: err}
	}
	return nil
}

// Stat returns the state of a name in the directory. It does not follow a link.
func (l *Listing) Stat(name string) (unix.Stat_t, error) {
	var st unix.Stat_t
	_, err := ignoringEINTR(func() (int, error) { return 0, unix.Fstatat(l.fd(), name, &st, unix.AT_SYMLINK_NOFOLLOW) })
	return st, l.fail("lstat", name, err)
}

// IsFolder reports whether a name is a directory, for names of kind Unknown.
func (l *Listing) IsFolder(name string) (bool, error) {
	st, err := l.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return st.Mode&unix.S_IFMT == unix.S_IFDIR, err
}

// facts is Facts for kernels that cannot report all of them.
func (l *Listing) facts() (Facts, error) {
	var st, parent unix.Stat_t
	if err := unix.Fstat(l.fd(), &st); err != nil {
		return Facts{}, l.fail("stat", "", err)
	}
	f := Facts{Dev: uint64(st.Dev), UID: st.Uid, Mode: Permissions(uint32(st.Mode))}
	f.Mounted = unix.Fstatat(l.fd(), "..", &parent, unix.AT_SYMLINK_NOFOLLOW) == nil && parent.Dev != st.Dev
	return f, nil
}

// Permissions converts the permissions of a mode, as package os does.
func Permissions(mode uint32) fs.FileMode {
	m := fs.FileMode(mode & 0o777)
	for _, bit := range []struct {
		unix uint32
		mode fs.FileMode
	}{{unix.S_ISUID, fs.ModeSetuid}, {unix.S_ISGID, fs.ModeSetgid}, {unix.S_ISVTX, fs.ModeSticky}} {
		if mode&bit.unix != 0 {
			m |= bit.mode
		}
	}
	return m
}
