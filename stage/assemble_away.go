package stage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// A tree that is put together for a sparse staging lacks the content that counts as
// present there.

// countsOf returns those of some rows that count as present in staging, as a sparse of
// their own; nil if staging has all files of its tree. A row counts if the generation that
// staging began from has it, and staging has nothing at its path.
func (s *Stage) countsOf(ctx context.Context, rows []tree.Row) (*sparse, error) {
	sp, err := s.sparse(ctx)
	if sp == nil || err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(s.Dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	var away []tree.Row
	for _, r := range rows {
		if !sp.gives(r) {
			continue
		}
		if _, err := root.Lstat(r.Path); missing(err) {
			away = append(away, r)
		}
	}
	return &sparse{Elsewhere: &Elsewhere{Rows: away, Open: sp.Open}, ctx: ctx, format: s.Format}, nil
}

// missing reports whether the error of Lstat says that nothing is there.
func missing(err error) bool { return err != nil && unlessMissing(err) == nil }

// gives reports whether a row would count as present in a staging that has nothing at its
// path, and indexes that name it.
func (sp *sparse) gives(r tree.Row) bool {
	at, ok := tree.Find(sp.Rows, r.Path)
	return ok && at == r && (r.Role == catalog.Content || sp.format.Class(r.Path) == catalog.Whole && !sp.removed[r.Path])
}

// holds reports whether a row is among those of sp, which may be nil.
func (sp *sparse) holds(r tree.Row) bool {
	if sp == nil {
		return false
	}
	at, ok := tree.Find(sp.Rows, r.Path)
	return ok && at == r
}

// here are the rows that do not count as present: the files of the private directory.
func (a *Assembly) here() []tree.Row {
	if a.away == nil || len(a.away.Rows) == 0 {
		return a.rows
	}
	return slices.DeleteFunc(slices.Clone(a.rows), a.away.holds)
}

// still returns an error if a row that counted as present counts no longer: staging got
// something at its path, or another beginning. The caller holds the staging lock.
func (sp *sparse) still(ctx context.Context, s *Stage) error {
	if sp == nil || len(sp.Rows) == 0 {
		return nil
	}
	err := s.stillCount(ctx, sp.Rows)
	if lost := new(fs.PathError); errors.As(err, &lost) && errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%s: %w; nothing was imported: try again", lost.Path, tree.ErrChanged)
	}
	return err
}

// Fetch reads what is still wanted, where some rows have it, from elsewhere. Those that are
// there no longer are passed over.
func (a *Assembly) Fetch(ctx context.Context, rows []tree.Row,
	open func(context.Context, tree.Row) (io.ReadCloser, error)) error {
	from := map[string]tree.Row{}
	for _, r := range rows {
		from[contentKey(r)] = r
	}
	for _, r := range a.Lacks() {
		at, ok := from[contentKey(r)]
		if !ok || a.has(r) { // another row has brought it
			continue
		}
		if err := a.fetch(ctx, r, at, open); err != nil {
			return err
		}
	}
	return nil
}

// has reports whether the content of a row came.
func (a *Assembly) has(r tree.Row) bool {
	_, made := a.known[r.Path]
	return made || r.Role != catalog.Link && a.first[r.SHA256] != ""
}

func (a *Assembly) fetch(ctx context.Context, r, at tree.Row,
	open func(context.Context, tree.Row) (io.ReadCloser, error)) error {
	in, err := open(ctx, at)
	if err != nil {
		if unlessMissing(err) == nil {
			return nil
		}
		return err
	}
	defer in.Close()
	return a.Put(ctx, r, in)
}

// dropped returns the paths of what would count as present without a document that names
// it, and that the tree does not have: see RemovedList.
func (a *Assembly) dropped(sp *sparse) (out []string) {
	for _, r := range sp.Rows {
		if sp.format.Class(r.Path) != catalog.Whole {
			continue
		}
		if _, ok := tree.Find(a.rows, r.Path); !ok {
			out = append(out, r.Path)
		}
	}
	return out
}

// private is a tree that is the caller's alone, in a private directory below staging.
type private struct {
	sums map[string]string // of files that were checked and synced: they may be moved
	away *sparse           // what the tree lacks, since staging counts it as present; may be nil
}

// sum returns the hash of a file that may be moved; "" for none.
func (p *private) sum(path string) string {
	if p == nil {
		return ""
	}
	return p.sums[path]
}

// rows are those that count as present.
func (p *private) rows() []tree.Row {
	if p == nil || p.away == nil {
		return nil
	}
	return p.away.Rows
}
