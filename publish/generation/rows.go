package generation

import (
	"cmp"
	"slices"
	"time"

	"example.com/publish/stage/tree"
)

// Lists of rows are always sorted by path, and have each path once.

func findCarried(rows []Carried, path string) (Carried, bool) {
	i, ok := slices.BinarySearchFunc(rows, path, func(c Carried, p string) int { return cmp.Compare(c.Path, p) })
	if !ok {
		return Carried{}, false
	}
	return rows[i], true
}

// Rows returns every row, own and carried, sorted by path.
func (m *Manifest) Rows() []tree.Row {
	carried := make([]tree.Row, len(m.Carried))
	for i, c := range m.Carried {
		carried[i] = c.Row
	}
	return tree.MergeRows(m.Own, carried)
}

// promised returns the rows, sorted by path, that the generation must serve at
// the time now: all own rows, and the carried rows that are there and whose
// window is open. Carried rows whose window has ended are left out, although they
// are served until a gc deletes them.
func (m *Manifest) promised(w Windows, now time.Time, there func(Carried) bool) []tree.Row {
	var carried []tree.Row
	for _, c := range m.Carried {
		if w.Open(c.Dropped, now) && there(c) {
			carried = append(carried, c.Row)
		}
	}
	return tree.MergeRows(m.Own, carried)
}

// promises is promised for one path.
func (m *Manifest) promises(path string, w Windows, now time.Time) (tree.Row, bool) {
	if c, ok := findCarried(m.Carried, path); ok && w.Open(c.Dropped, now) {
		return c.Row, true
	}
	return tree.Find(m.Own, path)
}
