package durable

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Direct writes a new file without the page cache (O_DIRECT). That is several times
// faster for a large file that is written once and then synced. It makes nothing
// durable.
type Direct struct {
	f      *os.File
	direct bool
}

// NewDirect prepares f for direct writes from its end on, which is at a multiple of
// DirectAlign. It returns ErrUnsupported if the file system does not support them.
func NewDirect(f *os.File) (*Direct, error) {
	d := &Direct{f: f}
	if err := d.set(unix.O_DIRECT); err != nil {
		return nil, ErrUnsupported
	}
	d.direct = true
	return d, nil
}

// Write appends p. If p is not aligned, for example at the end of a file, this and
// all later writes go through the page cache.
func (d *Direct) Write(p []byte) (int, error) {
	if d.direct && (len(p)%DirectAlign != 0 || address(p)%DirectAlign != 0) {
		if err := d.End(); err != nil {
			return 0, err
		}
	}
	n, err := d.f.Write(p)
	if d.direct && errors.Is(err, unix.EINVAL) {
		// The file system needs a larger alignment; or the disk is full, and a
		// partial write left a rest that is not aligned.
		if err := d.End(); err != nil {
			return n, err
		}
		m, err := d.f.Write(p[n:])
		return n + m, err
	}
	return n, err
}

// End ends direct writing. Call it before using the file in any other way.
func (d *Direct) End() error {
	if !d.direct {
		return nil
	}
	d.direct = false
	return d.set(0)
}

// set sets or clears the flag O_DIRECT.
func (d *Direct) set(flag int) error {
	fd := d.f.Fd()
	flags, err := unix.FcntlInt(fd, unix.F_GETFL, 0)
	if err == nil {
		_, err = unix.FcntlInt(fd, unix.F_SETFL, flags&^unix.O_DIRECT|flag)
	}
	if err != nil {
		return &os.PathError{Op: "fcntl", Path: d.f.Name(), Err: err}
	}
	return nil
}

// askHuge asks for huge pages for b, which is aligned. Without them it works too.
func askHuge(b []byte) { _ = unix.Madvise(b, unix.MADV_HUGEPAGE) }
