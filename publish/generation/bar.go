package generation

import (
	"slices"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// Bar computes what promote refuses after a revert from one generation to
// another: rows that the reverted tree had and the target lacks. Rows that were
// refused before stay refused, unless the target has them. After an automatic
// revert (KindAutoRevert) only the reverted tree itself is refused, as a whole.
func Bar(from, target *Manifest, kind Kind, f catalog.Format) (rows []tree.Row, trees []string) {
	// A signature is of one generation; no promote brings it back.
	have := make(map[tree.Row]bool, len(target.Own))
	for _, row := range target.Own {
		have[row] = true
	}
	lacking := slices.Concat(from.Barred, target.Barred)
	if kind == KindRevert {
		lacking = append(lacking, from.Own...)
	}
	seen := map[tree.Row]bool{}
	for _, row := range lacking {
		item := row.Role == catalog.Content || row.Role != catalog.Signature && f.Class(row.Path) == catalog.Whole
		if item && !have[row] && !seen[row] {
			seen[row] = true
			rows = append(rows, row)
		}
	}
	tree.SortRows(rows)
	trees = []string{from.TreeID}
	for _, id := range slices.Concat(from.BarredTrees, target.BarredTrees) {
		if id != target.TreeID && !slices.Contains(trees, id) {
			trees = append(trees, id)
		}
	}
	return rows, trees
}
