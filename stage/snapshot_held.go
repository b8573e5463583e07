package stage

import (
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// Where staging is sparse, content that it still has, and that the store has too, counts
// as absent: the store's bytes are the tree's, so a snapshot needs neither a link nor a copy.
// The work of a promote then depends on what changed.

// held splits the planned entries: it returns those that the snapshot has to make, and
// whether a path is one that the store has with the same bytes.
func (c *copier) held(admitted []tree.Entry, facts []fact, named names) ([]tree.Entry, []fact, func(string) bool) {
	if c.out.sparse == nil {
		return admitted, facts, nil
	}
	there := make([]bool, len(admitted))
	for i, e := range admitted {
		there[i] = e.Kind == tree.File && c.out.sparse.serves(e.Path, facts[i].sum, named)
	}
	c.together(admitted, there)
	var rest, held []tree.Entry
	var of []fact
	for i, e := range admitted {
		if there[i] {
			held = append(held, e)
			continue
		}
		rest, of = append(rest, e), append(of, facts[i])
	}
	return rest, of, among(held)
}

// together makes pairs of files of which one is new be in the snapshot both: the sum over
// both is made of the files here.
func (c *copier) together(admitted []tree.Entry, there []bool) {
	if c.out.cat == nil {
		return
	}
	items := c.out.cat.Items
	for _, p := range c.out.cat.Pairs {
		first, ok := tree.SearchEntries(admitted, items[p.First].Path)
		second, both := tree.SearchEntries(admitted, items[p.Second].Path)
		if ok && both && there[first] != there[second] {
			there[first], there[second] = false, false
		}
	}
}

// serves reports whether the store has content with a known digest, which is the tree's
// whether staging has it or not.
func (sp *sparse) serves(path, sha256 string, named names) bool {
	row, ok := sp.row(path)
	return ok && sha256 != "" && row.SHA256 == sha256 && named.role(path) == catalog.Content && sp.counts(row, named)
}
