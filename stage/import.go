package stage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/companion"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// Imported is the result of Import.
type Imported struct {
	Images    int             // images of the tree that clients list
	Skipped   int             // images of the tree that clients skip
	Files     int             // files that came into staging, without indexes
	Bytes     int64           // of these
	Replaced  []string        // paths that no index names any more, and files that were overwritten; sorted
	Unchanged bool            // staging already had all of it
	Report    *Report         // warnings
	Moved     []catalog.Image // images whose names stood for others until then: see Before
}

// Import merges a tree that others made into staging. If both have something, the
// tree wins; what only staging has stays. The tree is only read.
//
// First it works without a lock. It copies the tree's indexes to a private
// directory and reads them there. It also copies every file that they name, and
// every other file that a promote would publish, unless staging has the same bytes
// at that path. It checks all of them against the indexes. Findings of severity
// error are returned in a *FindingsError, and nothing has changed. Then, under the
// staging lock, it changes staging as Add does: content, directories, catalogs,
// index.
func (s *Stage) Import(ctx context.Context, dir string) (*Imported, error) {
	if err := s.foreign(dir); err != nil {
		return nil, err
	}
	var out *Imported
	err := s.patiently(ctx, func() (half bool, err error) {
		out, half, err = s.merge(ctx, dir, nil)
		return half, err
	})
	return out, err
}

// merge is Import of a tree that may be below staging, in a private directory: own says
// so, and is nil for others.
// half is true if it failed over a document of the tree that somebody may be writing.
func (s *Stage) merge(ctx context.Context, dir string, own *private) (
	out *Imported, half bool, err error) {
	d, err := s.Receive(ctx, "stage import")
	if err != nil {
		return nil, false, err
	}
	defer d.Close()
	d.cache = tree.OpenCache(s.Hashes) // recognize needs it
	im := &importer{s: s, d: d, out: &Imported{}, report: &Report{}, cache: d.cache, private: own,
		indexes: filepath.Join(d.up.path(), indexesDir), files: filepath.Join(d.up.path(), filesDir)}
	for _, dir := range []string{im.indexes, im.files} {
		if err = durable.MkdirAll(dir, 0o700); err != nil {
			return nil, false, err
		}
	}
	if im.src, err = tree.OpenSource(dir); err != nil {
		return nil, false, err
	}
	defer im.src.Close()
	if im.dst, err = os.OpenRoot(s.Dir); err != nil {
		return nil, false, err
	}
	defer im.dst.Close()
	if err := im.fetch(ctx); err != nil {
		return nil, im.cat != nil && len(im.cat.Half) > 0, err
	}
	theirs, err := os.OpenRoot(im.indexes)
	if err != nil {
		return nil, false, err
	}
	defer theirs.Close()
	files, err := os.OpenRoot(im.files)
	if err != nil {
		return nil, false, err
	}
	defer files.Close()
	contents := im.contents(theirs)
	contents.moved = tree.Contents(files)
	edit, err := s.Format.Merge(ctx, contents)
	if err != nil {
		return nil, false, err
	}
	d.hold(filesDir, im.came...)
	did, err := d.Commit(ctx, func(ctx context.Context, ours catalog.Source) (*catalog.Change, error) {
		return im.merge(ctx, ours, edit)
	})
	if err != nil {
		return nil, false, err
	}
	return im.imported(did), false, nil
}

// foreign returns an error if dir is staging, is inside staging, or contains it.
func (s *Stage) foreign(dir string) error {
	theirs, err := filepath.EvalSymlinks(dir)
	if err == nil {
		theirs, err = filepath.Abs(theirs)
	}
	if err != nil {
		return err
	}
	if fi, err := os.Stat(theirs); err != nil {
		return err
	} else if !fi.IsDir() {
		return usage("", "%s: is not a directory", dir)
	}
	ours, err := filepath.EvalSymlinks(s.Dir)
	if err != nil {
		return err
	}
	// Compare inodes, not paths: with a bind mount a directory has two paths.
	for _, pair := range [][2]string{{theirs, ours}, {ours, theirs}} {
		top, err := os.Stat(pair[1])
		if err != nil {
			return err
		}
		for d := pair[0]; ; d = filepath.Dir(d) {
			if fi, err := os.Stat(d); err == nil && os.SameFile(fi, top) {
				return usage("give a tree outside staging", "%s: must be outside staging, and must not contain it", dir)
			}
			if d == filepath.Dir(d) {
				break
			}
		}
	}
	return nil
}

// The folders of an import's private directory.
const (
	indexesDir = "indexes"
	filesDir   = "files"
)

// importer is the state of one call of Import.
type importer struct {
	s       *Stage
	d       *Delivery
	out     *Imported
	report  *Report
	src     *tree.Source
	dst     *os.Root
	cache   *tree.Cache
	indexes string         // copies of the tree's indexes
	files   string         // its other files, copied or moved
	private *private       // see Stage.merge
	format  catalog.Format // for that tree: see Within

	cat   *catalog.Catalog
	named names
	docs  []tree.Row            // documents, copied to indexes
	near  []companion.Companion // companions of the documents, copied to indexes; without stale ones
	came  []tree.Row            // other files, in files
	same  map[string]tree.Stat  // files that staging has with the same bytes, with their state
}

// fetch copies and checks the tree. It writes only to the private directory.
func (im *importer) fetch(ctx context.Context) error {
	entries, err := tree.Walk(ctx, im.src.Dir)
	if err != nil {
		return err
	}
	batch, err := durable.NewBatch(im.d.up.path())
	if err != nil {
		return err
	}
	defer batch.Close()
	var rest []tree.Entry
	var ops []tree.Op
	walked := entries
	linked := links(entries, im.s.Format)
	entries = linked.apply(entries, im.s.Links)
	g := newGate(im.s.Format, entries, nil, im.src.Root(), im.report)
	g.linked, g.links = linked, im.s.Links
	for _, e := range entries {
		switch {
		case im.s.Format.Class(e.Path) != catalog.Index:
			rest = append(rest, e)
		case g.admit(e):
			ops = append(ops, im.document(e))
		}
	}
	if im.docs, err = im.clone(ctx, im.indexes, ops, batch); err != nil {
		return err
	}
	// Then the documents that the index names, whatever their paths.
	if im.format, err = Within(im.indexes, im.s.Format); err != nil {
		return err
	}
	g.format, ops = im.format, ops[:0]
	rest = slices.DeleteFunc(rest, func(e tree.Entry) bool {
		is := im.format.Class(e.Path) == catalog.Index
		if is && g.admit(e) {
			ops = append(ops, im.document(e))
		}
		return is
	})
	more, err := im.clone(ctx, im.indexes, ops, batch)
	if err != nil {
		return err
	}
	im.docs = append(im.docs, more...)
	if rest, err = im.beside(ctx, entries, rest, g, batch); err != nil {
		return err
	}
	theirs, err := os.OpenRoot(im.indexes)
	if err != nil {
		return err
	}
	defer theirs.Close()
	if im.cat, err = im.s.Format.Read(ctx, im.contents(theirs)); err != nil {
		return err
	}
	im.report.Findings = append(im.report.Findings, im.cat.Findings...)
	if err := im.report.failed(); err != nil && len(im.cat.Half) > 0 { // before anything is copied
		return err
	}
	im.named = named(im.cat)
	claims := map[string]string{}
	for _, i := range im.cat.Items {
		claims[i.Path] = i.SHA256
	}
	g.named = im.named
	rest = slices.DeleteFunc(rest, func(e tree.Entry) bool { return !g.admit(e) })
	g.vain(rest, im.documents())
	rest = im.asLinks(walked, rest)
	rows, err := im.recognize(ctx, rest, claims)
	if err != nil {
		return err
	}
	ops = ops[:0]
	apart := apart(im.cat)
	for _, e := range rest {
		if _, ok := rows[e.Path]; ok {
			continue
		}
		op := tree.Op{Path: e.Path, Name: e.Name, From: im.src, How: tree.Copy, Stat: e.Stat,
			Mode: 0o644 | e.Stat.Mode.Perm()&0o111}
		if im.named.has(e.Path) && !apart.has(e.Path) {
			op.Mode = 0o444
		}
		if e.Kind == tree.Symlink {
			op.How = tree.Relink
		}
		if sum := im.private.sum(e.Path); sum != "" && e.Name == "" && movable(im.src, op) {
			op.How, op.SHA256 = tree.Move, sum
		}
		ops = append(ops, op)
	}
	if im.came, err = im.clone(ctx, im.files, ops, batch); err != nil {
		return err
	}
	for i := range im.came {
		r := &im.came[i]
		if r.Role != catalog.Link {
			r.Role = im.named.role(r.Path)
		}
		rows[r.Path] = *r
	}
	for _, r := range im.private.rows() {
		rows[r.Path] = r
	}
	if err := im.check(ctx, rows); err != nil {
		return err
	}
	return batch.Flush()
}

// contents is the tree as its format reads it: documents from the copies, which do not
// change any more, and content, which is checked by its digest, from the tree.
func (im *importer) contents(indexes *os.Root) importSource {
	content := tree.Contents(im.src.Root())
	if im.private != nil {
		content = im.private.away.source(content)
	}
	return importSource{Source: tree.Contents(indexes), content: content}
}

type importSource struct {
	catalog.Source
	content catalog.Source
	moved   catalog.Source // what was moved out of the tree; nil for nothing
}

func (s importSource) Blob(path string, want catalog.Digest, limit int64) ([]byte, error) {
	data, err := s.content.Blob(path, want, limit)
	if s.moved != nil && errors.Is(err, fs.ErrNotExist) {
		return s.moved.Blob(path, want, limit)
	}
	return data, err
}

// asLinks imports followed links as links instead of as files. The index names
// most files below a link only by their real paths. Copies of such files would be
// left out of the next promote. But if the index names something through a link,
// if a document is below it, or if staging has a folder there, it imports files.
func (im *importer) asLinks(walked, rest []tree.Entry) []tree.Entry {
	if im.s.Links != FollowLinks {
		return rest
	}
	through := map[string]bool{} // paths through which the index names something
	add := func(p string) {
		for ; p != "" && !through[p]; p = parent(p) {
			through[p] = true
		}
	}
	for _, i := range im.cat.Items {
		add(i.Path)
	}
	for p := range im.documents() {
		add(p)
	}
	texts := map[string]string{}
	for _, e := range walked {
		if class := im.format.Class(e.Path); e.Kind != tree.Symlink || through[e.Path] || class == catalog.Whole ||
			class == catalog.InProgress {
			continue
		}
		fi, err := im.dst.Lstat(e.Path)
		if (errors.Is(err, fs.ErrNotExist) || err == nil && fi.Mode()&fs.ModeSymlink != 0) &&
			unlessMissing(realDirs(im.dst, e.Path)) == nil {
			texts[e.Path] = e.Target()
		}
	}
	if len(texts) == 0 {
		return rest
	}
	used := map[string]bool{}
	rest = slices.DeleteFunc(rest, func(e tree.Entry) bool {
		for p := e.Path; e.Name != "" && p != ""; p = parent(p) {
			if _, ok := texts[p]; ok {
				used[p] = true
				return true
			}
		}
		return false
	})
	for _, p := range slices.Sorted(maps.Keys(used)) {
		rest = append(rest, tree.LinkTo(p, texts[p]))
	}
	slices.SortFunc(rest, func(a, b tree.Entry) int { return cmp.Compare(a.Path, b.Path) })
	return rest
}

// documents yields the paths of the tree's documents.
func (im *importer) documents() iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, r := range im.docs {
			if !yield(r.Path) {
				return
			}
		}
	}
}

// document returns the op that copies one document.
func (im *importer) document(e tree.Entry) tree.Op {
	return tree.Op{Path: e.Path, Name: e.Name, From: im.src, How: tree.Copy, Stat: e.Stat, Mode: 0o644}
}

// clone copies files of the tree to dir. A file that cannot be read becomes a
// finding.
func (im *importer) clone(ctx context.Context, dir string, ops []tree.Op, batch *durable.Batch) ([]tree.Row, error) {
	var bytes int64
	for _, op := range ops {
		bytes += op.Stat.Size
	}
	cloner := tree.Cloner{Dst: dir, DirMode: 0o700, Batch: batch, Progress: im.s.progress("import", bytes)}
	done, err := cloner.Run(ctx, ops)
	if err != nil {
		return nil, err
	}
	var rows []tree.Row
	for i, d := range done {
		op := ops[i]
		if d.Err != nil {
			im.report.unread(im.src.Root(), cmp.Or(op.Name, op.Path), op.Stat, dir == im.indexes ||
				im.named.has(op.Path), d.Err)
			continue
		}
		row := tree.Row{Path: op.Path, Size: d.Size, SHA256: d.SHA256, Role: catalog.Mutable}
		if op.How == tree.Relink {
			row.Role = catalog.Link
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// merge is the Edit of an import. It has the documents that the format merges,
// other documents, and companions. It returns an error if the tree has a file where
// staging has a folder, or needs a folder where staging has something else.
func (im *importer) merge(ctx context.Context, ours catalog.Source, edit catalog.Edit) (*catalog.Change, error) {
	for p, st := range im.same {
		if fi, err := im.dst.Lstat(p); err != nil || !tree.StatOf(fi).Same(st, true) {
			return nil, fmt.Errorf("%s: %w; nothing was imported: try again", join(im.s.Dir, p), tree.ErrChanged)
		}
	}
	if im.private != nil {
		if err := im.private.away.still(ctx, im.s); err != nil {
			return nil, err
		}
	}
	change, err := edit(ctx, ours)
	if err != nil {
		return nil, below(im.s.Dir, err) // the error is about staging: the tree's documents were read before
	}
	// Report a finding about a product once: the one about the merged product replaces that about the tree's.
	im.report.Findings = slices.DeleteFunc(im.report.Findings, func(x catalog.Finding) bool {
		return slices.ContainsFunc(change.Findings, func(y catalog.Finding) bool {
			return x == y || x.Product != "" && x.Product == y.Product && x.Code == y.Code && x.Severity == y.Severity
		})
	})
	im.report.Findings = append(im.report.Findings, change.Findings...)
	if err := im.report.failed(); err != nil {
		return nil, err
	}
	im.out.Replaced, im.out.Moved = change.Replaced, change.Images
	other := im.others(change)
	if change.Documents, err = im.withCompanions(change.Documents); err != nil {
		return nil, err
	}
	for _, r := range slices.Concat(im.came, other) {
		fi, err := im.dst.Lstat(r.Path)
		switch {
		case err == nil && fi.IsDir():
			im.report.fail("path-conflict", r.Path, "is a file, and staging has a folder there")
		case err == nil:
			im.out.Replaced = append(im.out.Replaced, r.Path)
		}
		if err := realDirs(im.dst, r.Path); unlessMissing(err) != nil {
			im.report.fail("path-conflict", r.Path, "staging has a file or a link instead of its folder: %s", err)
		}
	}
	im.d.hold(indexesDir, other...)
	return change, im.report.failed()
}

// others returns the documents that the format does not merge and that staging
// lacks: those of streams without images.
func (im *importer) others(change *catalog.Change) (other []tree.Row) {
	taken := map[string]bool{}
	for _, d := range change.Documents {
		taken[d.Path] = true
	}
	for _, p := range change.United {
		taken[p] = true
	}
	for _, r := range im.docs {
		if _, err := im.dst.Lstat(r.Path); !taken[r.Path] && errors.Is(err, fs.ErrNotExist) {
			other = append(other, r)
		}
	}
	return other
}

// imported returns the result.
func (im *importer) imported(did *Delivered) *Imported {
	out := im.out
	for _, i := range im.cat.Images {
		if i.Skipped == "" {
			out.Images++
		} else {
			out.Skipped++
		}
	}
	for _, r := range did.Placed {
		out.Files++
		out.Bytes += r.Size
	}
	slices.Sort(out.Replaced)
	out.Replaced = slices.Compact(out.Replaced)
	out.Unchanged = len(did.Placed)+len(did.Documents) == 0
	out.Report = im.report
	return out
}

// realDirs returns an error if a parent folder of a path is missing or is not a
// real directory.
func realDirs(root *os.Root, p string) error {
	for i := range len(p) {
		if p[i] != '/' {
			continue
		}
		fi, err := root.Lstat(p[:i])
		if err != nil {
			return err
		}
		if !fi.IsDir() {
			return &fs.PathError{Op: "open", Path: p[:i], Err: errors.New("is a link")}
		}
	}
	return nil
}
