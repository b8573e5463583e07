// Package durable is like package os, for data that must survive a power cut.
//
// Tests of power cuts on ext4, XFS and btrfs showed three facts. If a file is
// renamed before it is synced, the new name may have an empty file. If the
// directory is not synced, the rename may be undone. And the error of a sync is
// reported only once. So each function here that promises durability lists its
// system calls in order. None of them repeats a failed sync: the caller must
// discard what it wrote.
//
// The order for one file is: write, fsync the file, rename or link it into place
// (from here on readers see it), fsync the directory (from here on a power cut
// cannot undo it). For many files, a Batch does both syncs for all of them.
package durable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/google/renameio/v2"
)

// ErrUnsupported is returned if the file system or the kernel does not support an
// operation, such as exchanging two directories on NFS.
var ErrUnsupported = errors.New("not supported by this file system")

// WriteFile writes data to path atomically and durably, and replaces an existing
// file. The mode is exact: neither the umask nor the mode of the old file matters.
//
// Calls: open(temporary file beside path), fchmod, write, fsync, rename,
// fsync(directory). If it fails before the rename, path is unchanged.
func WriteFile(path string, data []byte, mode fs.FileMode) error {
	return WriteDated(path, data, mode, time.Time{})
}

// WriteDated is like WriteFile, and sets the modification time before the rename;
// zero means the current time.
func WriteDated(path string, data []byte, mode fs.FileMode, modified time.Time) error {
	return write(path, mode, modified, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// WriteCopy is like WriteFile, but syncs nothing: after a power cut path may be missing, or have
// other bytes. It is for copies that can be made again, and carry a checksum.
//
// Calls: open(temporary file beside path), fchmod, write, rename.
func WriteCopy(path string, data []byte, mode fs.FileMode) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path))
	if err != nil {
		return err
	}
	if err = f.Chmod(mode); err == nil {
		Give(f.Name())
		_, err = f.Write(data)
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// WriteWith is like WriteFile, with the data that f writes. If f fails, path is
// unchanged.
func WriteWith(path string, mode fs.FileMode, f func(io.Writer) error) error {
	return write(path, mode, time.Time{}, f)
}

// SweepPending removes what a killed WriteFile of path left beside it. Nobody
// may be writing path.
func SweepPending(path string) error {
	list, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return err
	}
	for _, d := range list {
		random, ok := strings.CutPrefix(d.Name(), "."+filepath.Base(path))
		if _, err := strconv.ParseUint(random, 10, 64); !ok || err != nil || !d.Type().IsRegular() {
			continue
		}
		err := os.Remove(filepath.Join(filepath.Dir(path), d.Name()))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func write(path string, mode fs.FileMode, modified time.Time, data func(io.Writer) error) error {
	f, err := renameio.NewPendingFile(path, renameio.WithTempDir(filepath.Dir(path)))
	if err != nil {
		return err
	}
	defer f.Cleanup()
	// Not by an option: NewPendingFile leaves the file where that fails.
	if err := f.Chmod(mode); err != nil {
		return err
	}
	Give(f.Name())
	if err := data(f); err != nil {
		return err
	}
	if !modified.IsZero() {
		if err := os.Chtimes(f.Name(), time.Time{}, modified); err != nil {
			return err
		}
	}
	if err := f.CloseAtomicallyReplace(); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// AppendLine appends one line, with its newline, to the existing file at path, and
// syncs it: open(O_APPEND), write, fsync. A power cut or a crash in between leaves a
// torn last line, which the reader must cut off.
func AppendLine(path string, line []byte) error {
	f, err := OpenAppend(path)
	if err != nil {
		return err
	}
	_, err = f.Write(line)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// Truncate truncates the file at path to size bytes and syncs it.
func Truncate(path string, size int64) error {
	f, err := open(path, os.O_WRONLY|safe)
	if err != nil {
		return err
	}
	err = f.Truncate(size)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// SyncDir makes the names in a directory durable. Without it, a power cut may undo
// the creation, renaming or removal of a name (it does on btrfs).
func SyncDir(dir string) error { return syncPath(dir) }

// SyncFile makes the data of a file durable, even if it was written through
// another descriptor.
func SyncFile(path string) error { return syncPath(path) }

func syncPath(path string) error {
	f, err := openAny(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// openAny opens a file or a directory to sync it. It must not block on a pipe, which
// any user with write access to staging could put there.
func openAny(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
}

// MkdirAll makes the missing directories of path. Their mode is exact: the umask
// does not apply. Existing directories keep their modes. The new names are not
// durable before the parents are synced.
func MkdirAll(path string, mode fs.FileMode) error {
	switch err := os.Mkdir(path, mode.Perm()); {
	case err == nil:
		Give(path)
		return os.Chmod(path, mode)
	case errors.Is(err, fs.ErrExist):
		fi, err := os.Stat(path)
		if err == nil && !fi.IsDir() {
			err = &fs.PathError{Op: "mkdir", Path: path, Err: errors.New("a file stands there, not a directory")}
		}
		return err
	case errors.Is(err, fs.ErrNotExist):
		if err := MkdirAll(filepath.Dir(path), mode); err != nil {
			return err
		}
		return MkdirAll(path, mode)
	default:
		return err
	}
}

// ProbeExchange tests whether two directories can be exchanged between the
// directories a and b, which may be on different mounts. It makes temporary
// directories with the prefix there, exchanges them, and removes them; see
// SweepProbes. The error wraps ErrUnsupported if the exchange does not work; other
// errors mean that the test failed.
func ProbeExchange(a, b, prefix string) error {
	x, err := MkdirTemp(a, prefix)
	if err != nil {
		return err
	}
	defer os.RemoveAll(x)
	y, err := MkdirTemp(b, prefix)
	if err != nil {
		return err
	}
	defer os.RemoveAll(y)
	if err := os.Mkdir(filepath.Join(x, "x"), 0o700); err != nil {
		return err
	}
	if err := Exchange(x, y); err != nil {
		return err
	}
	// Old network file systems silently ignored the flag, so check the result.
	if _, err := os.Lstat(filepath.Join(y, "x")); err != nil {
		return fmt.Errorf("%s: %w: exchanging two directories there changes nothing", b, ErrUnsupported)
	}
	return nil
}

// SweepProbes removes directories that a killed ProbeExchange left in dir. It calls
// left for those that it cannot remove.
func SweepProbes(dir, prefix string, left func(path string, err error)) error {
	list, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, d := range list {
		if strings.HasPrefix(d.Name(), prefix) && d.IsDir() {
			_ = os.Remove(filepath.Join(dir, d.Name(), "x"))
			if err := os.Remove(filepath.Join(dir, d.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
				left(filepath.Join(dir, d.Name()), err)
			}
		}
	}
	return nil
}
