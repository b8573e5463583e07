package durable

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// nextPiece returns where the next data at or behind off begins, and where the
// hole behind off begins. Behind the last data that is the end of the file;
// both are off at the end itself.
func nextPiece(f *os.File, off int64) (data, hole int64, err error) {
	data, err = unix.Seek(int(f.Fd()), off, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) { // there is none
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
