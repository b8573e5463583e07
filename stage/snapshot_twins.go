package stage

import (
	"cmp"
	"slices"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// A tree stores a content once. A path that is new in it becomes a hard link to a file
// with the same bytes: one that the base has under another path, or another new one. What
// the base has under the same path stays as it is, so the work depends on what changed.
// This has nothing to do with what staging and the tree share: all these files are the
// tree's own.

// twins changes the ops of such paths.
func (c *copier) twins(p *shaping, named names) {
	ops := p.ops
	sum := func(i int) string { return p.facts[p.of[i]].sum }
	apart := apart(c.out.cat)
	anew := func(i int) bool {
		path := ops[i].Path
		return ops[i].From == c.src && ops[i].How != tree.Relink && sum(i) != "" && !c.changes(path) &&
			named.has(path) && !apart.has(path)
	}
	first := map[string]int{} // the op that makes the file, by content; one that makes a link, if there is one
	for i := range ops {
		if !anew(i) {
			continue
		}
		if j, ok := first[sum(i)]; !ok || ops[j].How == tree.Copy && ops[i].How == tree.Share {
			first[sum(i)] = i
		}
	}
	if len(first) == 0 {
		return
	}
	for i := range c.out.cat.Items {
		if item := &c.out.cat.Items[i]; item.Apart {
			delete(first, item.SHA256)
		}
	}
	there := map[string]string{} // where the base has a content
	for _, row := range c.base.Rows.All() {
		if c.base.Source == nil {
			break
		}
		if _, ok := first[row.SHA256]; ok && row.Role == catalog.Content {
			there[row.SHA256] = row.Path
		}
	}
	for i := range ops {
		j, ok := first[sum(i)]
		if !ok || !anew(i) {
			continue
		}
		op, st := &ops[i], p.admitted[p.of[i]].Stat
		switch at := there[sum(i)]; {
		case at != "":
			op.From, op.Name, op.How = c.base.Source, at, tree.Share
		case i != j && (op.How != tree.Share || st.Ino != p.admitted[p.of[j]].Stat.Ino):
			op.Name, op.How = ops[j].Path, tree.Twin
		default:
			continue
		}
		op.SHA256, op.Stat = sum(i), tree.Stat{Size: st.Size}
	}
}

// parted reports whether a twin did not get its content: the file that it is a link to
// does not have it, because it changed after it was read, or could not be made.
func (p *shaping) parted(op tree.Op, done []tree.Cloned) bool {
	if op.How != tree.Twin {
		return false
	}
	i := p.op(op.Name)
	return i < 0 || done[i].Err != nil || done[i].SHA256 != op.SHA256
}

// claimedTwice returns those of some paths, of files with an unknown hash, whose content
// the indexes name under another path also, or the base has. Before the indexes are read
// it returns none.
func (c *copier) claimedTwice(unknown map[string]int) []string {
	if c.out.cat == nil || len(unknown) == 0 {
		return nil
	}
	is := func(i *catalog.Item) bool { _, ok := unknown[i.Path]; return ok && !i.Apart }
	at := map[string]string{} // one of these paths, by the content that the indexes claim
	twice := map[string]bool{}
	claim := func(i *catalog.Item) string { return cmp.Or(i.SHA256, i.SHA512) }
	items := c.out.cat.Items
	for i := range items {
		if is(&items[i]) {
			at[claim(&items[i])] = items[i].Path
		}
	}
	delete(at, "")
	note := func(claim, path string) {
		if p, ok := at[claim]; ok && p != path {
			twice[claim] = true
		}
	}
	for i := range items {
		note(claim(&items[i]), items[i].Path)
	}
	for _, row := range c.base.Rows.All() {
		note(row.SHA256, row.Path)
	}
	var out []string
	for i := range items {
		if is(&items[i]) && twice[claim(&items[i])] {
			out = append(out, items[i].Path)
		}
	}
	return slices.Compact(out) // an item may be named more than once; they are sorted
}
