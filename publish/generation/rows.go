package generation

import (
	"cmp"
	"slices"
	"time"

	"example.com/publish/stage/tree"
)

// Rows are sorted by path wherever they are a list, and a path stands in it once.

func byPath(r tree.Row, p string) int { return cmp.Compare(r.Path, p) }

// find returns the row of a path.
func find(rows []tree.Row, path string) (tree.Row, bool) {
	i, ok := slices.BinarySearchFunc(rows, path, byPath)
	if !ok {
		return tree.Row{}, false
	}
	return rows[i], true
}

func findCarried(rows []Carried, path string) (Carried, bool) {
	i, ok := slices.BinarySearchFunc(rows, path, func(c Carried, p string) int { return cmp.Compare(c.Path, p) })
	if !ok {
		return Carried{}, false
	}
	return rows[i], true
}

// Rows returns every row, own and carried, sorted by path.
func (m *Manifest) Rows() []tree.Row {
	if len(m.Carried) == 0 {
		return m.Own
	}
	rows, own := make([]tree.Row, 0, len(m.Own)+len(m.Carried)), m.Own
	for _, c := range m.Carried {
		for ; len(own) > 0 && own[0].Path < c.Path; own = own[1:] {
			rows = append(rows, own[0])
		}
		rows = append(rows, c.Row)
	}
	return append(rows, own...)
}

// Promised returns the rows, by path, that the generation has to serve at the
// time now. Carried ones whose window has ended are not among them, though they
// are served until a gc deletes them.
func (m *Manifest) Promised(w Windows, now time.Time) map[string]tree.Row {
	out := make(map[string]tree.Row, len(m.Own)+len(m.Carried))
	for _, r := range m.Own {
		out[r.Path] = r
	}
	for _, r := range m.Carried {
		if w.Open(r.Dropped, now) {
			out[r.Path] = r.Row
		}
	}
	return out
}

// promises is Promised for one path.
func (m *Manifest) promises(path string, w Windows, now time.Time) (tree.Row, bool) {
	if c, ok := findCarried(m.Carried, path); ok && w.Open(c.Dropped, now) {
		return c.Row, true
	}
	return find(m.Own, path)
}
