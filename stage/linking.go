package stage

import (
	"context"
	"os"
	"path"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// linking links what the base has with the same bytes while the catalog is
// read, which decides what belongs into the snapshot, and while the snapshot is
// validated: most of what was there will be there again, and a link of a file
// that this program sealed cannot turn out to have other bytes. Until settle
// has returned, what is on the disk may be less or more than the snapshot's
// rows; nobody may read it, or rely on it, before.
type linking struct {
	copier *copier
	cancel context.CancelFunc
	chosen chan struct{} // closed when paths is set
	done   chan struct{} // closed when linked is
	paths  []string      // sorted
	linked []bool

	// What the snapshot wants of it, once the catalog is known.
	admitted []tree.Entry
	named    map[string]bool
	wanted   []int32 // of paths: the place in admitted, or -1
}

// link begins. It is nil when there is nothing to wait for: there is no base,
// or there are no indexes but the base's.
func (c *copier) link(ctx context.Context, entries []tree.Entry) *linking {
	if c.base.Source == nil || c.sameIndexes() {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	l := &linking{copier: c, cancel: cancel, chosen: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(l.done)
		for _, e := range entries {
			if e.Kind != tree.File || c.base.Rows[e.Path].Role != catalog.Content {
				continue
			}
			if sum, _, ok := c.cache.Lookup(e.At(), e.Stat); ok && c.base.Has(e.Path, sum) {
				l.paths = append(l.paths, e.Path)
			}
		}
		close(l.chosen)
		l.linked = tree.Links(ctx, c.dst, c.base.Source, l.paths)
	}()
	return l
}

// choose waits until it is known what is linked: from then on the entries are
// not used any more.
func (l *linking) choose() {
	if l != nil {
		<-l.chosen
	}
}

// want tells what the snapshot is to consist of. The answer is what has to be
// cloned besides; the rest is promised, and has its rows.
func (l *linking) want(admitted []tree.Entry, facts []fact, named map[string]bool) ([]tree.Entry, []fact) {
	if l == nil {
		return admitted, facts
	}
	var rest []tree.Entry
	var of []fact
	l.choose()
	c := l.copier
	l.admitted, l.named, l.wanted = admitted, named, make([]int32, len(l.paths))
	for i := range l.wanted {
		l.wanted[i] = -1
	}
	flushed := map[string]bool{}
	next := 0
	for i, e := range admitted { // sorted as paths are
		op := c.op(e, facts[i])
		for next < len(l.paths) && l.paths[next] < op.Path {
			next++
		}
		if next == len(l.paths) || l.paths[next] != op.Path || op.How != tree.Share || op.From != c.base.Source {
			rest, of = append(rest, e), append(of, facts[i])
			continue
		}
		l.wanted[next] = int32(i)
		c.out.files[op.Path] = tree.Row{Path: op.Path, Size: op.Stat.Size, SHA256: op.SHA256, Role: role(named, op.Path)}
		for dir := path.Dir(op.Path); !flushed[dir]; dir = path.Dir(dir) {
			flushed[dir] = true
			c.batch.Add(join(c.dst, dir))
		}
	}
	return rest, of
}

// settle waits for the links and makes the disk what was promised: it removes
// what does not belong here after all, and clones what could not be linked, as
// where the links of another user's files are forbidden. It reports whether it
// did, for then rows have changed and may be missing. Staging is not locked any
// more; but what is copied from there is what was walked, or fails.
func (l *linking) settle(ctx context.Context) (changed bool, err error) {
	if l == nil {
		return false, nil
	}
	<-l.done
	if err := ctx.Err(); err != nil {
		return false, err
	}
	c := l.copier
	var entries []tree.Entry
	for i, p := range l.paths {
		at := l.wanted[i]
		switch {
		case at >= 0 && !l.linked[i]:
			entries = append(entries, l.admitted[at])
			delete(c.out.files, p)
			continue
		case at >= 0 || !l.linked[i]:
			continue
		}
		if err := os.Remove(join(c.dst, p)); err != nil {
			return false, err
		}
		for dir := path.Dir(p); dir != "." && os.Remove(join(c.dst, dir)) == nil; dir = path.Dir(dir) {
		}
	}
	l.paths, l.admitted = nil, nil
	if len(entries) == 0 {
		return false, nil
	}
	c.out.rows, c.out.treeID = nil, ""
	facts, err := c.recognize(ctx, entries)
	if err != nil {
		return true, err
	}
	return true, c.clone(ctx, entries, facts, l.named)
}

// stop ends it, wherever it is.
func (l *linking) stop() {
	if l != nil {
		l.cancel()
		<-l.done
	}
}
