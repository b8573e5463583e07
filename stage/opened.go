package stage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// Opened is staging, with the content that counts as present, for reading without a lock.
type Opened struct {
	src *tree.Source
	sp  *sparse
}

// Open opens staging. Close it after use.
func (s *Stage) Open(ctx context.Context) (*Opened, error) {
	sp, err := s.sparse(ctx)
	if err != nil {
		return nil, err
	}
	src, err := tree.OpenSource(s.Dir)
	if err != nil {
		return nil, err
	}
	return &Opened{src, sp}, nil
}

// Close releases the directory.
func (o *Opened) Close() error { return o.src.Close() }

// Contents is staging in the form that formats read.
func (o *Opened) Contents() catalog.Source { return o.sp.source(tree.Contents(o.src.Root())) }

// CopyOut writes a file to w, and compares it with a digest: see [tree.Source.CopyOut].
func (o *Opened) CopyOut(ctx context.Context, w io.Writer, path string, want catalog.Digest, progress func(int64)) (
	int64, error) {
	n, err := o.src.CopyOut(ctx, w, path, want, progress)
	row, ok := o.sp.row(path)
	if !ok || n > 0 || !errors.Is(err, fs.ErrNotExist) {
		return n, err
	}
	wrong := fmt.Errorf("%s: %w, %s", path, catalog.ErrDigest, want)
	if want.Algorithm == catalog.SHA256 && want.Hex != row.SHA256 {
		return 0, wrong
	}
	sum, err := want.New()
	if err != nil {
		return 0, err
	}
	r, err := o.sp.open(ctx, row)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	n, err = tree.Spread(ctx, tree.Counted(r, progress), w, sum)
	if err == nil && fmt.Sprintf("%x", sum.Sum(nil)) != want.Hex {
		err = wrong
	}
	return n, err
}
