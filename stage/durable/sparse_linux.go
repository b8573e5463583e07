package durable

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// nextPiece returns where data begins, at or after off. If that is off itself, it
// also returns where the next hole begins. After the last data, data is the end of
// the file; at the end of the file both results are off.
func nextPiece(f *os.File, off int64) (data, hole int64, err error) {
	data, err = unix.Seek(int(f.Fd()), off, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) { // there is no more data
		fi, err := f.Stat()
		if err != nil {
			return 0, 0, err
		}
		return max(off, fi.Size()), off, nil
	}
	if err != nil || data > off {
		return data, off, err
	}
	hole, err = unix.Seek(int(f.Fd()), off, unix.SEEK_HOLE)
	return data, hole, err
}
