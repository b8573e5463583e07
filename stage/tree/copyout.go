package tree

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"

	"example.com/publish/stage/catalog"
)

// CopyOut writes a file of the tree to w, and hashes it meanwhile. It follows no link.
// It returns the number of bytes. The error wraps [catalog.ErrDigest] if the bytes are
// others than those of want; w has them by then. progress may be nil.
func (s *Source) CopyOut(ctx context.Context, w io.Writer, path string, want catalog.Digest, progress func(int64)) (
	int64, error) {
	sum, err := want.New()
	if err != nil {
		return 0, err
	}
	f, st, err := Open(s.root, path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	c := Cloner{Progress: progress}
	n, err := Spread(ctx, c.counted(io.LimitReader(Content(f, st), st.Size+1)), w, sum)
	if err == nil && n != st.Size {
		err = &fs.PathError{Op: "read", Path: path, Err: ErrChanged}
	}
	if err == nil && hex.EncodeToString(sum.Sum(nil)) != want.Hex {
		err = fmt.Errorf("%s: %w, %s", path, catalog.ErrDigest, want)
	}
	return n, err
}
