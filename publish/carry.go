package publish

import (
	"context"
	"errors"
	"io/fs"

	"example.com/publish/publish/generation"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// carrier opens production, to find out what a switch has to carry. The caller closes
// its view, if it has one.
func (r *Repo) carrier(s *state) (*generation.Carrier, error) {
	c := &generation.Carrier{Windows: s.windows, Now: s.now, Grace: r.grace(), Spelled: Duration(r.grace()).String(),
		Format: r.format}
	if s.current == nil {
		return c, nil
	}
	var err error
	c.Live, err = s.current.View()
	return c, err
}

// replacedBy returns the findings that a tree at dir with these own rows would have
// against production: content that would be replaced. It needs no lock. If production
// was switched after s was read, it compares with the new production.
func (r *Repo) replacedBy(ctx context.Context, s *state, own []tree.Row, dir string) ([]catalog.Finding, error) {
	c, err := r.carrier(s)
	for errors.Is(err, generation.ErrMoved) || errors.Is(err, fs.ErrNotExist) {
		now, loadErr := r.load(ctx)
		if loadErr != nil {
			return nil, loadErr
		}
		if now.current != nil && now.current.Generation == s.current.Generation {
			return nil, err // production was not switched, so the error is real
		}
		s = now
		c, err = r.carrier(s)
	}
	if err != nil || c.Live == nil {
		return nil, err
	}
	defer c.Live.Close()
	next, err := generation.OpenInside(dir)
	if err != nil {
		return nil, err
	}
	defer next.Close()
	_, findings := c.Carry(0, own, next)
	return findings, nil
}

// units returns the units that a diff compares.
func (r *Repo) units(of []catalog.Unit, own []tree.Row) []catalog.Unit {
	return generation.Units(of, own, r.format)
}
