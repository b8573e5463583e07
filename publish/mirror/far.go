package mirror

import (
	"context"
	"io"
	"path"

	"example.com/publish/stage"
	"example.com/publish/stage/catalog"
)

// far is the content that staging began from, where that is in an object store: a job does
// not fetch it again. What lies at the path that a job needs counts as present, and none of
// it comes here; what lies at another path is read from the store.
type far struct {
	ctx     context.Context
	present *stage.Present                // nil: staging has all its files
	at      func(d catalog.Digest) string // the path in the tree; nil: the name of the content is its path
}

// farOf is far for a job, as staging is now.
func (r *runner) farOf(ctx context.Context, j Job) (*far, error) {
	p, err := r.Repo.Stage.Present(ctx)
	if err != nil {
		return nil, err
	}
	f := &far{ctx: ctx, present: p}
	if format, ok := catalog.As[catalog.Puller](r.Repo.Stage.Format); ok {
		group := r.Repo.Stage.Format.ParseRef(r.NameOf(j.Canonical)).Group
		f.at = func(d catalog.Digest) string { return format.BlobAt(path.Join(group, "x"), d) }
	}
	return f, nil
}

// open is ContentOptions.Far.
func (f *far) open(d catalog.Digest) func() (io.ReadCloser, error) {
	row, ok := f.present.Any(d)
	if !ok {
		return nil
	}
	return func() (io.ReadCloser, error) { return f.present.Open(f.ctx, row) }
}

// file is a content for staging, under its name among what was fetched.
func (f *far) file(name string, d catalog.Digest) (stage.FetchedFile, bool) {
	row, ok := f.present.Any(d)
	if !ok {
		return stage.FetchedFile{}, false
	}
	out := stage.FetchedFile{SHA256: d.Hex, Row: row, Open: f.present.Open}
	if f.at != nil {
		name = f.at(d)
	}
	if row, ok := f.present.At(name, d); ok {
		out.Row, out.Present = row, true
	}
	return out, true
}
