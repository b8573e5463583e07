package stage

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"syscall"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// Staging is sparse where production is a store that has all content: staging has the
// documents, and of the content only what is new. What else the documents name counts as
// present if the generation that staging began from has it. All of this package asks
// [sparse.absent] what that is, so all commands agree.

// Elsewhere is what the store has.
type Elsewhere struct {
	// Rows are the own rows of the generation that staging began from, sorted by path.
	Rows []tree.Row
	// Open reads the content of a row; it is called by several goroutines at once. What
	// it returns is checked against the row. nil: nothing can be read, which matters
	// for formats whose content names other content.
	Open func(ctx context.Context, row tree.Row) (io.ReadCloser, error)
}

// RemovedList is the file in staging that has the paths of a tree without indexes that
// were removed. There, no document says that a file is gone, and a file that is not
// in staging counts as present. It belongs to no tree, as all names that begin so.
const RemovedList = ".publish-removed"

// maxRemovedList bounds that file, in bytes.
const maxRemovedList = 64 << 20

type removedList struct {
	Removed []string `json:"removed"` // sorted
}

// sparse is Elsewhere, opened for one command; nil for a staging tree that has all
// its files.
type sparse struct {
	*Elsewhere
	ctx     context.Context
	format  catalog.Format
	removed map[string]bool
}

// sparse opens Elsewhere.
func (s *Stage) sparse(ctx context.Context) (*sparse, error) {
	if s.Elsewhere == nil {
		return nil, nil
	}
	e, err := s.Elsewhere()
	if e == nil || err != nil {
		return nil, err
	}
	removed, err := s.removedList()
	if err != nil {
		return nil, err
	}
	sp := &sparse{Elsewhere: e, ctx: ctx, format: s.Format, removed: make(map[string]bool, len(removed))}
	for _, p := range removed {
		sp.removed[p] = true
	}
	return sp, nil
}

// counts reports whether a row counts as present if staging has nothing at its path:
// content that the indexes name, and in a tree without indexes everything that was not
// removed.
func (sp *sparse) counts(r tree.Row, named names) bool {
	if sp.format.Class(r.Path) == catalog.Whole {
		return !sp.removed[r.Path]
	}
	return r.Role == catalog.Content && named.has(r.Path)
}

// absent returns the rows that count as present, sorted by path. have reports whether
// staging has anything at a path: that wins, whatever it is.
func (sp *sparse) absent(named names, have func(path string) bool) absent {
	if sp == nil {
		return absent{}
	}
	out := absent{sp: sp}
	for _, r := range sp.Rows {
		if !have(r.Path) && sp.counts(r, named) {
			out.rows = append(out.rows, r)
		}
	}
	return out
}

// among is have of absent for a tree that was walked.
func among(entries []tree.Entry) func(path string) bool {
	return func(path string) bool {
		_, ok := tree.SearchEntries(entries, path)
		return ok
	}
}

// absent are files that count as present, and are not in staging.
type absent struct {
	sp   *sparse
	rows []tree.Row // sorted by path
}

func (a absent) has(path string) bool {
	_, ok := a.row(path)
	return ok
}

func (a absent) row(path string) (tree.Row, bool) { return tree.Find(a.rows, path) }

// among merges the absent rows into rows, which are sorted by path.
func (a absent) among(rows []tree.Row) []tree.Row {
	if len(a.rows) == 0 {
		return rows
	}
	return tree.MergeRows(a.rows, rows)
}

// conflicts reports absent files that a folder of staging is in the way of, and the
// reverse: no file system has both, but a store may.
func (a absent) conflicts(rows []tree.Row, r *Report) {
	if len(a.rows) > 0 {
		r.Findings = append(r.Findings, catalog.PathConflicts(func(yield func(string) bool) {
			for i := range rows {
				if !yield(rows[i].Path) {
					return
				}
			}
		})...)
	}
}

// reader returns what reads an absent file; nil for none.
func (a absent) reader(path string) func(context.Context) (io.ReadCloser, int64, error) {
	row, ok := a.row(path)
	if !ok {
		return nil
	}
	return func(ctx context.Context) (io.ReadCloser, int64, error) {
		r, err := a.sp.open(ctx, row)
		return r, row.Size, err
	}
}

// need is what has to be read of a file, absent or not.
func (a absent) need(path string) *need {
	n := &need{path: path}
	if open := a.reader(path); open != nil {
		n.with(func(o *odd) { o.elsewhere = open })
	}
	return n
}

// errNotHere is the error of content that Open cannot give.
var errNotHere = errors.New("is only in the object store, which cannot be read now")

// open reads the content of a row. Reading ends with an error that wraps
// [catalog.ErrDigest] if it has other bytes.
func (sp *sparse) open(ctx context.Context, row tree.Row) (io.ReadCloser, error) {
	if sp.Open == nil {
		return nil, &fs.PathError{Op: "read", Path: row.Path, Err: errNotHere}
	}
	r, err := sp.Open(ctx, row)
	if err != nil {
		return nil, err
	}
	return &checkedReader{r: r, row: row, sum: tree.NewSHA256()}, nil
}

// checkedReader compares what it reads with a row.
type checkedReader struct {
	r   io.ReadCloser
	row tree.Row
	sum tree.Sum
	n   int64
	end bool
}

func (c *checkedReader) Read(p []byte) (int, error) {
	if c.end {
		return 0, io.EOF
	}
	// One byte more than there may be: more than that is not read, whatever comes.
	p = p[:min(int64(len(p)), c.row.Size-c.n+1)]
	n, err := c.r.Read(p)
	c.n += int64(n)
	if _, werr := c.sum.Write(p[:n]); werr != nil {
		return 0, werr
	}
	switch {
	case c.n > c.row.Size, err == io.EOF && (c.n != c.row.Size || hex.EncodeToString(c.sum.Sum(nil)) != c.row.SHA256):
		return 0, &fs.PathError{Op: "read", Path: c.row.Path, Err: catalog.ErrDigest}
	case err == io.EOF:
		c.end = true
	}
	return n, err
}

func (c *checkedReader) Close() error { return c.r.Close() }

// source returns src with the content that is elsewhere. What formats learn from it they
// remember (see [catalog.Memory]), so it is read once.
func (sp *sparse) source(src catalog.Source) catalog.Source {
	if sp == nil {
		return src
	}
	return sparseSource{src, sp}
}

type sparseSource struct {
	catalog.Source
	sp *sparse
}

func (s sparseSource) Blob(path string, want catalog.Digest, limit int64) ([]byte, error) {
	data, err := s.Source.Blob(path, want, limit)
	if !errors.Is(err, fs.ErrNotExist) {
		return data, err
	}
	row, ok := s.sp.row(path)
	if !ok {
		return data, err
	}
	fail := func(err error) ([]byte, error) { return nil, &fs.PathError{Op: "read", Path: path, Err: err} }
	if row.Size > limit || want.Algorithm == catalog.SHA256 && want.Hex != row.SHA256 {
		return fail(catalog.ErrDigest)
	}
	r, err := s.sp.open(s.sp.ctx, row)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if data, err = io.ReadAll(r); err != nil {
		return nil, err
	}
	if !want.Is(data) {
		return fail(catalog.ErrDigest)
	}
	return data, nil
}

// row returns the row of content that is elsewhere.
func (sp *sparse) row(path string) (tree.Row, bool) {
	if sp == nil {
		return tree.Row{}, false
	}
	row, ok := tree.Find(sp.Rows, path)
	return row, ok && row.Role == catalog.Content
}

// removedList reads RemovedList.
func (s *Stage) removedList() ([]string, error) {
	path := join(s.Dir, RemovedList)
	data, err := durable.ReadFile(path, maxRemovedList)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list removedList
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&list); err != nil || d.More() {
		return nil, fmt.Errorf("%s: is not a list of removed files that publish wrote: %w", path,
			cmp.Or(err, errors.New("it goes on after its end")))
	}
	return list.Removed, nil
}

// writeRemoved writes RemovedList, durably. The caller holds the staging lock.
func (s *Stage) writeRemoved(paths []string) error {
	was, err := s.removedList()
	if err != nil {
		return err
	}
	paths = slices.Compact(append([]string{}, slices.Sorted(slices.Values(paths))...))
	if slices.Equal(was, paths) {
		return nil
	}
	data, err := json.Marshal(removedList{paths})
	if err != nil {
		return err
	}
	return durable.WriteFile(join(s.Dir, RemovedList), append(data, '\n'), s.dirMode()&0o666)
}

// forget records that files of a tree without indexes are removed, of which the others
// would count as present. The caller holds the staging lock.
func (sp *sparse) forget(s *Stage, paths []string) error {
	if sp == nil {
		return nil
	}
	list := []string{}
	for p := range sp.removed {
		if _, ok := tree.Find(sp.Rows, p); ok { // else it is gone from production also
			list = append(list, p)
		}
	}
	for _, p := range paths {
		if _, ok := tree.Find(sp.Rows, p); ok {
			list = append(list, p)
		}
	}
	if len(list) == 0 && len(sp.removed) == 0 {
		return nil
	}
	return s.writeRemoved(list)
}

// listed returns the absent files of a tree without indexes, as images.
func (a absent) listed() (out []catalog.Image) {
	for _, r := range a.rows {
		if a.sp.format.Class(r.Path) != catalog.Whole {
			continue
		}
		kind := "file"
		if r.Role == catalog.Link {
			kind = "link"
		}
		out = append(out, catalog.Image{Product: r.Path, Type: kind, Aliases: []string{}, Bytes: r.Size,
			Paths: []string{r.Path}})
	}
	return out
}

// absentNow is absent for staging as it is now.
func (s *Stage) absentNow(ctx context.Context) (absent, error) {
	sp, err := s.sparse(ctx)
	if sp == nil || err != nil {
		return absent{}, err
	}
	cat, err := s.Catalog(ctx)
	if err != nil {
		return absent{}, err
	}
	root, err := os.OpenRoot(s.Dir)
	if err != nil {
		return absent{}, err
	}
	defer root.Close()
	var unsure error
	out := sp.absent(named(cat), func(path string) bool {
		_, err := root.Lstat(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
			unsure = errors.Join(unsure, err)
		}
		return err == nil
	})
	return out, unsure
}
