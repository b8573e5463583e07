package generation

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// Row returns the row of a path, own or carried.
func (v *View) Row(path string) (tree.Row, bool) {
	if row, ok := tree.Find(v.Own, path); ok {
		return row, true
	}
	c, ok := findCarried(v.Carried, path)
	return c.Row, ok
}

// CopyOut writes the file of a row to w, and hashes it meanwhile. What is elsewhere
// is asked for once, all of it. The error wraps [catalog.ErrDigest] if the bytes are others
// than those of the row; w has them by then. progress may be nil.
func (v *View) CopyOut(ctx context.Context, w io.Writer, row tree.Row, progress func(int64)) error {
	want := catalog.Digest{Algorithm: catalog.SHA256, Hex: row.SHA256}
	if v.Elsewhere == nil || !v.Elsewhere.Away(row) {
		_, err := v.src.CopyOut(ctx, w, row.Path, want, progress)
		return err
	}
	content, err := v.Elsewhere.Open(ctx, row)
	if err != nil {
		return err
	}
	defer content.Close()
	if row.Size > 0 { // the bytes of an empty file are known
		if err := content.Far.Expect(0, row.Size); err != nil {
			return err
		}
	}
	sum := tree.NewSHA256()
	n, err := tree.Spread(ctx, tree.Counted(io.LimitReader(content, row.Size), progress), w, sum)
	switch {
	case err != nil:
		return err
	case n != row.Size:
		return &fs.PathError{Op: "read", Path: row.Path, Err: io.ErrUnexpectedEOF}
	case hex.EncodeToString(sum.Sum(nil)) != row.SHA256:
		return fmt.Errorf("%s: %w, %s", row.Path, catalog.ErrDigest, want)
	}
	return nil
}
