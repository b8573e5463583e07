package generation

import (
	"errors"
	"time"

	"example.com/publish/stage"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// Base is a generation as a new tree begins from it: what it promises to serve
// at the time now, as far as it is there. Without a generation there is nothing.
// Close the base's source, if it has one.
func (t *Tree) Base(w Windows, now time.Time) (*stage.Base, error) {
	if t == nil {
		return &stage.Base{}, nil
	}
	src, err := t.Open()
	if err != nil {
		return nil, err
	}
	rows := t.Promised(w, now, func(c Carried) bool {
		_, err := src.Root().Lstat(c.Path) // gc may have been there before the grace was raised
		return !isGone(err)
	})
	own := tree.NewRows(t.Own)
	named := func(path string) bool {
		row, ok := own.Get(path)
		return ok && row.Role == catalog.Content
	}
	return &stage.Base{Source: src, Rows: tree.NewRows(rows), TreeID: t.TreeID, Named: named}, nil
}

// Open opens the tree to be linked and copied from, by a command that holds no
// lock. Its Proof is that of View.Proved, from the opening on.
func (t *Tree) Open() (*tree.Source, error) {
	src, err := tree.OpenSource(t.Dir)
	if err != nil {
		return nil, err
	}
	src.Proof = func() error {
		c, err := claimIn(src.Root(), t.Dir)
		if c.Number != t.Generation {
			return errors.Join(t.moved(c.Number), err)
		}
		return nil
	}
	return src, nil
}
