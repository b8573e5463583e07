package generation

import (
	"slices"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// Units returns what a diff counts in a tree: the units of its catalog, and the
// files that no catalog describes.
func Units(of []catalog.Unit, own []tree.Row, f catalog.Format) []catalog.Unit {
	units := slices.Clip(of)
	for _, row := range own {
		// What an index names is content. To ask the format for each path takes long.
		if row.Role != catalog.Content && row.Role != catalog.Signature && f.Class(row.Path) == catalog.Whole {
			units = append(units, catalog.Unit{Key: row.Path, Digest: row.SHA256})
		}
	}
	return units
}

// DiffUnits returns the keys of the units that were added, removed and changed;
// sorted, never nil.
func DiffUnits(from, to []catalog.Unit) (added, removed, changed []string) {
	added, removed, changed = []string{}, []string{}, []string{}
	old := make(map[string]catalog.Unit, len(from))
	for _, u := range from {
		old[u.Key] = u
	}
	for _, u := range to {
		o, ok := old[u.Key]
		delete(old, u.Key)
		switch {
		case !ok && !u.Group:
			added = append(added, u.Key)
		case ok && o.Digest != u.Digest:
			changed = append(changed, u.Key)
		}
	}
	for _, u := range old {
		if !u.Group {
			removed = append(removed, u.Key)
		}
	}
	slices.Sort(added)
	slices.Sort(removed)
	slices.Sort(changed)
	return added, removed, changed
}
