//go:build !linux

package durable

import (
	"io"
	"io/fs"
)

// WriteNameless is WriteWith where files without names are not to be had.
func WriteNameless(path string, mode fs.FileMode, f func(io.Writer) error) error {
	return WriteWith(path, mode, f)
}
