package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Listing is a directory that is open to be listed, compared and emptied. One
// system call opens it, where a Dir takes five: that counts in a tree with a
// directory for each of its files. Nothing is done through a path, and no link is
// followed.
type Listing struct {
	path string
	f    *os.File
}

// Name is one name in a directory, as the directory has it.
type Name struct {
	Text []byte // valid until the next one
	Ino  uint64 // see Exact
	Kind Kind
}

// Kind is what a directory says of a name.
type Kind uint8

const (
	// Unknown needs a stat: not every file system keeps the kind.
	Unknown Kind = iota
	// Folder is a directory.
	Folder
	// Leaf is anything else.
	Leaf
)

// Facts are what a tree that is to be written to needs to know of a directory.
type Facts struct {
	Dev     uint64
	UID     uint32
	Mode    fs.FileMode // permissions, with the sticky and set-id bits
	Mounted bool        // something is mounted here, or it is another file system than its parent's
	Fixed   bool        // immutable or append-only: no name in it can change
}

// List opens the directory at path; a link at its end is not followed.
func List(path string) (*Listing, error) {
	f, err := OpenDir(path)
	if err != nil {
		return nil, err
	}
	return &Listing{path: filepath.Clean(path), f: f}, nil
}

// ListNamed is List for a directory that a person named: a link is followed.
func ListNamed(path string) (*Listing, error) {
	f, err := OpenDirNamed(path)
	if err != nil {
		return nil, err
	}
	return &Listing{path: filepath.Clean(path), f: f}, nil
}

// ListIn is List for the directory rel of a tree that is open, such as a
// generation whose name may mean another one by now. Links that stay in the tree
// are followed. path is what errors call the tree.
func ListIn(root *os.Root, rel, path string) (*Listing, error) {
	f, err := root.OpenFile(rel, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	return &Listing{path: filepath.Join(path, rel), f: f}, nil
}

// Below opens a directory in this one.
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

// Close closes it.
func (l *Listing) Close() error { return l.f.Close() }

func (l *Listing) fd() int { return int(l.f.Fd()) }

func (l *Listing) fail(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: filepath.Join(l.path, name), Err: err}
}

// Remove removes a name that is no directory.
func (l *Listing) Remove(name string) error { return l.fail("remove", name, unlinkat(l.fd(), name, 0)) }

// RemoveDir removes a directory that is empty.
func (l *Listing) RemoveDir(name string) error {
	return l.fail("remove", name, unlinkat(l.fd(), name, unix.AT_REMOVEDIR))
}

// RemoveAll is the function RemoveAll for a name in the directory.
func (l *Listing) RemoveAll(name string) error { return removeAt(l.fd(), l.path, name) }

// Chmod changes the directory's own mode.
func (l *Listing) Chmod(mode fs.FileMode) error { return l.fail("chmod", "", l.f.Chmod(mode)) }

// Link makes a hard link to a name in the directory, as name to in the directory
// at: of a symbolic link to the link itself. Not durable before that directory is
// synced.
func (l *Listing) Link(name string, at *Listing, to string) error {
	return l.two("link", name, at, to, func(from, into int) error { return unix.Linkat(from, name, into, to, 0) })
}

// Rename moves a name to the directory at, as name to. Not durable before both
// are synced.
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

// Stat looks at a name in the directory.
func (l *Listing) Stat(name string) (unix.Stat_t, error) {
	var st unix.Stat_t
	_, err := ignoringEINTR(func() (int, error) { return 0, unix.Fstatat(l.fd(), name, &st, unix.AT_SYMLINK_NOFOLLOW) })
	return st, l.fail("lstat", name, err)
}

// IsFolder answers where Each does not know.
func (l *Listing) IsFolder(name string) (bool, error) {
	st, err := l.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return st.Mode&unix.S_IFMT == unix.S_IFDIR, err
}

// facts is Facts without what only some kernels report.
func (l *Listing) facts() (Facts, error) {
	var st, parent unix.Stat_t
	if err := unix.Fstat(l.fd(), &st); err != nil {
		return Facts{}, l.fail("stat", "", err)
	}
	f := Facts{Dev: uint64(st.Dev), UID: st.Uid, Mode: permissions(uint32(st.Mode))}
	f.Mounted = unix.Fstatat(l.fd(), "..", &parent, unix.AT_SYMLINK_NOFOLLOW) == nil && parent.Dev != st.Dev
	return f, nil
}

// permissions is what package os makes of the permissions of a mode.
func permissions(mode uint32) fs.FileMode {
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
