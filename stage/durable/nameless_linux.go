package durable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// WriteNameless is like WriteWith, for a large file in a directory of other people:
// it leaves nothing there if the process is killed while f writes. The file has no
// name until it is complete and synced. Large blocks bypass the page cache.
//
// Calls: open(O_TMPFILE), write, fchmod, fsync, linkat, fsync(directory). If path
// exists, linkat makes a name beside it, which is renamed to path. On a file system
// without O_TMPFILE it is WriteWith.
func WriteNameless(path string, mode fs.FileMode, f func(io.Writer) error) error {
	dir := filepath.Dir(path)
	if _, err := os.Lstat(descriptors); err != nil { // without it the file could not get a name
		return WriteWith(path, mode, f)
	}
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	switch {
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EISDIR), errors.Is(err, unix.EINVAL):
		return WriteWith(path, mode, f)
	case err != nil:
		return &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	file := os.NewFile(uintptr(fd), path)
	defer file.Close()
	w := &blockWriter{f: file}
	if err := f(w); err != nil {
		return err
	}
	if err := w.end(); err != nil {
		return err
	}
	if err := file.Chmod(mode); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	if err := name(file, path); err != nil {
		return err
	}
	return SyncDir(dir)
}

// descriptors is the folder of the files that this process has open.
const descriptors = "/proc/self/fd"

// name gives a file that has none a name, and replaces what has it.
func name(file *os.File, path string) error {
	link := func(to string) error {
		from := fmt.Sprint(descriptors, "/", file.Fd())
		if err := unix.Linkat(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.AT_SYMLINK_FOLLOW); err != nil {
			return &os.LinkError{Op: "link", Old: from, New: to, Err: err}
		}
		Give(to)
		return nil
	}
	err := link(path)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	beside := filepath.Join(filepath.Dir(path), fmt.Sprintf(".%s%019d", filepath.Base(path), rand.Int64()))
	if err := link(beside); err != nil {
		return err
	}
	if err := os.Rename(beside, path); err != nil {
		_ = os.Remove(beside)
		return err
	}
	return nil
}

// blockWriter writes in large blocks, past the page cache if possible.
type blockWriter struct {
	f      *os.File
	direct *Direct
	plain  bool // the file system does not support direct writes
	buf    []byte
	n      int
}

// writeBlock is the size of these blocks, in bytes.
const writeBlock = 1 << 20

func (w *blockWriter) Write(p []byte) (int, error) {
	if w.buf == nil {
		w.buf = Block(writeBlock)
	}
	done := 0
	for done < len(p) {
		n := copy(w.buf[w.n:], p[done:])
		w.n += n
		done += n
		if w.n < len(w.buf) {
			break
		}
		if err := w.flush(); err != nil {
			return done, err
		}
	}
	return done, nil
}

func (w *blockWriter) flush() error {
	if w.direct == nil && !w.plain {
		var err error
		w.direct, err = NewDirect(w.f)
		w.plain = err != nil
	}
	var err error
	if w.direct != nil {
		_, err = w.direct.Write(w.buf[:w.n])
	} else {
		_, err = w.f.Write(w.buf[:w.n])
	}
	w.n = 0
	return err
}

// end writes what is left.
func (w *blockWriter) end() error {
	if w.direct != nil {
		if err := w.direct.End(); err != nil {
			return err
		}
	}
	_, err := w.f.Write(w.buf[:w.n])
	return err
}
