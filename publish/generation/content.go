package generation

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// Content is the file of a row, open for one reader. Close it after use.
type Content struct {
	io.ReadSeekCloser // an *os.File for a file of this machine

	Modified time.Time // zero: that is not known
	// Far is what a file elsewhere has beside its bytes; nil for one of this machine.
	Far Far
}

// Far is a file that is elsewhere: its bytes are asked for when they are read.
type Far interface {
	// Expect asks for n bytes from an offset, before they are read; for 0 bytes it only
	// looks whether the file is right. So an error comes before the first byte does.
	// Other bytes may be read, too.
	Expect(from, n int64) error
	// Failed returns the error of a read that failed; nil for none.
	Failed() error
}

// Errors of files that are elsewhere.
var (
	// ErrAway says that the place where content is cannot be asked now.
	ErrAway = errors.New("cannot be asked for now")
	// ErrOther says that there is something else than the manifest says.
	ErrOther = errors.New("is not what the manifest says")
)

// Content opens the file of a row. It returns an error if the size differs from the row;
// elsewhere, that and the digest are compared at the first read, or by Far.Expect. Beside
// that the bytes are not hashed. ctx is for all of the reading.
func (v *View) Content(ctx context.Context, row tree.Row) (Content, error) {
	if v.Elsewhere != nil && v.Elsewhere.Away(row) {
		return v.Elsewhere.Open(ctx, row)
	}
	f, err := v.Open(row)
	if err != nil {
		return Content{}, err
	}
	fi, err := f.Stat()
	if err != nil {
		return Content{}, errors.Join(err, f.Close())
	}
	return Content{ReadSeekCloser: f, Modified: fi.ModTime()}, nil
}

// sparseContents has the documents of a tree here, and its content elsewhere.
type sparseContents struct {
	catalog.Source
	v *View
}

// Blob is of catalog.Source.
func (s sparseContents) Blob(path string, want catalog.Digest, limit int64) ([]byte, error) {
	row, ok := tree.Find(s.v.Own, path)
	if !ok {
		var c Carried
		c, ok = findCarried(s.v.Carried, path)
		row = c.Row
	}
	if !ok || !s.v.Elsewhere.Away(row) {
		return s.Source.Blob(path, want, limit)
	}
	if row.Size > limit {
		return nil, fmt.Errorf("%s: %w", path, catalog.ErrDigest)
	}
	c, err := s.v.Elsewhere.Open(context.Background(), row)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := c.Far.Expect(0, row.Size); err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	buf.Grow(int(row.Size) + bytes.MinRead)
	if _, err := buf.ReadFrom(io.LimitReader(c, row.Size+1)); err != nil {
		return nil, err
	}
	h, err := want.New()
	if err != nil {
		return nil, err
	}
	h.Write(buf.Bytes())
	if hex.EncodeToString(h.Sum(nil)) != want.Hex {
		return nil, &fs.PathError{Op: "read", Path: path, Err: catalog.ErrDigest}
	}
	return buf.Bytes(), nil
}
