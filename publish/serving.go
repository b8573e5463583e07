package publish

import (
	"context"
	"errors"
	"io/fs"

	"example.com/publish/publish/generation"
	"example.com/publish/stage/catalog"
)

// What a server reads. It takes no lock and writes nothing: see package serve.

// OpenProduction opens the generation that is production. A switch at the same time gives
// one of the two generations.
func (r *Repo) OpenProduction() (*generation.View, error) { return r.store.ViewAt(r.Production()) }

// OpenKept opens generation n, which is kept beside production. The error is of kind
// NotFound if it is not.
func (r *Repo) OpenKept(n int) (*generation.View, error) {
	v, err := r.store.ViewAt(r.store.Dir(n))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, r.notKept(n)
	}
	if err != nil {
		return nil, err
	}
	if v.Generation != n { // the directory of production in rename mode, or one that is being deleted
		_ = v.Close()
		return nil, r.notKept(n)
	}
	return v, nil
}

// Format returns the format of the trees.
func (r *Repo) Format() catalog.Format { return r.format }

// ImagesIn returns the images of a view as List does, and the versions of its products.
func (r *Repo) ImagesIn(ctx context.Context, v *generation.View) ([]catalog.Image, []catalog.Version, error) {
	images, cat, err := r.imagesOf(ctx, v)
	if err != nil {
		return nil, nil, err
	}
	return images, cat.Versions, v.Proved()
}

// Overview is Status, with the findings that it counts.
func (r *Repo) Overview(ctx context.Context) (*Status, *Validated, error) {
	var status *Status
	var checked Validated
	err := r.steady(ctx, func(s *state) error {
		out, staged, err := r.statusOf(ctx, s)
		if err != nil {
			return err
		}
		status, checked = out, ValidatedOf(staged.Report)
		return nil
	})
	return status, &checked, err
}
