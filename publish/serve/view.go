package serve

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"sync/atomic"

	"example.com/publish/publish/generation"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// view is one generation, open for requests. It does not change. Each request that uses
// it holds it with acquire and release; who made it also holds it.
type view struct {
	*generation.View
	stamp     stamp
	number    []string // of the generation, as a header
	documents map[string]*document
	repos     *repositories // nil: the format has none, and its documents are files
	kept      bool          // it was opened as a kept generation, and not as production

	refs atomic.Int64
	sure atomic.Int64 // until then production is this view for sure: see onDisk
	idle idleFiles
}

// newView opens what the documents of a generation say. It takes over v, and those
// documents of the view before that are the same.
func newView(
	ctx context.Context, v *generation.View, st stamp, f catalog.Format, before *view,
) (_ *view, err error) {
	n := &view{View: v, stamp: st, number: []string{strconv.Itoa(v.Generation)}, documents: map[string]*document{}}
	n.refs.Store(1)
	defer func() {
		if err != nil {
			n.release()
		}
	}()
	if p, ok := catalog.As[catalog.Puller](f); ok {
		if n.repos, err = readRepositories(ctx, v, p, before); err != nil {
			return nil, err
		}
		return n, v.Proved()
	}
	paths, err := f.Documents(v.Contents())
	if err != nil {
		return nil, err
	}
	of, err := v.Companions(f)
	if err != nil {
		return nil, err
	}
	open := 0
	for _, row := range v.Own {
		if row.Role != catalog.Mutable {
			continue
		}
		if _, named := slices.BinarySearch(paths, row.Path); !named && of(row.Path) == "" {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		d, err := n.document(row, before, open < maxOpen)
		if err != nil {
			return nil, fmt.Errorf("generation %d: %w", v.Generation, err)
		}
		d.views.Add(1)
		n.documents[row.Path] = d
		if d.file != nil {
			open++
		}
	}
	return n, v.Proved()
}

// document returns the document of a row: that of the view before, if it has the same
// bytes.
func (v *view) document(row tree.Row, before *view, keep bool) (*document, error) {
	if before == nil || before.documents[row.Path] == nil || before.documents[row.Path].row != row {
		return openDocument(v.View, row, keep)
	}
	d := before.documents[row.Path]
	fi, err := v.Lstat(row.Path)
	if err != nil {
		return nil, err
	}
	if fi.Size() != row.Size || !fi.ModTime().Equal(d.mtime) {
		return openDocument(v.View, row, keep)
	}
	return d, nil
}

// stampIn is stampAt for an open view.
func stampIn(v *generation.View) (stamp, error) {
	fi, err := v.Lstat(generation.IdentityName)
	if err != nil {
		return stamp{}, err
	}
	return stampOf(fi)
}

// content opens the file of a row for a request. Elsewhere, a file that production itself
// has is never just missing: only what is carried, or of a kept generation, goes.
func (v *view) content(ctx context.Context, row tree.Row) (opened, error) {
	c, err := v.Content(ctx, row)
	_, own := tree.Find(v.Own, row.Path)
	out := opened{Content: c, own: own, kept: v.kept}
	if !c.Modified.IsZero() {
		out.date = []string{formatTime(c.Modified)}
	}
	return out, err
}

// acquire holds the view for a request. It returns false if the view is closed.
func (v *view) acquire() bool {
	for {
		n := v.refs.Load()
		if n == 0 {
			return false
		}
		if v.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// release ends a hold. The last one closes the view.
func (v *view) release() {
	if v.refs.Add(-1) > 0 {
		return
	}
	for _, d := range v.documents {
		d.leave()
	}
	v.idle.keep(idleLimit{})
	_ = v.Close()
}

// drop is release for a view that may be nil.
func (v *view) drop() {
	if v != nil {
		v.release()
	}
}

// gone reports whether an error says that a file of a view is not there any more.
func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) }
