package publish

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"example.com/publish/publish/generation"
	"example.com/publish/stage"
	"example.com/publish/stage/catalog"
)

// opened is staging, production, or a kept generation, for reading without a lock. Content
// that is in an object store is read from there. Close it after use.
type opened struct {
	catalog.Source
	staging *stage.Opened    // nil for a generation
	view    *generation.View // nil for staging
}

// source opens a tree by its name: see resolve.
func (r *Repo) source(ctx context.Context, name string) (*opened, error) {
	if name == "staging" {
		s, err := r.Stage.Open(ctx)
		if err != nil {
			return nil, err
		}
		return &opened{s.Contents(), s, nil}, nil
	}
	v, err := r.view(ctx, name)
	if err != nil {
		return nil, err
	}
	return &opened{v.Contents(), nil, v}, nil
}

func (o *opened) Close() error {
	if o.view != nil {
		return o.view.Close()
	}
	return o.staging.Close()
}

// Proved returns an error if what was read may be of another tree: see generation.View.
func (o *opened) Proved() error {
	if o.view != nil {
		return o.view.Proved()
	}
	return nil
}

// generation is the number of the tree; 0 for staging.
func (o *opened) generation() int {
	if o.view != nil {
		return o.view.Generation
	}
	return 0
}

// CopyOut writes a file to w, and compares it with a digest: see tree.Source.CopyOut.
func (o *opened) CopyOut(ctx context.Context, w io.Writer, path string, want catalog.Digest, progress func(int64)) (
	int64, error) {
	if o.view == nil {
		return o.staging.CopyOut(ctx, w, path, want, progress)
	}
	row, ok := o.view.Row(path)
	if !ok || !o.view.Sparse || !o.view.Elsewhere.Away(row) {
		return o.view.Source().CopyOut(ctx, w, path, want, progress)
	}
	if want.Algorithm == catalog.SHA256 && want.Hex != row.SHA256 {
		return 0, fmt.Errorf("%s: %w, %s", path, catalog.ErrDigest, want)
	}
	sum, err := want.New()
	if err != nil {
		return 0, err
	}
	if err := o.view.CopyOut(ctx, io.MultiWriter(w, sum), row, progress); err != nil {
		return 0, err
	}
	if fmt.Sprintf("%x", sum.Sum(nil)) != want.Hex {
		return 0, fmt.Errorf("%s: %w, %s", path, catalog.ErrDigest, want)
	}
	return row.Size, nil
}

// misread explains an error of reading all of a generation, to have it exported, or sent.
// It is itself if it is about something else.
func (r *Repo) misread(ctx context.Context, v *generation.View, did string, err error) error {
	gone := errors.Is(err, fs.ErrNotExist)
	switch {
	case err == nil || ctx.Err() != nil:
		return err
	case errors.Is(err, generation.ErrMoved), gone && r.deleted(ctx, v):
		return &Error{Fact: fmt.Sprintf("generation %d was deleted while it was %s", v.Generation, did),
			Hint: "pin a generation that is to stay"}
	case errors.Is(err, catalog.ErrDigest), errors.Is(err, generation.ErrOther), gone && v.Sparse:
		at := v.Dir
		if v.Sparse {
			at = r.Production()
		}
		return &Error{Kind: Invalid, Path: at, Err: err, Hint: "publish verify has all that is wrong"}
	case v.Sparse && errors.Is(err, generation.ErrAway):
		return r.shared.explain(err)
	}
	return err
}

// deleted reports whether a generation is kept no longer.
func (r *Repo) deleted(ctx context.Context, v *generation.View) bool {
	if !v.Sparse {
		return gone(v.Dir)
	}
	p, err := r.shared.pointer(ctx, 0)
	if err != nil {
		return false
	}
	ref, ok := p.Ref(v.Generation)
	return !ok || ref.Seal != v.Seal
}
