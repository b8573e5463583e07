package generation

import (
	"errors"
	"time"

	"example.com/publish/stage"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// Base returns what a new tree can take over from this generation: the rows that
// it must serve at the time now, except carried files that are missing. The base
// is empty if t is nil. A sparse tree has nothing to link. The caller closes the base's source, if it has one.
func (t *Tree) Base(w Windows, now time.Time) (*stage.Base, error) {
	if t == nil {
		return &stage.Base{}, nil
	}
	if t.Sparse {
		return &stage.Base{TreeID: t.TreeID, Named: named(t)}, nil
	}
	src, err := t.Open()
	if err != nil {
		return nil, err
	}
	rows := t.promised(w, now, func(c Carried) bool {
		_, err := src.Root().Lstat(c.Path) // a gc may have deleted it before the grace was raised
		return !isGone(err)
	})
	return &stage.Base{Source: src, Rows: tree.NewRows(rows), TreeID: t.TreeID, Named: named(t)}, nil
}

// named reports whether the indexes of a tree name a path.
func named(t *Tree) func(path string) bool {
	own := tree.NewRows(t.Own)
	return func(path string) bool {
		row, ok := own.Get(path)
		return ok && row.Role == catalog.Content
	}
}

// Open opens the tree as a source of links and copies. The caller need not hold
// a lock, because the source's Proof fails, as View.Proved does, if another
// generation took the place of the tree, and also if the tree never had its number.
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
