package stage

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"iter"
	"os"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// Unite merges a tree that came of a server into staging, all of it or nothing: as Import
// does with a directory. Its Documents are the indexes, which name no other files than
// Contents.
//
// First, without a lock, the format reads the documents, and the files come into a private
// directory, where they must have the hashes that the documents say. A content that staging
// has is linked, not copied, and a sealed file that lies in its place already is not even
// read. Then, under the staging lock, the documents are merged with those that staging has
// then, and content, catalogs and index come to their places, as for Add.
//
// Findings of severity error, of the tree or of what would become of staging, are returned
// in a *FindingsError, and nothing has changed. The error wraps fs.ErrNotExist if a file is
// gone meanwhile, of the contents or of those in their places.
func (s *Stage) Unite(ctx context.Context, f *Fetched, verb string) (*Added, error) {
	d, err := s.Receive(ctx, cmp.Or(verb, "stage import"))
	if err != nil {
		return nil, err
	}
	defer d.Close()
	report := &Report{}
	theirs := textTree(f.Documents)
	cat, err := s.Format.Read(ctx, theirs)
	if err != nil {
		return nil, err
	}
	report.Findings = append(report.Findings, cat.Findings...)
	if err := report.failed(); err != nil {
		return nil, err
	}
	same, err := d.bringTree(ctx, f, cat)
	if err != nil {
		return nil, err
	}
	edit, err := s.Format.Merge(ctx, theirs)
	if err != nil {
		return nil, err
	}
	did, err := d.Commit(ctx, func(ctx context.Context, ours catalog.Source) (*catalog.Change, error) {
		change, err := edit(ctx, ours)
		if err != nil {
			return nil, below(s.Dir, err)
		}
		report.Findings = append(report.Findings, change.Findings...)
		if err := d.still(same); err != nil {
			return nil, err
		}
		if err := d.fits(cat, report); err != nil {
			return nil, err
		}
		return change, report.failed()
	})
	if err != nil {
		return nil, err
	}
	return &Added{Images: cat.Images, Replaced: did.Replaced, Kept: did.Kept, Findings: report.Findings,
		Unchanged: len(did.Documents)+len(did.Placed) == 0}, nil
}

// bringTree brings the files that the documents of a fetched tree name. It returns those
// that staging has in their places.
func (d *Delivery) bringTree(ctx context.Context, f *Fetched, cat *catalog.Catalog) (map[string]tree.Stat, error) {
	in, same := d.fetched(ctx, f), map[string]tree.Stat{}
	last := ""
	for _, item := range cat.Items { // by path, and one path has one hash: Read says so
		if item.Path == last {
			continue
		}
		last = item.Path
		want := catalog.Digest{Algorithm: catalog.SHA256, Hex: item.SHA256}
		if err := want.Check(); err != nil {
			return nil, fmt.Errorf("%s: %s: the digest %w", f.Name, item.Path, err)
		}
		if st, ok := d.inPlace(item); ok {
			same[item.Path] = st
			continue
		}
		// One that counts as present is a part without a file: see Delivery.present.
		if err := d.bringFile(ctx, in, item, want); err != nil {
			return nil, err
		}
	}
	return same, nil
}

// inPlace reports whether staging has an item as a sealed file that nobody has changed.
func (d *Delivery) inPlace(item catalog.Item) (tree.Stat, bool) {
	fi, err := os.Lstat(join(d.s.Dir, item.Path))
	if err != nil || !fi.Mode().IsRegular() {
		return tree.Stat{}, false
	}
	st := tree.StatOf(fi)
	sum, sealed, ok := d.hashes().Lookup(item.Path, st)
	return st, ok && sealed && sum == item.SHA256 && (item.Size < 0 || item.Size == st.Size)
}

// still returns an error if a file that inPlace found is not there any more. The caller
// holds the staging lock.
func (d *Delivery) still(same map[string]tree.Stat) error {
	for p, was := range same {
		path := join(d.s.Dir, p)
		if fi, err := os.Lstat(path); err != nil || !tree.StatOf(fi).Same(was, true) {
			return &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
		}
	}
	return nil
}

func (d *Delivery) bringFile(ctx context.Context, in catalog.Input, item catalog.Item, want catalog.Digest) error {
	file, err := in.Inside(item.Path)
	if err != nil {
		return err
	}
	defer file.Close()
	_, size, err := d.Put(ctx, item.Path, file, want)
	if err == nil && item.Size >= 0 && size != item.Size {
		err = fmt.Errorf("%s: %s: has %d bytes, and the index says %d", in.Dir, item.Path, size, item.Size)
	}
	return err
}

// fits reports paths at which staging has something that no file can replace.
func (d *Delivery) fits(cat *catalog.Catalog, report *Report) error {
	root, err := os.OpenRoot(d.s.Dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, item := range cat.Items {
		if fi, err := root.Lstat(item.Path); err == nil && fi.IsDir() {
			report.fail("path-conflict", item.Path, "is a file, and staging has a folder there")
		}
		if err := realDirs(root, item.Path); unlessMissing(err) != nil {
			report.fail("path-conflict", item.Path, "staging has a file or a link instead of its folder: %s", err)
		}
	}
	return nil
}

// textTree is a tree of documents in memory, by their paths.
type textTree map[string][]byte

func (t textTree) Document(path string) ([]byte, error) {
	if data, ok := t[path]; ok {
		return data, nil
	}
	return nil, &catalog.DocumentError{Path: path, Code: "missing", Fact: "does not exist"}
}

func (t textTree) Blob(path string, _ catalog.Digest, _ int64) ([]byte, error) {
	return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
}

func (t textTree) List(string) iter.Seq2[string, error] {
	return func(func(string, error) bool) {}
}
