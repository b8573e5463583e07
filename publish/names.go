package publish

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"example.com/publish/stage"
	"example.com/publish/stage/catalog"
)

// Tag gives an image of staging further names.
func (r *Repo) Tag(ctx context.Context, ref string, tags []string) (*stage.Added, error) {
	if err := r.allows("stage tag"); err != nil {
		return nil, err
	}
	out, err := r.Stage.Tag(ctx, ref, tags, r.now())
	if errors.Is(err, catalog.ErrByHand) {
		return nil, r.noTags()
	}
	return out, unnamed(r.locks().explain(err), ref, "publish stage list shows what is there; nothing was tagged")
}

// noTags is the error for a format whose images have one name.
func (r *Repo) noTags() error {
	return &Error{Kind: Usage, Fact: fmt.Sprintf("images of format %s have no tags", r.format.Name()),
		Hint: "publish stage list shows what they are called"}
}

// unnamed gives an error about a name that a tree does not have the kind NotFound,
// and one about a tag that stands for another digest than was written with it the
// kind Invalid.
func unnamed(err error, ref, hint string) error {
	bad := new(catalog.DocumentError)
	switch {
	case err == nil:
		return nil
	case catalog.Missing(err):
		return &Error{Kind: NotFound, Path: ref, Fact: "there is no such image", Hint: hint}
	case errors.Is(err, catalog.ErrDigest), errors.As(err, &bad):
		return &Error{Kind: Invalid, Err: err}
	}
	return err
}

// Resolve returns what a name stands for in staging, in production, or in a kept
// generation given by its number. It takes no lock and writes nothing.
//
// If expect is not "", it is a digest or a fingerprint by which clients know the
// image, or the beginning of one; the error is of kind Invalid for another image.
func (r *Repo) Resolve(ctx context.Context, in, ref, expect string) (*catalog.Resolved, error) {
	f, ok := catalog.As[catalog.Resolver](r.format)
	if !ok {
		return nil, r.noTags()
	}
	src, err := r.source(ctx, in)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	out, err := f.Resolve(ctx, src, ref)
	if lost := src.Proved(); lost != nil {
		return nil, lost
	}
	if err != nil {
		return nil, unnamed(err, ref, "publish list and publish stage list show what is there")
	}
	if expect != "" && !out.Is(expect) {
		return out, &Error{Kind: Invalid, Path: ref, Fact: fmt.Sprintf("is %s, not %s", out.Digest, expect)}
	}
	return out, nil
}

// ResolveMany is Resolve for many names of one tree. The result has nil for a name that
// the tree does not have, or that is damaged there; all are nil for a tree that is not
// there.
func (r *Repo) ResolveMany(ctx context.Context, in string, refs []string) ([]*catalog.Resolved, error) {
	f, ok := catalog.As[catalog.Resolver](r.format)
	if !ok {
		return nil, r.noTags()
	}
	out := make([]*catalog.Resolved, len(refs))
	if len(refs) == 0 {
		return out, nil
	}
	src, err := r.source(ctx, in)
	if e := new(Error); errors.As(err, &e) && e.Kind == NotFound || errors.Is(err, fs.ErrNotExist) {
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	defer src.Close()
	var bad error
	take := func(n int, found *catalog.Resolved, err error) {
		e := new(Error)
		switch err := unnamed(err, refs[n], ""); {
		case err == nil:
			out[n] = found
		case errors.As(err, &e) && (e.Kind == NotFound || e.Kind == Invalid):
		case bad == nil:
			bad = err
		}
	}
	if many, ok := catalog.As[catalog.ManyResolver](r.format); ok {
		many.ResolveMany(ctx, src, refs, take)
	} else {
		for n, ref := range refs {
			found, err := f.Resolve(ctx, src, ref)
			take(n, found, err)
		}
	}
	if lost := src.Proved(); lost != nil {
		return nil, lost
	}
	return out, bad
}
