package simplestreams

import (
	"io/fs"
	"time"

	"example.com/publish/stage/catalog"
)

// Expires is the expiry_date that the image's own metadata tells: no catalog
// carries it. The metadata is the first of an image's files.
func (Format) Expires(fsys fs.FS, i catalog.Image) (time.Time, error) {
	if len(i.Paths) == 0 {
		return time.Time{}, nil
	}
	f, err := fsys.Open(i.Paths[0])
	if err != nil {
		return time.Time{}, err
	}
	defer f.Close()
	m, err := ReadMetadata(f)
	if err != nil {
		return time.Time{}, &fs.PathError{Op: "read", Path: i.Paths[0], Err: err}
	}
	return m.Expires, nil
}
