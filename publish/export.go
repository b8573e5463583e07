package publish

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"example.com/publish/publish/generation"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// Export writes an archive of images that clients load, out of staging, of
// production, or of a kept generation given by its number. It takes no lock. See
// [catalog.Exporter] for what the archive is.
//
// If it fails after it has begun to write, what it wrote has no end, and no reader
// takes it for whole.
func (r *Repo) Export(ctx context.Context, w io.Writer, in string, x catalog.Export) (*catalog.Exported, error) {
	f, ok := catalog.As[catalog.Exporter](r.format)
	if !ok {
		return nil, &Error{Kind: Usage, Fact: fmt.Sprintf("images of format %s are no archives", r.format.Name()),
			Hint: "publish export --generation N writes a whole generation, of every format"}
	}
	src, err := r.source(ctx, in)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	done := func(int64) {}
	x.Begin = func(bytes int64) {
		if r.opt.Progress != nil {
			done = r.opt.Progress("export", bytes)
		}
	}
	x.Copy = func(ctx context.Context, w io.Writer, path string, want catalog.Digest) (int64, error) {
		return src.CopyOut(ctx, w, path, want, done)
	}
	x.Done = src.Proved
	out, err := f.Export(ctx, tree.Contents(src.Root()), w, x)
	if err == nil {
		return out, nil
	}
	if lost := src.Proved(); lost != nil {
		return nil, lost
	}
	bad := new(catalog.DocumentError)
	switch {
	case errors.Is(err, catalog.ErrDigest):
		return nil, &Error{Kind: Invalid, Err: err}
	case errors.As(err, &bad) && errors.Is(err, fs.ErrNotExist):
		return nil, &Error{Kind: NotFound, Err: err, Hint: "publish list shows what is there"}
	case errors.As(err, &bad):
		return nil, &Error{Kind: Invalid, Err: err, Hint: "publish validate has all that is wrong"}
	}
	return nil, err
}

// source opens staging, production, or a kept generation, for reading without a
// lock.
func (r *Repo) source(ctx context.Context, name string) (*tree.Source, error) {
	if name == "staging" {
		return tree.OpenSource(r.Stage.Dir)
	}
	v, err := r.view(ctx, name)
	if err != nil {
		return nil, err
	}
	return v.Source(), nil
}

// view opens production, or a kept generation. A switch may take the tree away before
// it is open; then view looks again.
func (r *Repo) view(ctx context.Context, name string) (*generation.View, error) {
	for last := 0; ; {
		s, err := r.load(ctx)
		if err != nil {
			return nil, err
		}
		g, err := r.resolve(s, name)
		if err != nil {
			return nil, err
		}
		v, err := g.View()
		if err == nil {
			return v, nil
		}
		if !errors.Is(err, generation.ErrMoved) && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
		if g.Generation == last {
			return nil, r.notKept(g.Generation)
		}
		last = g.Generation
	}
}
