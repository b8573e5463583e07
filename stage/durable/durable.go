// Package durable is package os for state that must survive a power cut.
//
// What is on disk after a cut was measured on ext4, XFS and btrfs: a rename
// whose file was not synced first leaves an empty file under the new name, a
// rename whose directory was not synced may be undone, and an error of a flush
// is reported once and never again. So every function here that promises
// durability lists its system calls in order, and none retries a flush that
// failed: the caller discards what it wrote.
//
// The order for one file is: write, fsync the file, rename or link it into
// place (from here readers see it), fsync the directory (from here a cut
// cannot undo it). For many files a Batch does the two flushes at once.
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

// ErrUnsupported is returned where the file system or the kernel cannot do
// what was asked, such as exchanging two directories on NFS.
var ErrUnsupported = errors.New("not supported by this file system")

// WriteFile writes data to path atomically and durably, with exactly this
// mode, whatever the umask and whatever stood there before.
//
// Calls: open(temporary file beside path), fchmod, write, fsync, rename,
// fsync(directory). When it fails before the rename, path is as it was.
func WriteFile(path string, data []byte, mode fs.FileMode) error {
	return WriteDated(path, data, mode, time.Time{})
}

// WriteDated is WriteFile for a file that has a modification time from the
// moment that it is there; a zero time is the clock's.
func WriteDated(path string, data []byte, mode fs.FileMode, modified time.Time) error {
	return write(path, mode, modified, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// WriteWith is WriteFile with what f writes, in pieces, as the data. When f
// fails, path is as it was.
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
		if err := os.Remove(filepath.Join(filepath.Dir(path), d.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
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

// AppendLine appends one line, newline included, to the file at path, which
// exists, and flushes it: open(O_APPEND), write, fdatasync. A cut or a crash
// midway leaves a torn last line, which the reader has to cut off.
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

// Truncate cuts the file at path to size bytes and flushes it.
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

// SyncDir makes the names in a directory durable. Without it a created,
// renamed or removed name may be undone by a power cut (btrfs does).
func SyncDir(dir string) error { return syncPath(dir) }

// SyncFile makes the data of a file durable, through whatever descriptor it
// was written.
func SyncFile(path string) error { return syncPath(path) }

func syncPath(path string) error {
	f, err := openAny(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// openAny opens a file or a directory to flush it. A user who may write to
// staging can put a pipe there: it must not block.
func openAny(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
}

// MkdirAll makes the directories of path that are missing, each with exactly
// this mode whatever the umask, and leaves those that exist as they are. It is
// not durable before the parents are synced.
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

// ProbeExchange finds out by doing it whether two directories can be
// exchanged between a and b, which are directories on the same or on two
// mounts. What it makes there for that, under names that begin with prefix, it
// removes; see SweepProbes. It returns an error that is ErrUnsupported, or the
// plain failure of making the probe.
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
	// Old network file systems ignored the flag in silence: look.
	if _, err := os.Lstat(filepath.Join(y, "x")); err != nil {
		return fmt.Errorf("%s: %w: exchanging two directories there changes nothing", b, ErrUnsupported)
	}
	return nil
}

// SweepProbes removes what a killed ProbeExchange left in dir. It calls left for
// what it cannot remove.
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
