package durable

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Dir is an open directory of a tree that others write to. A change to a name is
// made in this directory, even if somebody puts a link into the place of a folder
// meanwhile.
type Dir struct {
	path string
	root *os.Root
	f    *os.File // the same directory
}

var errNoFolder = errors.New("is not a directory, and a link is not followed")

// OpenBelow opens the directory rel, which may be ".", of the tree at root. No
// link below root is followed. Close it after use.
func OpenBelow(root, rel string) (*Dir, error) {
	return walk(root, rel, func(d *Dir, name string) error { return d.fail("open", name, fs.ErrNotExist) })
}

// MakeBelow is OpenBelow that makes what is missing, as MkdirAll does. With sync
// it makes each new name durable.
func MakeBelow(root, rel string, mode fs.FileMode, sync bool) (*Dir, error) {
	return walk(root, rel, func(d *Dir, name string) error {
		if err := d.root.Mkdir(name, mode.Perm()); err != nil {
			return d.fail("mkdir", name, err)
		}
		d.Give(name)
		made, err := d.open(name)
		if err != nil {
			return err
		}
		if err = errors.Join(made.Chmod(mode), made.Close()); err != nil || !sync {
			return err
		}
		return d.Sync()
	})
}

// walk opens one folder after the other, and calls missing for those that are
// not there.
func walk(root, rel string, missing func(d *Dir, name string) error) (*Dir, error) {
	r, err := os.OpenRoot(root)
	if err != nil {
		return nil, err
	}
	d, err := opened(r, root)
	if err != nil {
		return nil, err
	}
	return d.walk(rel, missing)
}

// Below is OpenBelow for a directory that is open.
func (d *Dir) Below(rel string) (*Dir, error) {
	r, err := d.root.OpenRoot(".")
	if err != nil {
		return nil, d.fail("open", ".", err)
	}
	top, err := opened(r, d.path)
	if err != nil {
		return nil, err
	}
	return top.walk(rel, func(d *Dir, name string) error { return d.fail("open", name, fs.ErrNotExist) })
}

// walk goes down from d, which it closes.
func (d *Dir) walk(rel string, missing func(d *Dir, name string) error) (*Dir, error) {
	var err error
	for name := range strings.SplitSeq(filepath.Clean(rel), string(filepath.Separator)) {
		if err != nil || name == "." {
			break
		}
		var next *Dir
		next, err = d.open(name)
		if errors.Is(err, fs.ErrNotExist) {
			if err = missing(d, name); err == nil || errors.Is(err, fs.ErrExist) {
				next, err = d.open(name)
			}
		}
		_ = d.Close() // nothing was written through it
		d = next
	}
	if err != nil {
		return nil, err
	}
	return d, nil
}

func opened(r *os.Root, path string) (*Dir, error) {
	f, err := r.Open(".")
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return &Dir{path: path, root: r, f: f}, nil
}

// open opens a folder. An os.Root follows links that stay inside, so this looks
// first, and afterwards whether that is what it got.
func (d *Dir) open(name string) (*Dir, error) {
	before, err := d.root.Lstat(name)
	if err == nil && !before.IsDir() {
		err = errNoFolder
	}
	if err != nil {
		return nil, d.fail("open", name, err)
	}
	r, err := d.root.OpenRoot(name)
	if err != nil {
		return nil, d.fail("open", name, err)
	}
	next, err := opened(r, filepath.Join(d.path, name))
	if err != nil {
		return nil, err
	}
	fi, err := next.f.Stat()
	if err == nil && !os.SameFile(fi, before) {
		err = errNoFolder
	}
	if err != nil {
		return nil, errors.Join(d.fail("open", name, err), next.Close())
	}
	return next, nil
}

// fail returns an error with the full path that it is about.
func (d *Dir) fail(op, name string, err error) error {
	if err == nil {
		return nil
	}
	if at := new(fs.PathError); errors.As(err, &at) {
		err = at.Err
	}
	return &fs.PathError{Op: op, Path: filepath.Join(d.path, name), Err: err}
}

// Close closes the directory.
func (d *Dir) Close() error { return errors.Join(d.f.Close(), d.root.Close()) }

// Path returns the path with which the directory was opened.
func (d *Dir) Path() string { return d.path }

// Root gives access to what is in the directory.
func (d *Dir) Root() *os.Root { return d.root }

// Sync makes the names in the directory durable.
func (d *Dir) Sync() error { return d.fail("sync", ".", d.f.Sync()) }

// Chmod changes the directory's own mode.
func (d *Dir) Chmod(mode fs.FileMode) error { return d.fail("chmod", ".", d.f.Chmod(mode)) }

// Lstat is os.Lstat of a name in the directory.
func (d *Dir) Lstat(name string) (fs.FileInfo, error) {
	fi, err := d.root.Lstat(name)
	return fi, d.fail("lstat", name, err)
}

// Remove is os.Remove of a name in the directory.
func (d *Dir) Remove(name string) error { return d.fail("remove", name, d.root.Remove(name)) }

// RemoveAll is the function RemoveAll for a name in the directory.
func (d *Dir) RemoveAll(name string) error { return removeAt(int(d.f.Fd()), d.path, name) }

// Names lists the directory, sorted.
func (d *Dir) Names() ([]string, error) {
	f, err := d.root.Open(".") // from the first name on
	if err != nil {
		return nil, d.fail("open", ".", err)
	}
	names, err := f.Readdirnames(-1)
	slices.Sort(names)
	return names, errors.Join(err, f.Close())
}

// Create is the function Create for a name in the directory.
func (d *Dir) Create(name string) (*os.File, error) {
	f, err := d.root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		d.Give(name)
	}
	return f, d.fail("open", name, err)
}

// OpenAppend opens a name in the directory, which may not be there, for reading
// and for appending.
func (d *Dir) OpenAppend(name string) (*os.File, error) {
	f, err := d.root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_APPEND|safe, 0o600)
	if err == nil {
		d.Give(name)
	}
	return f, d.fail("open", name, err)
}

// MkdirTemp makes a new directory, of its owner alone, whose name begins with
// prefix, and opens it.
func (d *Dir) MkdirTemp(prefix string) (name string, made *Dir, err error) {
	for {
		name = prefix + rand.Text()[:12]
		if err = d.root.Mkdir(name, 0o700); err == nil {
			break
		}
		if !errors.Is(err, fs.ErrExist) {
			return "", nil, d.fail("mkdir", name, err)
		}
	}
	d.Give(name)
	made, err = d.open(name)
	return name, made, err
}

// Symlink is the function Symlink for a name in the directory.
func (d *Dir) Symlink(text, name string) error {
	err := d.root.Symlink(text, name)
	if err == nil {
		d.Give(name)
	}
	return d.fail("symlink", name, err)
}

// Give is the function Give for a name in the directory.
func (d *Dir) Give(name string) {
	if os.Geteuid() != 0 {
		return
	}
	fi, err := d.f.Stat()
	if err != nil {
		return
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok && st.Uid != 0 {
		give(int(d.f.Fd()), name, int(st.Uid), int(st.Gid))
	}
}

// Rename is os.Rename of a name in the directory to one in the directory to. Not
// durable before both are synced.
func (d *Dir) Rename(name string, to *Dir, as string) error {
	return d.two("rename", name, to, as, func(from, into int) error { return unix.Renameat(from, name, into, as) })
}

// Link is os.Link, as Rename is os.Rename.
func (d *Dir) Link(name string, to *Dir, as string) error {
	return d.two("link", name, to, as, func(from, into int) error { return unix.Linkat(from, name, into, as, 0) })
}

// LinkFrom makes a hard link, in the directory, to the file at path. It follows
// no link at the end of path.
func (d *Dir) LinkFrom(path, as string) error {
	_, err := ignoringEINTR(func() (int, error) { return 0, unix.Linkat(unix.AT_FDCWD, path, int(d.f.Fd()), as, 0) })
	if err != nil {
		return &os.LinkError{Op: "link", Old: path, New: filepath.Join(d.path, as), Err: err}
	}
	return nil
}

// RenameNew is the function RenameNew, as Rename is os.Rename.
func (d *Dir) RenameNew(name string, to *Dir, as string) error {
	err := d.two("rename", name, to, as, func(from, into int) error { return renameNewAt(from, name, into, as) })
	if !errors.Is(err, ErrUnsupported) {
		return err
	}
	if _, lerr := to.root.Lstat(as); lerr == nil {
		return &os.LinkError{Op: "rename", Old: filepath.Join(d.path, name), New: filepath.Join(to.path, as),
			Err: unix.EEXIST}
	}
	return d.Rename(name, to, as)
}

func (d *Dir) two(op, name string, to *Dir, as string, do func(from, into int) error) error {
	_, err := ignoringEINTR(func() (int, error) { return 0, do(int(d.f.Fd()), int(to.f.Fd())) })
	if err != nil {
		return &os.LinkError{Op: op, Old: filepath.Join(d.path, name), New: filepath.Join(to.path, as), Err: err}
	}
	return nil
}
