package publish

import (
	"context"
	"errors"
	"io/fs"

	"example.com/publish/publish/generation"
	"example.com/publish/stage/catalog"
)

// Readers take no lock. They read through views. A view holds one tree open, so
// a switch never shows a reader a mixture of two trees. But a switch can happen
// before the view is opened, and gc can empty an open tree. Then the reader starts
// again with the present state.

// steady calls read with the present state. It calls it again if a switch or gc
// may have removed what it was reading. If the same generation gives an error
// twice, the error is real.
func (r *Repo) steady(ctx context.Context, read func(*state) error) error {
	for last := -1; ; {
		s, err := r.load(ctx)
		if err != nil {
			return err
		}
		n := 0
		if s.current != nil {
			n = s.current.Generation
		}
		err = read(s)
		if n == last || !errors.Is(err, generation.ErrMoved) && !errors.Is(err, fs.ErrNotExist) || ctx.Err() != nil {
			return err
		}
		last = n
	}
}

// glance calls read with production, or with a kept generation, without a lock. A
// switch or a gc may remove the tree while it is read; then glance calls read again,
// with the generation that the name means now. If a tree does not have its own number
// in two attempts, it is damaged; verify reports that.
func (r *Repo) glance(ctx context.Context, name string, read func(*state, *generation.View) error) error {
	for last := 0; ; {
		s, err := r.load(ctx)
		if err != nil {
			return err
		}
		if _, switched := s.history.Last(); switched && s.current == nil && (name == "" || name == "production") {
			return &Error{Path: r.Production(), Err: errDangling, Hint: "run publish recover"}
		}
		g, err := r.resolve(s, name)
		if err != nil {
			return err
		}
		sure, err := r.glanceAt(s, g, read)
		if sure || g.Generation == last || ctx.Err() != nil {
			return err
		}
		last = g.Generation
	}
}

// glanceAt is one attempt of glance. sure reports whether the right tree was read.
func (r *Repo) glanceAt(
	s *state, g *generation.Tree, read func(*state, *generation.View) error,
) (sure bool, err error) {
	live := s.current != nil && s.current.Generation == g.Generation
	v, err := g.View()
	switch {
	case err != nil && !live && (errors.Is(err, generation.ErrMoved) || errors.Is(err, fs.ErrNotExist)):
		return true, r.notKept(g.Generation)
	case err != nil:
		return false, err
	}
	defer v.Close()
	if c, err := v.Claim(); !live && err == nil && c.Number != g.Generation { // it is being deleted
		return true, r.notKept(g.Generation)
	}
	err = read(s, v)
	c, lost := v.Claim()
	return lost == nil && c.Number == g.Generation, err
}

func (r *Repo) notKept(n int) error { return notFound(r.keptHint(), "generation %d is not kept", n) }

// catalogOf reads the indexes of a tree.
func (r *Repo) catalogOf(ctx context.Context, g *generation.Tree) (*catalog.Catalog, error) {
	v, err := g.View()
	if err != nil {
		return nil, err
	}
	defer v.Close()
	cat, err := r.format.Read(ctx, v.Contents())
	return cat, errors.Join(v.Proved(), err)
}

// unitsOf returns the units of a generation that a diff compares.
func (r *Repo) unitsOf(ctx context.Context, g *generation.Tree) ([]catalog.Unit, error) {
	cat, err := r.catalogOf(ctx, g)
	if err != nil {
		return nil, err
	}
	return r.units(cat.Units, g.Own), nil
}
