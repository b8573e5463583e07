package durable

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// ReadSmall reads a regular file in the directory, and returns its state as it was when it
// was opened. It does not follow a link, and does not block on a pipe: the error is
// ErrNotRegular then, and ErrTooLong if the file has more than limit bytes.
func (d *Dir) ReadSmall(name string, limit int64) ([]byte, fs.FileInfo, error) {
	f, err := d.root.OpenFile(name, os.O_RDONLY|safe, 0)
	if errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.ENXIO) {
		err = ErrNotRegular
	}
	if err != nil {
		return nil, nil, d.fail("open", name, err)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = ErrNotRegular
	}
	if err != nil {
		return nil, nil, d.fail("open", name, err)
	}
	// An os.Root follows a link that stays inside, whatever the flags.
	if now, err := d.root.Lstat(name); err != nil || !os.SameFile(now, fi) {
		return nil, nil, d.fail("open", name, ErrNotRegular)
	}
	data, err := ReadBounded(f, limit)
	return data, fi, d.fail("read", name, err)
}

// WriteFile is like the function WriteFile, for a name in the directory. A kill may leave
// a file whose name begins with PendingPrefix.
//
// Calls: openat(new file), fchmod, write, fsync, renameat, fsync(directory).
func (d *Dir) WriteFile(name string, data []byte, mode fs.FileMode) error {
	pending := fmt.Sprintf("%s%s", PendingPrefix, rand.Text()[:16])
	f, err := d.Create(pending)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = d.Rename(pending, d, name)
	}
	if err != nil {
		_ = d.root.Remove(pending) // it is no use
		return err
	}
	return d.Sync()
}

// PendingPrefix begins the names of files that Dir.WriteFile has not finished.
const PendingPrefix = ".pending-"
