package stage

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"slices"
	"time"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// copier copies entries of staging into a snapshot.
type copier struct {
	s      *Stage
	format catalog.Format // after indexes: for this tree, see Within
	linked *linked        // the targets of links in staging
	src    *tree.Source
	dst    string
	base   *Base
	cache  *tree.Cache
	now    time.Time
	batch  *durable.Batch
	out    *Snapshot
	seen   map[string]string // hashes of files that recognize has read
	have   func(string) bool // what staging has, if it is sparse
	later  []func()          // entries of documents to add to the cache: see remember
}

// indexes copies the documents into the snapshot and returns the other entries.
// The documents come first, because the copies in the snapshot decide which files
// belong to it; staging's documents may change meanwhile. It copies first the
// documents that it knows by their names, and then those that the first ones name.
// instead are documents that replace those of staging. What ahead has copied stays.
func (c *copier) indexes(ctx context.Context, all []tree.Entry, instead []catalog.Document) ([]tree.Entry, error) {
	replaced := map[string]bool{}
	for _, d := range instead {
		replaced[d.Path] = true
	}
	early := maps.Clone(c.out.documents)
	var documents []tree.Entry
	rest := filter(all, func(e tree.Entry) bool {
		if replaced[e.Path] {
			return false
		}
		is := c.format.Class(e.Path) == catalog.Index
		if is && early[e.Path].Path == "" {
			documents = append(documents, e)
		}
		return !is
	})
	if err := c.run(ctx, documents); err != nil {
		return nil, err
	}
	if err := c.out.replace(instead); err != nil {
		return nil, err
	}
	contents, done, err := c.out.contents()
	if err != nil {
		return nil, err
	}
	defer done()
	named, err := c.format.Documents(contents)
	if err != nil {
		return nil, err
	}
	c.format = catalog.Within(c.format, named)
	documents = nil
	at := tree.NewFinger(slices.Sorted(slices.Values(named)), func(p *string) string { return *p })
	rest = filter(rest, func(e tree.Entry) bool {
		is := at.Find(e.Path) >= 0
		if is && early[e.Path].Path == "" {
			documents = append(documents, e)
		}
		return !is
	})
	return rest, c.run(ctx, documents)
}

// filter returns the entries for which keep is true. To save memory it makes a new
// list only if needed: usually it removes nothing, or only the last entries.
func filter(entries []tree.Entry, keep func(tree.Entry) bool) []tree.Entry {
	all, out := true, entries
	for i, e := range entries {
		switch ok := keep(e); {
		case !ok && all:
			all, out = false, entries[:i:i]
		case ok && !all:
			out = append(out, e)
		}
	}
	return out
}

// run copies documents into the snapshot. It does not use the cache, because
// documents are copied and hashed in any case. So the cache is read only later,
// when the memory of the catalog's bytes is free again.
func (c *copier) run(ctx context.Context, entries []tree.Entry) error {
	admitted := c.admit(entries, nil)
	p := &shaping{c: c, admitted: admitted}
	for i, e := range admitted {
		p.ops, p.of = append(p.ops, c.copy(e, fact{})), append(p.of, int32(i))
	}
	rows, err := c.clone(ctx, p, nil)
	for _, row := range rows {
		c.out.documents[row.Path] = row
	}
	return err
}

// anew copies documents anew that were half written.
func (c *copier) anew(ctx context.Context, half []string) error {
	for _, path := range half {
		if err := os.Remove(join(c.dst, path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		delete(c.out.documents, path)
	}
	now, err := tree.Walk(ctx, c.s.Dir)
	if err != nil {
		return err
	}
	return c.run(ctx, filter(c.linked.apply(now, c.s.Links), func(e tree.Entry) bool {
		return slices.Contains(half, e.Path)
	}))
}

// plan returns the entries to publish, and what is known about each of them, but for
// those that are elsewhere.
func (c *copier) plan(ctx context.Context, entries []tree.Entry, named names) ([]tree.Entry, []fact, error) {
	admitted := c.admit(entries, named)
	facts, err := c.recognize(ctx, admitted)
	if err != nil {
		return nil, nil, err
	}
	admitted, facts, held := c.held(admitted, facts, named)
	c.out.absent = c.out.sparse.absent(named, func(path string) bool { return c.have(path) && !held(path) })
	return admitted, facts, nil
}

// admit returns the entries to publish. named is nil for documents.
func (c *copier) admit(entries []tree.Entry, named names) []tree.Entry {
	g := newGate(c.format, entries, named, c.src.Root(), c.out.report)
	g.known, g.linked, g.links = c.s.known(c.cache), c.linked, c.s.Links
	admitted := filter(entries, g.admit)
	if named != nil {
		g.vain(admitted, maps.Keys(c.out.documents))
	}
	return admitted
}

// remember adds the documents to the cache.
func (c *copier) remember() {
	for _, put := range c.later {
		put()
	}
	c.later = nil
}

// sameIndexes reports whether every index in the snapshot is the base's.
func (c *copier) sameIndexes() bool {
	for _, row := range c.out.documents {
		if !c.base.Has(row.Path, row.SHA256) {
			return false
		}
	}
	return c.base.TreeID != ""
}

// same reports whether the documents in the snapshot and the planned entries are
// exactly the tree of the base. Then there is nothing to promote, and nothing has
// to be cloned to find that out. It also sets the rows of the snapshot.
func (c *copier) same(entries []tree.Entry, facts []fact, named names) bool {
	rows := make([]tree.Row, len(entries), len(entries)+len(c.out.documents)) // see complete
	for i, e := range entries {
		rows[i] = tree.Row{Path: e.Path, Size: e.Stat.Size, SHA256: facts[i].sum, Role: named.role(e.Path)}
		if e.Kind == tree.Symlink {
			rows[i] = linkRow(e)
		}
	}
	if c.out.complete(rows); tree.ID(c.out.rows) != c.base.TreeID {
		return false
	}
	c.out.treeID = c.base.TreeID
	return true
}

// clone performs the ops of a plan, and returns the rows of all its files that are in
// the snapshot then, but those of the documents that come last.
func (c *copier) clone(ctx context.Context, p *shaping, named names) ([]tree.Row, error) {
	ops := p.ops
	entry := func(i int) tree.Entry { return p.admitted[p.of[i]] } // of an op
	var bytes int64
	for _, op := range ops {
		if op.How == tree.Copy {
			bytes += op.Stat.Size
		}
	}
	cloner := tree.Cloner{Dst: c.dst, Batch: c.batch, Progress: c.s.progress("copy", bytes)}
	done, err := cloner.Run(ctx, ops)
	if err != nil {
		return nil, err
	}
	// If a gc or a switch removed a file from the base meanwhile, copy it from staging. A twin
	// of a file that has other bytes than it had is copied also.
	err = c.again(ctx, &cloner, ops, done, func(i int) bool {
		lost := ops[i].From == c.base.Source && errors.Is(done[i].Err, fs.ErrNotExist) || p.parted(ops[i], done)
		if lost {
			if ops[i].How == tree.Twin {
				_ = os.Remove(join(c.dst, ops[i].Path)) // if this fails, so does the copy
			}
			ops[i].From, ops[i].Name, ops[i].How, ops[i].SHA256, ops[i].Stat = c.src, entry(i).Name, tree.Copy, "",
				entry(i).Stat
		}
		return lost
	})
	if err != nil {
		return nil, err
	}
	needed := func(p string) bool { return named.has(p) || c.format.Class(p) == catalog.Index }
	// If somebody is writing to a page, keep the page of production. If it were left
	// out, it would be deleted after its window.
	err = c.again(ctx, &cloner, ops, done, func(i int) bool {
		e, d := entry(i), done[i]
		old, ok := c.base.Rows.Get(e.Path)
		kept := ok && c.base.Source != nil && d.Err != nil && !needed(e.Path) && !errors.Is(d.Err, fs.ErrNotExist) &&
			restless(c.src.Root(), e.At(), e.Stat, d.Err)
		if kept {
			c.out.report.add(catalog.Warning, "changed", e.Path,
				"changed while it was copied: what production has of it stays until a later promote")
			ops[i] = tree.Op{Path: e.Path, From: c.base.Source, How: tree.Share, SHA256: old.SHA256,
				Stat: tree.Stat{Size: old.Size}}
			if old.Role == catalog.Link {
				ops[i].How = tree.Relink
			}
		}
		return kept
	})
	if err != nil {
		return nil, err
	}
	rows := make([]tree.Row, 0, len(p.admitted)+len(c.out.documents)) // see complete
	var copied []tree.Row
	next := 0
	for at, e := range p.admitted {
		i := next
		if i == len(p.of) || int(p.of[i]) != at { // it is in place
			rows = append(rows, tree.Row{Path: e.Path, Size: e.Stat.Size, SHA256: p.facts[at].sum,
				Role: named.role(e.Path)})
			continue
		}
		next++
		d := done[i]
		of := catalog.ServingAt(c.format, e.Path)
		if d.Err == nil && of != nil && named == nil {
			row, err := owned(of, c.dst, tree.Row{Path: e.Path, Size: d.Size, SHA256: d.SHA256}, c.batch)
			if err != nil {
				return nil, err
			}
			d.Size, d.SHA256 = row.Size, row.SHA256
		}
		if d.Err != nil {
			c.out.report.unread(c.src.Root(), e.Path, e.Stat, needed(e.Path), d.Err)
			continue
		}
		row := tree.Row{Path: e.Path, Size: d.Size, SHA256: d.SHA256, Role: named.role(e.Path)}
		if ops[i].How == tree.Relink {
			row.Role = catalog.Link
		} else if ops[i].How == tree.Copy {
			switch {
			case ops[i].SHA256 != "", of != nil: // the cache is about bytes
			case named == nil:
				c.later = append(c.later, func() { c.cache.Put(e.At(), e.Stat, row.SHA256, c.now) })
			default:
				c.cache.Note(e.At(), e.Stat, d.SHA256, c.now) // it is not asked again for these
			}
			if c.changes(e.Path) { // else it may have any time
				copied = append(copied, row)
			}
		}
		rows = append(rows, row)
	}
	return rows, c.base.Settle(c.dst, copied, c.now)
}

// again performs the ops for which change returns true once more. change modifies
// them first.
func (c *copier) again(
	ctx context.Context, cloner *tree.Cloner, ops []tree.Op, done []tree.Cloned, change func(i int) bool,
) error {
	var list []tree.Op
	var which []int
	for i := range ops {
		if change(i) {
			list, which = append(list, ops[i]), append(which, i)
		}
	}
	redone, err := cloner.Run(ctx, list)
	for j, i := range which {
		if j < len(redone) {
			done[i] = redone[j]
		}
	}
	return err
}

// fact is what is known about an entry.
type fact struct {
	sum    string // "" if it is unknown
	sealed bool
	known  bool // the cache has it, so the next command will know it too
}

// recognize returns what is known about entries. If the base, or the store, probably has a file
// that the cache does not know, or the tree has its content twice, recognize hashes it:
// that is cheaper than copying it.
func (c *copier) recognize(ctx context.Context, entries []tree.Entry) ([]fact, error) {
	facts := make([]fact, len(entries))
	var needs []*need
	unknown := map[string]int{}
	var bytes int64
	read := func(i int) {
		e := entries[i]
		if sum, ok := c.seen[e.Path]; ok {
			facts[i].sum = sum
			return
		}
		needs = append(needs, needAt(e.Path, e.Name, e.Stat))
		unknown[e.Path] = i
		bytes += e.Stat.Size
	}
	strange := map[string]int{} // files that neither the cache nor the base has
	for i, e := range entries {
		if e.Kind != tree.File {
			continue
		}
		f := &facts[i]
		old, ok := c.base.Rows.Get(e.Path)
		if !ok {
			old, ok = c.out.sparse.row(e.Path)
		}
		if f.sum, f.sealed, f.known = c.cache.LookupLike(e.At(), e.Stat, old.SHA256); f.known {
			continue
		}
		switch {
		case c.format.Class(e.Path) == catalog.Index:
		case !ok:
			strange[e.Path] = i
		case old.Size == e.Stat.Size:
			read(i)
		}
	}
	for _, p := range c.claimedTwice(strange) {
		read(strange[p])
	}
	got, _, err := readAll(ctx, c.src.Root(), needs, c.s.progress("compare", bytes))
	for _, n := range got {
		if p, g := n.path, n.got; g.err() == nil {
			i := unknown[p]
			c.cache.Put(entries[i].At(), entries[i].Stat, g.sha256, c.now)
			c.seen[p] = g.sha256
			// The cache does not store a file that changed very recently. The hash is
			// still good for this comparison with the base.
			facts[i].sum, facts[i].sealed, facts[i].known = c.cache.Lookup(entries[i].At(), entries[i].Stat)
			if !facts[i].known {
				facts[i].sum = g.sha256
			}
		}
	}
	return facts, err
}

// copy returns the op that copies an entry.
func (c *copier) copy(e tree.Entry, f fact) tree.Op {
	op := tree.Op{Path: e.Path, Name: e.Name, From: c.src, How: tree.Copy, Stat: e.Stat,
		Mode: 0o444 | e.Stat.Mode.Perm()&0o111}
	switch {
	case e.Kind == tree.Symlink:
		op.How = tree.Relink
	case f.known:
		op.SHA256, op.Sealed = f.sum, f.sealed
	}
	return op
}

// shares reports whether an entry, which is not a document, is the base's with the same
// bytes: the new tree has a link of the file there.
func (c *copier) shares(e tree.Entry, f fact) bool {
	return e.Kind != tree.Symlink && c.base.Source != nil && c.base.Has(e.Path, f.sum)
}

// op returns the op for one entry, which is not a document, and not one that shares says is
// the base's.
func (c *copier) op(e tree.Entry, f fact) tree.Op {
	op := c.copy(e, f)
	if e.Kind != tree.Symlink && f.known && f.sealed && c.s.Share && !c.changes(e.Path) && readable(e.Stat) {
		// A sealed file belongs to the owner of the repository (see tree.Cache), so
		// sharing it is safe. The owner of another file could make it writable again
		// and so write to production.
		op.How = tree.Share
	}
	return op
}

// readable reports whether everybody may read a file. A tool may have changed that, and
// a link would have the same mode.
func readable(st tree.Stat) bool { return st.Mode.Perm()&0o444 == 0o444 }

// changes reports whether the base has the path. Its bytes differ then, because shares
// was asked before. Such a file needs its own time, so it cannot be shared.
func (c *copier) changes(path string) bool {
	return c.base.Source != nil && c.base.Rows.Find(path) >= 0
}
