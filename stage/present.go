package stage

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// Present finds content that is not in staging and counts as present there, or lies elsewhere
// in the object store: see Elsewhere. It shows one moment.
type Present struct {
	s     *Stage
	sp    *sparse
	bySum map[string][]int // rows of content, by their sha256
}

// Present returns nil if staging has all files of its tree.
func (s *Stage) Present(ctx context.Context) (*Present, error) {
	sp, err := s.sparse(ctx)
	if sp == nil || err != nil {
		return nil, err
	}
	p := &Present{s: s, sp: sp, bySum: make(map[string][]int, len(sp.Rows))}
	for i, r := range sp.Rows {
		if r.Role == catalog.Content {
			p.bySum[r.SHA256] = append(p.bySum[r.SHA256], i)
		}
	}
	return p, nil
}

// Any returns the row of a content, wherever it lies.
func (p *Present) Any(d catalog.Digest) (tree.Row, bool) {
	if p == nil || d.Algorithm != catalog.SHA256 || len(p.bySum[d.Hex]) == 0 {
		return tree.Row{}, false
	}
	return p.sp.Rows[p.bySum[d.Hex][0]], true
}

// At returns the row of a content that counts as present at a path, once documents name it:
// nothing of it need be brought.
func (p *Present) At(path string, d catalog.Digest) (tree.Row, bool) {
	if p == nil || d.Algorithm != catalog.SHA256 {
		return tree.Row{}, false
	}
	row, ok := p.sp.row(path)
	if !ok || row.SHA256 != d.Hex {
		return tree.Row{}, false
	}
	_, err := os.Lstat(join(p.s.Dir, path))
	return row, missing(err)
}

// Open reads a content out of the store, and compares it with its row.
func (p *Present) Open(ctx context.Context, row tree.Row) (io.ReadCloser, error) {
	return p.sp.open(ctx, row)
}

// presentFile is a File of an Input that counts as present: a Delivery takes its row, and no
// bytes.
type presentFile struct {
	io.Reader
	row  tree.Row
	open func() (io.ReadCloser, error)
}

func (*presentFile) Close() error   { return nil }
func (*presentFile) Also(io.Writer) {}

// remoteFile is a File of an Input that is elsewhere, and has to come.
type remoteFile struct {
	io.ReadCloser
	also []io.Writer
}

func (f *remoteFile) Also(w io.Writer) { f.also = append(f.also, w) }

func (f *remoteFile) Read(b []byte) (int, error) {
	n, err := f.ReadCloser.Read(b)
	for _, w := range f.also {
		if _, werr := w.Write(b[:n]); werr != nil {
			return n, werr
		}
	}
	return n, err
}

// count takes a content that counts as present as a part that has no file.
func (d *Delivery) count(path string, f *presentFile, want []catalog.Digest) (catalog.Digest, int64, error) {
	got := catalog.Digest{Algorithm: catalog.SHA256, Hex: f.row.SHA256}
	for _, w := range want {
		if w != got {
			return catalog.Digest{}, 0, fmt.Errorf("%s: %w, %s", path, catalog.ErrDigest, w)
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.parts[path] != nil {
		return catalog.Digest{}, 0, fmt.Errorf("%s: has come before", path)
	}
	d.parts[path] = &part{row: f.row, open: f.open}
	return got, f.row.Size, nil
}

// present checks that parts without a file still count as present where they are to be. The
// error wraps fs.ErrNotExist if one does not: staging was changed meanwhile. The caller
// holds the staging lock.
func (d *Delivery) present(ctx context.Context, change *catalog.Change) error {
	var rows []tree.Row
	for from, p := range d.parts {
		to, ok := from, true
		if change.Places != nil {
			to, ok = change.Places[from]
		}
		switch {
		case p.open == nil || !ok:
		case to != p.row.Path:
			return &fs.PathError{Op: "open", Path: join(d.s.Dir, to), Err: fs.ErrNotExist}
		default:
			rows = append(rows, p.row)
		}
	}
	tree.SortRows(rows)
	return d.s.stillCount(ctx, rows)
}

// stillCount returns an error that wraps fs.ErrNotExist if one of some rows, which are sorted
// by path, does not count as present any more.
func (s *Stage) stillCount(ctx context.Context, rows []tree.Row) error {
	if len(rows) == 0 {
		return nil
	}
	now, err := s.countsOf(ctx, rows)
	if err != nil {
		return err
	}
	for _, r := range rows {
		if !now.holds(r) {
			return &fs.PathError{Op: "open", Path: join(s.Dir, r.Path), Err: fs.ErrNotExist}
		}
	}
	return nil
}
