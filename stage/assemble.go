package stage

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"syscall"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// Assembly puts a whole tree together in a private directory below staging, out of
// contents that come from outside (Put) and contents that are here (Lend). When it is
// complete (Finish) it takes the place of what is staged (Become), or is merged into it
// (Merge). Until then staging is unchanged; if the process is killed, the next holder
// of the staging lock removes the directory.
type Assembly struct {
	s     *Stage
	d     *Delivery // only for its private directory
	dir   string    // of the tree
	batch *durable.Batch
	rows  []tree.Row
	tell  func(int64)

	known map[string]tree.Row // files that are made, with a hash that was computed, by path
	first map[string]string   // paths of these, by content
	lent  map[string]lent     // where content is here
	lends []*tree.Source      // trees of these, to be closed
	away  *sparse             // what counts as present: see sparseRows; nil for staging with all files
}

// lent is a file of a tree that has a content.
type lent struct {
	from  *tree.Source
	path  string
	stat  tree.Stat // the zero Stat for a tree that nobody changes
	share bool      // it may be linked, if it is sealed
}

// Assemble begins a tree with these rows, which are sorted by path and make a tree. Close
// it after use.
func (s *Stage) Assemble(ctx context.Context, verb string, rows []tree.Row) (*Assembly, error) {
	d, err := s.Receive(ctx, verb)
	if err != nil {
		return nil, err
	}
	a := &Assembly{s: s, d: d, rows: rows, dir: filepath.Join(d.up.path(), "tree"), known: map[string]tree.Row{},
		first: map[string]string{}, lent: map[string]lent{}}
	if a.away, err = s.countsOf(ctx, rows); err != nil {
		d.Close()
		return nil, err
	}
	var bytes int64
	seen := make(map[string]bool, len(rows))
	for _, r := range a.here() {
		if !seen[r.SHA256] {
			bytes += r.Size
		}
		seen[r.SHA256] = true
	}
	a.tell = s.progress("import", bytes)
	if err = durable.MkdirAll(a.dir, 0o700); err == nil {
		a.batch, err = durable.NewBatch(a.dir)
	}
	if err != nil {
		d.Close()
		return nil, err
	}
	return a, nil
}

// Close discards the private directory.
func (a *Assembly) Close() {
	for _, src := range a.lends {
		_ = src.Close() // it was only read
	}
	a.lends = nil
	_ = a.batch.Close() // what it has is discarded
	a.d.Close()
}

// Put makes the file of a row out of its content. The error wraps [catalog.ErrDigest]
// for other content.
func (a *Assembly) Put(ctx context.Context, row tree.Row, content io.Reader) error {
	if free, err := durable.Free(a.dir); err == nil && row.Size > free {
		return &fs.PathError{Op: "write", Path: a.dir, Err: syscall.ENOSPC}
	}
	if row.Role == catalog.Link {
		text, err := io.ReadAll(io.LimitReader(content, row.Size+1))
		if err != nil {
			return err
		}
		return a.link(row, string(text))
	}
	dir, err := durable.MakeBelow(a.dir, path.Dir(row.Path), 0o700, false)
	if err != nil {
		return err
	}
	defer dir.Close()
	f, err := dir.Create(path.Base(row.Path))
	if err != nil {
		return err
	}
	sum := tree.NewSHA256()
	var to io.Writer = f
	end := func() error { return nil }
	if row.Size >= directAbove {
		if d, err := durable.NewDirect(f); err == nil {
			to, end = d, d.End
		}
	}
	n, err := tree.Spread(ctx, progressReader{io.LimitReader(content, row.Size+1), a.tell}, to, sum)
	err = errors.Join(err, end())
	if err == nil && (n != row.Size || hex.EncodeToString(sum.Sum(nil)) != row.SHA256) {
		err = fmt.Errorf("%s: %w, sha256:%s", row.Path, catalog.ErrDigest, row.SHA256)
	}
	if err == nil {
		err = f.Chmod(modeOf(row))
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	a.known[row.Path], a.first[row.SHA256] = row, row.Path
	a.batch.Add(dir.Path())
	return a.batch.Take(f)
}

// modeOf is the mode of a file in staging.
func modeOf(row tree.Row) fs.FileMode {
	if row.Role == catalog.Content {
		return 0o444
	}
	return 0o644
}

func (a *Assembly) link(row tree.Row, text string) error {
	dir, err := durable.MakeBelow(a.dir, path.Dir(row.Path), 0o700, false)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := dir.Symlink(text, path.Base(row.Path)); err != nil {
		return err
	}
	a.known[row.Path] = row
	a.batch.Add(dir.Path())
	return nil
}

// Lacks returns the rows whose content is neither made nor lent yet.
func (a *Assembly) Lacks() []tree.Row {
	var out []tree.Row
	for _, r := range a.here() {
		if _, made := a.known[r.Path]; made || r.Role != catalog.Link && a.first[r.SHA256] != "" {
			continue
		}
		if _, ok := a.lent[contentKey(r)]; !ok {
			out = append(out, r)
		}
	}
	return out
}

// contentKey tells the text of a link from a file with the same bytes.
func contentKey(r tree.Row) string {
	if r.Role == catalog.Link {
		return "link " + r.SHA256
	}
	return r.SHA256
}

// Lend says that a tree has these rows. Nobody may write to its files. The Assembly
// closes it.
func (a *Assembly) Lend(from *tree.Source, rows []tree.Row) {
	a.lends = append(a.lends, from)
	wanted := a.wanted()
	for _, r := range rows {
		if wanted[contentKey(r)] {
			a.lent[contentKey(r)] = lent{from: from, path: r.Path, share: a.s.Share}
		}
	}
}

// wanted has the keys of Lacks.
func (a *Assembly) wanted() map[string]bool {
	out := map[string]bool{}
	for _, r := range a.Lacks() {
		out[contentKey(r)] = true
	}
	return out
}

// LendStaging takes what is still wanted from staging. It reads the files of a size that
// is wanted whose hash the cache does not know.
func (a *Assembly) LendStaging(ctx context.Context) error {
	wanted := a.wanted()
	if len(wanted) == 0 {
		return nil
	}
	sizes := map[int64]bool{}
	for _, r := range a.Lacks() {
		sizes[r.Size] = true
	}
	src, err := tree.OpenSource(a.s.Dir)
	if err != nil {
		return err
	}
	a.lends = append(a.lends, src)
	entries, err := src.Walk(ctx)
	if err != nil {
		return err
	}
	cache := tree.ReadCache(a.s.Hashes)
	stats := map[string]tree.Stat{}
	var needs []*need
	for _, e := range entries {
		switch {
		case e.Kind == tree.Symlink:
			if r := linkRow(e); wanted[contentKey(r)] {
				a.lent[contentKey(r)] = lent{from: src, path: e.Path}
			}
			continue
		case e.Kind == tree.File && catalog.ServingAt(a.s.Format, e.Path) != nil:
			needs = append(needs, &need{path: e.Path, stat: e.Stat, odd: &odd{of: catalog.ServingAt(a.s.Format, e.Path)}})
			continue
		case e.Kind != tree.File || !sizes[e.Stat.Size]:
			continue
		}
		if sum, sealed, ok := cache.Lookup(e.Path, e.Stat); !ok {
			stats[e.Path] = e.Stat
			needs = append(needs, &need{path: e.Path, stat: e.Stat})
		} else if wanted[sum] {
			a.lent[sum] = lent{src, e.Path, e.Stat, sealed}
		}
	}
	got, _, err := readAll(ctx, src.Root(), needs, func(int64) {})
	for _, n := range got {
		if sum := n.got.sha256; n.got.err() == nil && wanted[sum] {
			a.lent[sum] = lent{from: src, path: n.path, stat: stats[n.path]}
		}
	}
	return err
}

// LacksError is returned for content that is not to be had.
type LacksError struct{ Rows []tree.Row }

func (e *LacksError) Error() string {
	r := e.Rows[0]
	text := fmt.Sprintf("%s: its content sha256:%s is neither in it nor here", r.Path, r.SHA256)
	if n := len(e.Rows) - 1; n > 0 {
		text += fmt.Sprintf(", and that of %d more", n)
	}
	return text
}

// Finish makes the files whose content is here, and checks the tree. It returns a
// *LacksError if content is missing, and a *FindingsError for a tree that is not valid.
func (a *Assembly) Finish(ctx context.Context) (*Report, error) {
	if err := a.LendStaging(ctx); err != nil {
		return nil, err
	}
	if rows := a.Lacks(); len(rows) > 0 {
		return nil, &LacksError{rows}
	}
	own, err := tree.OpenSource(a.dir)
	if err != nil {
		return nil, err
	}
	a.lends = append(a.lends, own)
	var ops []tree.Op
	var rows []tree.Row // of these
	for _, r := range a.here() {
		if _, made := a.known[r.Path]; made {
			continue
		}
		op := tree.Op{Path: r.Path, How: tree.Copy, Mode: modeOf(r)}
		share := true // within the tree
		if at := a.first[r.SHA256]; at != "" && r.Role != catalog.Link {
			op.From, op.Name = own, at
		} else {
			l := a.lent[contentKey(r)]
			op.From, op.Name, op.Stat, share = l.from, l.path, l.stat, l.share
			if server := catalog.ServingAt(a.s.Format, l.path); server != nil && r.Role != catalog.Link {
				data, err := ReadServed(l.from.Root(), l.path)
				if err != nil {
					return nil, err
				}
				op.Bytes = server.Own(data) // the content of the row is that form
			}
		}
		switch {
		case r.Role == catalog.Link:
			op.How = tree.Relink
		case r.Role == catalog.Content && share && a.sealed(op, r):
			op.How, op.Sealed = tree.Share, true
		}
		ops, rows = append(ops, op), append(rows, r)
	}
	cloner := tree.Cloner{Dst: a.dir, DirMode: 0o700, Batch: a.batch, Progress: a.tell}
	done, err := cloner.Run(ctx, ops)
	if err != nil {
		return nil, err
	}
	for i, c := range done {
		if err := errors.Join(c.Err, ops[i].From.Proved()); err != nil {
			return nil, err
		}
		// A copy was hashed while it was made, and what is linked to a file of this tree is that file.
		if r := rows[i]; r.Role != catalog.Link && (c.SHA256 == r.SHA256 || c.Shared && ops[i].From == own) {
			a.known[r.Path] = r
		}
	}
	if err := a.batch.Flush(); err != nil {
		return nil, err
	}
	return a.check(ctx, own)
}

// sealed reports whether nobody writes to the file of an op.
func (a *Assembly) sealed(op tree.Op, row tree.Row) bool {
	fi, err := op.From.Root().Lstat(op.Name)
	return err == nil && fi.Mode().IsRegular() && fi.Mode().Perm()&0o222 == 0 && fi.Size() == row.Size
}

// check validates the tree, and reads what was lent.
func (a *Assembly) check(ctx context.Context, own *tree.Source) (*Report, error) {
	checked, err := validateTree(ctx, own, a.s.Format, a.away, RefuseLinks, everything, tree.OpenCache(""),
		tree.ReadFacts(""), Checks{Now: a.s.Now()}, a.known, a.s.progress)
	if err != nil {
		return nil, err
	}
	for _, r := range a.rows {
		got, ok := checked.Row(r.Path)
		switch {
		case ok && (got.SHA256 != r.SHA256 || got.Size != r.Size):
			checked.Report.fail("content", r.Path, "has sha256 %s, the manifest says %s", got.SHA256, r.SHA256)
		case !ok && a.away.holds(r):
			checked.Report.fail("content", r.Path, "is content in the manifest, and no index of the bundle names it")
		}
	}
	return checked.Report, checked.Report.failed()
}

// Become makes staging equal to the tree. What else was staged moves to the directory
// trash: see Reset.
func (a *Assembly) Become(ctx context.Context, trash string) (added, dropped int, err error) {
	src, err := tree.OpenSource(a.dir)
	if err != nil {
		return 0, 0, err
	}
	defer src.Close()
	return a.s.become(ctx, a.d.verb, src, a.here(), trash, a)
}

// Merge merges the tree into staging: see Import. Files whose hash is known
// are moved there.
func (a *Assembly) Merge(ctx context.Context) (*Imported, error) {
	sums := make(map[string]string, len(a.known))
	for _, r := range a.known {
		if r.Role != catalog.Link {
			sums[r.Path] = r.SHA256
		}
	}
	out, _, err := a.s.merge(ctx, a.dir, &private{sums, a.away}) // nobody writes there
	return out, err
}
