package stage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// Reset makes staging equal to the rows of a generation. Content is shared with the
// generation if that is allowed. Indexes and other mutable files are writable
// copies. Files that the rows do not have, or have with other bytes, are moved to
// the directory trash. A link in staging stays if it leads to the same content as
// the rows at its path. had are the links that staging had when the generation was
// made; they are restored under the same condition. Reset returns the number of
// files that it added and dropped.
func (s *Stage) Reset(
	ctx context.Context, from *tree.Source, rows []tree.Row, trash string, had ...tree.Entry,
) (added, dropped int, err error) {
	return s.become(ctx, "stage reset", from, rows, trash, nil, had...)
}

// become is Reset for a verb. private, if not nil, has made the tree, which is its alone:
// then its files are moved.
func (s *Stage) become(
	ctx context.Context, verb string, from *tree.Source, rows []tree.Row, trash string, private *Assembly,
	had ...tree.Entry,
) (added, dropped int, err error) {
	unlock, err := s.Exclusive(ctx, verb)
	if err != nil {
		return 0, 0, err
	}
	defer unlock()
	if private != nil {
		if err := errors.Join(s.refuseRevoked(private.rows...), private.away.still(ctx, s)); err != nil {
			return 0, 0, err
		}
	}
	defer func() {
		if err != nil { // the cause may be that another tree took the place of from
			err = errors.Join(err, from.Proved())
		}
	}()
	cache := tree.OpenCache(s.Hashes)
	entries, err := tree.Walk(ctx, s.Dir)
	if err != nil {
		return 0, 0, err
	}
	format, err := Within(from.Dir, s.Format)
	if err != nil {
		return 0, 0, err
	}
	rows, texts := s.relink(rows, slices.Concat(had, entries), format)
	want := make(map[string]tree.Row, len(rows))
	for _, r := range rows {
		want[r.Path] = r
	}
	have, err := s.alike(ctx, entries, want, cache)
	if err != nil {
		return 0, 0, err
	}
	dirs := map[string]bool{}
	for _, r := range rows {
		for d := path.Dir(r.Path); d != "."; d = path.Dir(d) {
			dirs[d] = true
		}
	}
	// stale files are not in the rows; replaced files are in the rows with other
	// bytes; files inTheWay are where a folder must be, or below a path where a file
	// must be.
	var stale, replaced, inTheWay []string
	for _, e := range entries {
		if have[e.Path] {
			continue
		}
		_, ok := want[e.Path]
		below := false
		for d := path.Dir(e.Path); d != "." && !below; d = path.Dir(d) {
			_, below = want[d]
		}
		switch {
		case below, dirs[e.Path], ok && e.Kind == tree.Unreadable:
			inTheWay = append(inTheWay, e.Path)
		case ok:
			replaced = append(replaced, e.Path)
		default:
			stale = append(stale, e.Path)
		}
	}

	// Make all new files in a private directory before anything is removed.
	d, err := s.Receive(ctx, verb)
	if err != nil {
		return 0, 0, err
	}
	defer d.Close()
	d.cache = cache
	batch, err := durable.NewBatch(s.Dir)
	if err != nil {
		return 0, 0, err
	}
	defer batch.Close()
	contents := tree.Contents(from.Root())
	if private != nil {
		contents = private.away.source(contents)
	}
	apart, err := s.apart(ctx, contents)
	if err != nil {
		return 0, 0, err
	}
	var ops []tree.Op
	var indexes, others []tree.Row
	for _, r := range rows {
		if have[r.Path] {
			continue
		}
		op := tree.Op{Path: r.Path, From: from, How: tree.Copy, SHA256: r.SHA256, Mode: 0o644,
			Stat: tree.Stat{Size: r.Size}}
		if catalog.ServingAt(format, r.Path) != nil {
			op.SHA256 = "" // the row is about the own form: see document
		}
		switch {
		case r.Role == catalog.Link:
			op.How = tree.Relink
			if text, ok := texts[r.Path]; ok {
				op.Bytes = []byte(text)
			}
		case r.Role == catalog.Content && apart.has(r.Path):
		case r.Role == catalog.Content && (s.Share || private != nil):
			op.How = tree.Share
		case r.Role == catalog.Content:
			op.Mode = 0o444
		}
		if format.Class(r.Path) == catalog.Index {
			indexes = append(indexes, r)
		} else {
			others = append(others, r)
			if private != nil && movable(from, op) {
				op.How = tree.Move
			}
		}
		ops = append(ops, op)
	}
	cloner := tree.Cloner{Dst: d.up.path(), DirMode: s.dirMode(), Batch: batch, Progress: s.progress("reset", 0)}
	results, err := cloner.Run(ctx, ops)
	if err = errors.Join(err, from.Proved()); err != nil {
		return 0, 0, err
	}
	for i, r := range results {
		switch {
		case r.Err != nil:
			return 0, 0, r.Err
		case r.SHA256 != ops[i].SHA256 && ops[i].SHA256 != "":
			return 0, 0, fmt.Errorf("%s: has sha256 %s, its manifest says %s", join(from.Dir, ops[i].Path), r.SHA256,
				ops[i].SHA256)
		}
	}
	if err := batch.Flush(); err != nil {
		return 0, 0, err
	}
	// The order keeps staging valid, if it was, even if a step is interrupted: content
	// comes before the indexes that name it, and is removed after them.
	if err := s.discard(ctx, inTheWay, trash); err != nil {
		return 0, 0, err
	}
	if err := s.keep(ctx, replaced, trash); err != nil {
		return 0, 0, err
	}
	docs := make([]catalog.Document, len(indexes))
	for i, r := range indexes {
		if docs[i], err = d.document(r, catalog.ServingAt(format, r.Path)); err != nil {
			return 0, 0, fmt.Errorf("%s: %w", join(from.Dir, r.Path), err)
		}
	}
	d.hold(".", others...)
	// The companions of the documents are among the other files, so apply need not make them.
	if _, err := d.land(&catalog.Change{Documents: docs}, s.apply); err != nil {
		return 0, 0, err
	}
	if err := s.touchRows(want); err != nil {
		return 0, 0, err
	}
	if sp, err := s.sparse(ctx); err != nil {
		return 0, 0, err
	} else if sp != nil && private != nil { // before files go: then the store's would count
		if err := s.writeRemoved(private.dropped(sp)); err != nil {
			return 0, 0, err
		}
	}
	if err := s.discard(ctx, stale, trash); err != nil {
		return 0, 0, err
	}
	return len(ops), len(inTheWay) + len(replaced) + len(stale), nil
}

// movable reports whether the file of an op of a private tree may be renamed instead of
// copied or linked, and gives it the mode that it is to have: no other tree has it.
func movable(from *tree.Source, op tree.Op) bool {
	if op.How == tree.Relink {
		return false
	}
	mode := op.Mode
	if op.How == tree.Share {
		mode = 0o444
	}
	fi, err := from.Root().Lstat(op.Path)
	if err != nil || !fi.Mode().IsRegular() || tree.StatOf(fi).Links != 1 {
		return false
	}
	return fi.Mode().Perm() == mode || from.Root().Chmod(op.Path, mode) == nil
}

// touchRows is touch for companions that have a row.
func (s *Stage) touchRows(rows map[string]tree.Row) error {
	root, err := os.OpenRoot(s.Dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return s.touch(tree.FS(root), func(p string) bool { _, ok := rows[p]; return ok })
}

// apart is the function apart for a tree. Only formats whose documents have two forms
// have such items.
func (s *Stage) apart(ctx context.Context, from catalog.Source) (names, error) {
	if catalog.Serving(s.Format) == nil {
		return nil, nil
	}
	cat, err := s.Format.Read(ctx, from)
	if err != nil {
		return nil, err
	}
	return apart(cat), nil
}

// alike returns the paths at which staging already has what the rows have. It
// reads files of the right size that the cache does not know. That is cheaper than
// replacing them, and avoids copies in the trash.
func (s *Stage) alike(
	ctx context.Context, entries []tree.Entry, want map[string]tree.Row, cache *tree.Cache,
) (map[string]bool, error) {
	root, err := os.OpenRoot(s.Dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	have := map[string]bool{}
	now := s.Now()
	var needs []*need
	var bytes int64
	for _, e := range entries {
		r, ok := want[e.Path]
		switch {
		case !ok:
		case e.Kind == tree.Symlink:
			have[e.Path] = linkRow(e) == r
		case e.Kind == tree.File && r.Role != catalog.Link && catalog.ServingAt(s.Format, e.Path) != nil:
			have[e.Path] = isOwn(catalog.ServingAt(s.Format, e.Path), root, r)
		case e.Kind == tree.File && r.Role != catalog.Link && e.Stat.Size == r.Size:
			if sum, _, known := cache.Lookup(e.Path, e.Stat); known {
				have[e.Path] = sum == r.SHA256
				continue
			}
			needs = append(needs, &need{path: e.Path, stat: e.Stat})
			bytes += e.Stat.Size
		}
	}
	got, _, err := readAll(ctx, root, needs, s.progress("compare", bytes))
	for _, n := range got {
		if n.got.err() == nil {
			cache.Put(n.path, n.stat, n.got.sha256, now)
			have[n.path] = n.got.sha256 == want[n.path].SHA256
		}
	}
	return have, err
}

// document reads a document that a Cloner has put into the private directory. of is
// its format if it has two forms: then it is to have the row in its own form.
func (d *Delivery) document(r tree.Row, of catalog.Server) (catalog.Document, error) {
	if of != nil {
		data, err := ReadServed(d.up.dir.Root(), r.Path)
		if got := OwnRow(of, r.Path, data); err == nil && got.SHA256 != r.SHA256 {
			err = fmt.Errorf("has sha256 %s in its own form, its manifest says %s", got.SHA256, r.SHA256)
		}
		return catalog.Document{Path: r.Path, Data: of.Own(data)}, err
	}
	f, _, err := tree.Open(d.up.dir.Root(), r.Path)
	if err != nil {
		return catalog.Document{}, err
	}
	defer f.Close()
	data, err := durable.ReadBounded(f, r.Size)
	return catalog.Document{Path: r.Path, Data: data}, err
}
