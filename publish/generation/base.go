package generation

import (
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
	src, err := tree.OpenSource(t.Dir)
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
