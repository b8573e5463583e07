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

// Dir is an open directory of a tree that others write to. All its methods work in
// this directory, even if somebody replaces it or one of its parents by a link.
type Dir struct {
	path string
	root *os.Root
	f    *os.File // the same directory
}

var errNoFolder = errors.New("is not a directory, and a link is not followed")

// OpenBelow opens the directory rel, which may be ".", of the tree at root. It does
// not follow links below root. Close it after use.
func OpenBelow(root, rel string) (*Dir, error) {
	return walk(root, rel, func(d *Dir, name string) error { return d.fail("open", name, fs.ErrNotExist) })
}

// MakeBelow is like OpenBelow, but makes missing directories, as MkdirAll does.
// With sync it makes each new name durable.
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

// walk opens the directories of a path one after the other, and calls missing for
// each that does not exist.
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

// Below is like OpenBelow, from an open directory.
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

// open opens a subdirectory. An os.Root follows links that stay inside. So open
// checks before that the name is a directory, and afterwards that it opened the
// same one.
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

// fail returns an error with the full path of a name.
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

// Root returns the directory as an os.Root.
func (d *Dir) Root() *os.Root { return d.root }

// Sync makes the names in the directory durable.
func (d *Dir) Sync() error { return d.fail("sync", ".", d.f.Sync()) }

// Chmod changes the directory's own mode.
func (d *Dir) Chmod(mode fs.FileMode) error { return d.fail("chmod", ".", d.f.Chmod(mode)) }

// Lstat is like os.Lstat, for a name in the directory.
func (d *Dir) Lstat(name string) (fs.FileInfo, error) {
	fi, err := d.root.Lstat(name)
	return fi, d.fail("lstat", name, err)
}

// Remove is like os.Remove, for a name in the directory.
func (d *Dir) Remove(name string) error { return d.fail("remove", name, d.root.Remove(name)) }

// RemoveAll is like the function RemoveAll, for a name in the directory.
func (d *Dir) RemoveAll(name string) error { return removeAt(int(d.f.Fd()), d.path, name) }

// Names lists the directory, sorted.
func (d *Dir) Names() ([]string, error) {
	f, err := d.root.Open(".") // a new descriptor starts at the first name
	if err != nil {
		return nil, d.fail("open", ".", err)
	}
	names, err := f.Readdirnames(-1)
	slices.Sort(names)
	return names, errors.Join(err, f.Close())
}

// Create is like the function Create, for a name in the directory.
func (d *Dir) Create(name string) (*os.File, error) {
	f, err := d.root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		d.Give(name)
	}
	return f, d.fail("open", name, err)
}

// OpenAppend opens a file in the directory for reading and appending. It creates a
// missing file.
func (d *Dir) OpenAppend(name string) (*os.File, error) {
	f, err := d.root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_APPEND|safe, 0o600)
	if err == nil {
		d.Give(name)
	}
	return f, d.fail("open", name, err)
}

// MkdirTemp makes a new directory, with access only for its owner and a name that
// begins with prefix, and opens it.
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

// Symlink is like the function Symlink, for a name in the directory.
func (d *Dir) Symlink(text, name string) error {
	err := d.root.Symlink(text, name)
	if err == nil {
		d.Give(name)
	}
	return d.fail("symlink", name, err)
}

// Give is like the function Give, for a name in the directory.
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

// Rename renames a name in the directory to the name as in the directory to. It is
// not durable before both directories are synced.
func (d *Dir) Rename(name string, to *Dir, as string) error {
	return d.two("rename", name, to, as, func(from, into int) error { return unix.Renameat(from, name, into, as) })
}

// Link makes a hard link to a name in the directory, with the name as in the
// directory to.
func (d *Dir) Link(name string, to *Dir, as string) error {
	return d.two("link", name, to, as, func(from, into int) error { return unix.Linkat(from, name, into, as, 0) })
}

// LinkFrom makes a hard link in the directory to the file at path. It does not
// follow a symbolic link at path.
func (d *Dir) LinkFrom(path, as string) error {
	_, err := ignoringEINTR(func() (int, error) { return 0, unix.Linkat(unix.AT_FDCWD, path, int(d.f.Fd()), as, 0) })
	if err != nil {
		return &os.LinkError{Op: "link", Old: path, New: filepath.Join(d.path, as), Err: err}
	}
	return nil
}

// RenameNew is like Rename, but fails if the new name exists: see the function
// RenameNew.
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
