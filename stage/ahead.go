package stage

import (
	"context"
	"errors"
	"maps"
	"path"
	"slices"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// reading is the catalog of a snapshot while it is read, beside a comparison of the
// former tree with the base. Both take as long as to walk staging, and need nothing of
// what the walk finds.
type reading struct {
	former *tree.Former // nil for none
	done   chan struct{}
	cat    *catalog.Catalog
	err    error
}

// ahead copies the documents that staging's index names, as long as they are plain
// files, and begins to read them; nil if they are those of the base. What is wrong with
// them is not reported: indexes copies what is not here then, and reports it.
func (c *copier) ahead(ctx context.Context) (*reading, error) {
	named, err := c.format.Documents(tree.Contents(c.src.Root()))
	if err != nil {
		return nil, nil // indexes says so
	}
	byName := func(p string) bool { return c.format.Class(p) == catalog.Index }
	if err := c.run(ctx, c.plainFiles(slices.DeleteFunc(named, func(p string) bool { return !byName(p) }))); err != nil {
		return nil, err
	}
	contents, done, err := c.out.contents()
	if err != nil {
		return nil, err
	}
	named, err = c.format.Documents(contents) // of the copies
	if err = errors.Join(err, done()); err != nil {
		return nil, err
	}
	if err := c.run(ctx, c.plainFiles(slices.DeleteFunc(named, byName))); err != nil {
		return nil, err
	}
	c.out.report = &Report{}
	if c.sameIndexes() {
		return nil, nil
	}
	return c.read(ctx, nil)
}

// plainFiles returns the entries of paths in staging that are regular files, in
// directories that are no links.
func (c *copier) plainFiles(paths []string) (out []tree.Entry) {
	dirs := map[string]bool{".": true}
	var isDir func(p string) bool
	isDir = func(p string) bool {
		is, known := dirs[p]
		if !known {
			fi, err := c.src.Root().Lstat(p)
			is = isDir(path.Dir(p)) && err == nil && fi.IsDir()
			dirs[p] = is
		}
		return is
	}
	for _, p := range paths {
		fi, err := c.src.Root().Lstat(p)
		if err == nil && fi.Mode().IsRegular() && isDir(path.Dir(p)) {
			out = append(out, tree.Entry{Path: p, Stat: tree.StatOf(fi)})
		}
	}
	return out
}

// read begins to read the catalog from the documents in the snapshot. instead of is a
// reading that did not have all of them; nil for none.
func (c *copier) read(ctx context.Context, instead *reading) (*reading, error) {
	r := &reading{done: make(chan struct{})}
	if instead != nil {
		instead.wait()
		r.former = instead.former
	} else {
		var err error
		if r.former, err = c.base.former(ctx); err != nil {
			r.former.Wait()
			return nil, err
		}
	}
	copied := *c.out // more documents may be copied meanwhile
	copied.documents = maps.Clone(c.out.documents)
	contents, done, err := copied.contents()
	if err != nil {
		r.former.Wait()
		return nil, err
	}
	go func() {
		defer close(r.done)
		r.cat, r.err = c.s.Format.Read(ctx, contents)
		r.err = errors.Join(r.err, done())
	}()
	return r, nil
}

// catalog waits for the catalog.
func (r *reading) catalog() (*catalog.Catalog, error) {
	<-r.done
	return r.cat, r.err
}

// wait waits until nothing of the tree is read any more.
func (r *reading) wait() {
	if r != nil {
		<-r.done
		r.former.Wait()
	}
}
