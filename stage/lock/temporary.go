package lock

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"syscall"

	"github.com/gofrs/flock"
)

// Temporary locks a file that exists only while somebody holds the lock or waits for
// it: it makes the file, and the returned function removes it. It is for locks of
// many short-lived things, such as jobs, whose files would otherwise pile up. A holder
// that is killed leaves the file, free to be locked. The error is that of Acquire.
//
// To remove the file is safe here and nowhere else: the holder removes it before it
// gives the lock back, and whoever gets a lock asks whether the name still leads to
// the file that is locked. If not, it begins again. So each lock of such a file must
// be taken with Temporary.
func Temporary(ctx context.Context, path string, opt Options) (unlock func(), err error) {
	l, err := named(ctx, path, opt)
	if err != nil {
		return nil, err
	}
	if os.Geteuid() == 0 {
		_ = Repair(path, Private()) // the owner of the directory may have to lock it next
	}
	return func() {
		_ = os.Remove(path) // if it stays, it stays free
		_ = l.Close()
	}, nil
}

// Itself locks a file that has something to say besides being a lock, and opens it for reading and
// appending. If the file is missing, it makes it with make; else the error is fs.ErrNotExist. The file may
// be renamed or removed at any time, also while it is locked. Its name then stands for another file, which
// somebody else may lock. Unlock gives the lock back, and so does closing the file. Other errors are those
// of Acquire.
func Itself(ctx context.Context, path string, make bool, opt Options) (f *os.File, held fs.FileInfo, err error) {
	flag := os.O_RDWR | os.O_APPEND | safe
	if make {
		flag |= os.O_CREATE
	}
	for {
		f, err := os.OpenFile(path, flag, 0o600)
		if err != nil {
			return nil, nil, err
		}
		err = try(ctx, func() (bool, error) { return tryFile(f) }, path, opt)
		ok := false
		if err == nil {
			held, ok, err = current(f, path)
		}
		if ok {
			return f, held, nil
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, nil, err
		}
	}
}

// Unlock gives back the lock of a file that Itself opened, and leaves it open.
func Unlock(f *os.File) {
	_ = flockFile(f, syscall.LOCK_UN) // closing it does the same
}

func tryFile(f *os.File) (bool, error) {
	err := flockFile(f, syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return false, nil
	}
	if err != nil {
		return false, &fs.PathError{Op: "lock", Path: f.Name(), Err: err}
	}
	return true, nil
}

func flockFile(f *os.File, how int) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	failed := c.Control(func(fd uintptr) {
		for err = syscall.EINTR; errors.Is(err, syscall.EINTR); {
			err = syscall.Flock(int(fd), how)
		}
	})
	return errors.Join(failed, err)
}

// named locks the file that path leads to when it has the lock.
func named(ctx context.Context, path string, opt Options) (l *flock.Flock, err error) {
	for {
		l := flock.New(path, flock.SetFlag(os.O_RDWR|os.O_CREATE|safe), flock.SetPermissions(0o600))
		if err := try(ctx, l.TryLock, path, opt); err != nil {
			return nil, err
		}
		_, ok, err := current(l, path)
		if err != nil {
			return nil, errors.Join(err, l.Close())
		}
		if ok {
			return l, nil
		}
		if err := l.Close(); err != nil {
			return nil, err
		}
	}
}

// current reports whether path still leads to the file that is locked. The file is
// open, so no other one has its number.
func current(l interface{ Stat() (fs.FileInfo, error) }, path string) (held fs.FileInfo, ok bool, err error) {
	held, err = l.Stat()
	if err != nil {
		return nil, false, err
	}
	if !held.Mode().IsRegular() {
		return nil, false, &fs.PathError{Op: "lock", Path: path, Err: errors.New("is not a regular file")}
	}
	now, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	return held, err == nil && os.SameFile(held, now), err
}
