package tree

import (
	"cmp"
	"errors"
	"io/fs"
	"path"
	"path/filepath"
	"syscall"

	"example.com/publish/stage/durable"
)

// run is a range of consecutive paths in the same directory.
type run struct{ from, to int }

func runs(n int, path func(i int) string) (runs []run) {
	last := ""
	for i := range n {
		dir := dirOf(path(i))
		if i > 0 && dir == last {
			runs[len(runs)-1].to++
			continue
		}
		runs, last = append(runs, run{i, i + 1}), dir
	}
	return runs
}

// linker makes hard links between open directories. So nobody can redirect a link
// by replacing a parent directory meanwhile. It keeps the last two directories
// open.
type linker struct {
	dst      string
	of       *Source
	from, to string // directories
	src, at  *durable.Listing
}

func (l *linker) close() {
	for _, dir := range []*durable.Listing{l.src, l.at} {
		if dir != nil {
			_ = dir.Close() // nothing was written through it
		}
	}
	l.src, l.at = nil, nil
}

func (l *linker) open(op Op) (err error) {
	from, to := path.Dir(cmp.Or(op.Name, op.Path)), path.Dir(op.Path)
	if l.src != nil && l.of == op.From && l.from == from && l.to == to {
		return nil
	}
	l.close()
	if l.at, err = durable.List(filepath.Join(l.dst, to)); err != nil {
		return err
	}
	l.of, l.from, l.to = op.From, from, to
	l.src, err = durable.ListIn(op.From.root, from, op.From.Dir)
	return err
}

// link makes the hard link of an op, or moves the file. It returns false if the
// caller must make a copy instead: the kernel protects the file of another user,
// the file has too many links, it is on another file system, or it has changed
// since it was walked. In the last case the copy reports the error.
func (l *linker) link(op Op) (bool, error) {
	err := l.open(op)
	if l.at == nil {
		return false, err
	}
	name, to := path.Base(cmp.Or(op.Name, op.Path)), path.Base(op.Path)
	switch {
	case err != nil:
	case op.How == Move:
		return true, l.src.Rename(name, l.at, to)
	default:
		err = l.src.Link(name, l.at, to)
	}
	switch {
	case err == nil:
	case op.How == Move:
		return false, err
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ELOOP),
		unlinkable(err), l.src == nil:
		return false, nil
	default:
		return false, err
	}
	if op.Stat.Ino == 0 {
		return true, nil
	}
	// The file may have been replaced since it was walked: check what was linked.
	st, err := l.at.Stat(to)
	if err != nil {
		return false, err
	}
	if statOf(&st).Same(op.Stat, true) {
		return true, nil
	}
	return false, l.at.Remove(to)
}

// unlinkable reports whether a hard link failed because the file system, or this
// file, does not allow it. Then a copy is needed. Network file systems and FUSE
// (sshfs, CIFS, rclone) have no hard links, and return different errors.
func unlinkable(err error) bool {
	for _, no := range []error{syscall.EPERM, syscall.EACCES, syscall.EMLINK, syscall.EXDEV, syscall.ENOSYS,
		syscall.EOPNOTSUPP, syscall.ENOTSUP, syscall.EINVAL} {
		if errors.Is(err, no) {
			return true
		}
	}
	return false
}
