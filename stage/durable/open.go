package durable

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
)

// ErrNotRegular is returned for a path that is not a regular file, or no longer is
// the file that was checked before.
var ErrNotRegular = errors.New("is not a regular file")

// ErrTooLong is returned for input that exceeds its limit.
var ErrTooLong = errors.New("is too long")

// safe are flags to open a path that another user may have replaced by anything.
// With them open does not follow a link, and does not block on a pipe.
const safe = syscall.O_NOFOLLOW | syscall.O_NONBLOCK

// Open opens the regular file at path for reading. The error is ErrNotRegular if
// path is a link, a pipe, a device or a folder; it does not block on any of them.
func Open(path string) (*os.File, error) { return open(path, os.O_RDONLY|safe) }

// OpenNamed is like Open, for a file that a person named: it follows a link.
func OpenNamed(path string) (*os.File, error) { return open(path, os.O_RDONLY|syscall.O_NONBLOCK) }

// OpenAppend is like Open, but opens the existing file for reading and appending.
func OpenAppend(path string) (*os.File, error) { return open(path, os.O_RDWR|os.O_APPEND|safe) }

func open(path string, flag int) (*os.File, error) {
	f, err := os.OpenFile(path, flag, 0)
	if errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.ENXIO) || errors.Is(err, syscall.EISDIR) {
		// A link, a socket, a pipe that nobody reads, a folder to write to.
		err = fmt.Errorf("%s: %w", path, ErrNotRegular)
	}
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = fmt.Errorf("%s: %w", path, ErrNotRegular)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// OpenLog opens the file at path, which a person named, for appending, and makes it if it
// is missing. It follows a link.
func OpenLog(path string, mode os.FileMode) (*os.File, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NONBLOCK, mode)
}

// Create makes a new file at path and opens it; see Give. Only its owner can access
// it, until the caller changes its mode. The error is fs.ErrExist if anything is at
// path, even a dangling link.
func Create(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		Give(path)
	}
	return f, err
}

// ReadFile reads the file at path, which it opens with Open. It fails with
// ErrTooLong if the file has more than limit bytes.
func ReadFile(path string, limit int64) ([]byte, error) {
	f, err := Open(path)
	if err != nil {
		return nil, err
	}
	data, err := ReadBounded(f, limit)
	if errors.Is(err, ErrTooLong) {
		err = fmt.Errorf("%s: %w", path, err)
	}
	return data, errors.Join(err, f.Close())
}

// ReadText is like ReadFile, but returns a string, without a second copy of it.
func ReadText(path string, limit int64) (string, error) {
	f, err := Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return "", err
	}
	var text strings.Builder
	if size := fi.Size(); size <= limit {
		text.Grow(int(size))
		_, err = io.Copy(&text, io.LimitReader(f, limit+1))
	}
	if err == nil && (fi.Size() > limit || int64(text.Len()) > limit) {
		err = fmt.Errorf("%s: %w: more than %d bytes", path, ErrTooLong, limit)
	}
	return text.String(), err
}

// ReadBounded reads all of r. It fails with ErrTooLong if that is more than limit
// bytes. For a regular file it allocates memory once, by the size of the file.
func ReadBounded(r io.Reader, limit int64) ([]byte, error) {
	tooLong := fmt.Errorf("%w: more than %d bytes", ErrTooLong, limit)
	size := int64(512)
	if f, ok := r.(*os.File); ok {
		if fi, err := f.Stat(); err == nil && fi.Mode().IsRegular() {
			if size = fi.Size() + 1; size > limit+1 {
				return nil, tooLong
			}
		}
	}
	data := make([]byte, 0, max(size, 512))
	for {
		n, err := r.Read(data[len(data):cap(data)])
		data = data[:len(data)+n]
		switch {
		case int64(len(data)) > limit:
			return data, tooLong
		case errors.Is(err, io.EOF):
			return data, nil
		case err != nil:
			return data, err
		}
		if len(data) == cap(data) {
			data = append(data, 0)[:len(data)]
		}
	}
}

// OpenDir opens the directory at path. It does not follow a link there.
func OpenDir(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|syscall.O_DIRECTORY|safe, 0)
}

// OpenDirNamed is like OpenDir, for a directory that a person named: it follows a
// link.
func OpenDirNamed(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NONBLOCK, 0)
}
