package publish

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"example.com/publish/publish/generation"
	"example.com/publish/publish/tombstone"
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
	out, err := f.Export(ctx, src, w, x)
	if err == nil {
		return out, nil
	}
	if lost := src.Proved(); lost != nil {
		return nil, lost
	}
	if err := r.redactedBy(src.view, err); err != nil {
		return nil, err
	}
	bad := new(catalog.DocumentError)
	switch {
	case src.view != nil && src.view.Sparse && !errors.As(err, &bad):
		return nil, r.misread(ctx, src.view, "exported", err)
	case errors.Is(err, catalog.ErrDigest):
		return nil, &Error{Kind: Invalid, Err: err}
	case errors.As(err, &bad) && errors.Is(err, fs.ErrNotExist):
		return nil, &Error{Kind: NotFound, Err: err, Hint: "publish list shows what is there"}
	case errors.As(err, &bad):
		return nil, &Error{Kind: Invalid, Err: err, Hint: "publish validate has all that is wrong"}
	}
	return nil, err
}

// redactedBy returns the error for a file that a generation had until it was revoked, if
// err is about that file; else nil. m is nil for staging.
func (r *Repo) redactedBy(m *generation.View, err error) error {
	bad := new(catalog.DocumentError)
	if m == nil || !errors.As(err, &bad) {
		return nil
	}
	graves, err := r.graveyard()
	if err != nil {
		return err
	}
	for row := range m.All() {
		if row.Path == bad.Path && graves.Redacted(m.Generation, row) {
			hint := fmt.Sprintf("publish list %d shows the images that it still has", m.Generation)
			return redacted(m.Generation, row, graves, hint)
		}
	}
	return nil
}

// redacted is the error for a row that generation n had until it was revoked.
func redacted(n int, row tree.Row, graves *tombstone.Graveyard, hint string) error {
	return refuse(hint, "generation %d is redacted: %s was revoked %s", n, row.Path, graves.Over(row.SHA256).Reason())
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
