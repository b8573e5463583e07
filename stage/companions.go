package stage

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/companion"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// documents describes the documents of a tree for package companion. item reports
// whether an index names a path, and may be nil.
func documents(f catalog.Format, paths []string, item func(string) bool) companion.Documents {
	return companion.Documents{Paths: paths, Clearsigned: f.Clearsigned, Item: item}
}

// follow returns documents to write in the tree at dir, together with the changes
// of their companions: see companion.Follow.
func follow(dir string, f catalog.Format, docs []catalog.Document) (with []catalog.Document, gone []string, err error) {
	if len(docs) == 0 {
		return nil, nil, nil
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, nil, err
	}
	defer root.Close()
	return companion.Follow(tree.FS(root), docs, documents(f, nil, nil))
}

// Imagine adds to the documents of a dry run the files that would change with them:
// their companions, and outdated compressed copies in staging.
func (s *Stage) Imagine(docs []catalog.Document) ([]catalog.Document, error) {
	docs, _, err := follow(s.Dir, s.Format, docs)
	if err != nil {
		return nil, err
	}
	stale, err := s.Stale()
	for _, d := range stale {
		if !slices.ContainsFunc(docs, func(o catalog.Document) bool { return o.Path == d.Path }) {
			docs = append(docs, d)
		}
	}
	return docs, err
}

// times reports which of two files of a walked tree, sorted by path, was written
// first.
func times(entries []tree.Entry) func(p, of string) bool {
	at := func(p string) (int64, bool) {
		i, ok := tree.SearchEntries(entries, p)
		if !ok {
			return 0, false
		}
		return entries[i].Stat.Mtime, true
	}
	return func(p, of string) bool {
		a, there := at(p)
		b, too := at(of)
		return there && too && a < b
	}
}

// stale reports the companions that do not belong to their documents. older is
// as for companion.Check.
func (r *Report) stale(
	root *os.Root, f catalog.Format, cat *catalog.Catalog, named names, older func(p, of string) bool,
) error {
	if len(cat.Documents) == 0 {
		return nil
	}
	list, err := companion.Check(tree.FS(root), documents(f, cat.Documents, named.has), older)
	for _, s := range list {
		advice := "clients that read it get another index: make it again, or remove it"
		if s.Remade() {
			advice = "a web server sends it instead of the document; promote makes it again"
		}
		r.add(catalog.Warning, "stale-companion", s.Path, "%s: %s", s.Why, advice)
	}
	return err
}

// renewed returns the documents that correct stale companions in the tree at dir:
// new compressed copies. With drop, stale companions that cannot be made again are
// removed; gone lists them.
func renewed(dir string, f catalog.Format, drop bool) (docs []catalog.Document, gone []string, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, nil, err
	}
	defer root.Close()
	paths, err := f.Documents(tree.Contents(root))
	if err != nil || len(paths) == 0 {
		return nil, nil, err
	}
	list, err := companion.Check(tree.FS(root), documents(f, paths, nil), nil)
	if err != nil {
		return nil, nil, err
	}
	for _, s := range list {
		switch {
		case s.Remade():
			doc, err := readDocument(root, s.Of)
			if err != nil {
				return nil, nil, err
			}
			packed, err := companion.Pack(s.Path, doc)
			if err != nil {
				return nil, nil, err
			}
			docs = append(docs, catalog.Document{Path: s.Path, Data: packed})
		case drop:
			docs = append(docs, catalog.Document{Path: s.Path})
			gone = append(gone, s.Path)
		}
	}
	docs, more, err := companion.Follow(tree.FS(root), docs, documents(f, nil, nil))
	return docs, append(gone, more...), err
}

// maxDocument is the largest document or companion that is read, in bytes.
const maxDocument = 256 << 20

// readDocument reads a file that companion.Check has just read.
func readDocument(root *os.Root, p string) ([]byte, error) {
	f, _, err := tree.Open(root, p)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return durable.ReadBounded(f, maxDocument)
}

// Stale returns the documents that Refresh would write, for a dry run.
func (s *Stage) Stale() ([]catalog.Document, error) {
	docs, _, err := renewed(s.Dir, s.Format, false)
	return docs, err
}

// Refresh makes stale compressed copies of staging's documents again, under the
// staging lock. They are stale if another tool changed only the document or only
// the copy. If staging cannot be written to, Refresh only warns: the next snapshot
// reports what is still stale.
func (s *Stage) Refresh(ctx context.Context) error {
	if docs, err := s.Stale(); err != nil || len(docs) == 0 {
		return err
	}
	unlock, err := s.Exclusive(ctx, "promote")
	if err != nil {
		return err
	}
	defer unlock()
	docs, gone, err := renewed(s.Dir, s.Format, false) // again, because a writer may have changed them meanwhile
	if err != nil {
		return err
	}
	if err := s.apply(docs); err != nil {
		s.warn("%s: stale compressed copies of documents cannot be made again: %v", s.Dir, err)
		return nil
	}
	for _, d := range docs {
		switch {
		case d.Data == nil:
		case (companion.Companion{Path: d.Path}).Remade(): // the kind of the zero value
			s.warn("%s: was stale, and is made again", join(s.Dir, d.Path))
		default:
			s.warn("%s: has the new checksums of what was made again", join(s.Dir, d.Path))
		}
	}
	s.lost(gone)
	return nil
}

// lost warns of companions that a rewrite removed.
func (s *Stage) lost(gone []string) {
	for _, p := range gone {
		s.warn("%s: is removed, because its document has changed; sign or make it again", join(s.Dir, p))
	}
}

func (s *Stage) warn(format string, args ...any) {
	if s.Warn != nil {
		s.Warn(fmt.Sprintf(format, args...))
	}
}

// touch gives companions in staging that came from fsys a time that is not before
// that of their documents. came reports whether a file came from there. They
// belonged together in fsys, but were written here in any order, and a companion
// that is older than its document counts as stale. Errors are ignored: such a
// companion is then reported as stale.
func (s *Stage) touch(fsys fs.FS, came func(p string) bool) error {
	paths, err := s.Format.Documents(catalog.Files(fsys))
	if err != nil || len(paths) == 0 {
		return err
	}
	found, err := companion.Find(fsys, documents(s.Format, paths, nil))
	if err != nil || len(found) == 0 {
		return err
	}
	root, err := os.OpenRoot(s.Dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, c := range found {
		paths = append(paths, c.Path)
	}
	var newest time.Time
	for _, p := range paths {
		if fi, err := root.Lstat(p); err == nil && fi.ModTime().After(newest) {
			newest = fi.ModTime()
		}
	}
	for _, c := range found {
		if fi, err := root.Lstat(c.Path); err == nil && came(c.Path) && fi.Mode().IsRegular() &&
			fi.ModTime().Before(newest) {
			_ = root.Chtimes(c.Path, time.Time{}, newest)
		}
	}
	return nil
}
