package stage

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"slices"
	"strings"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// Side is a generation, as Rebase needs it.
type Side struct {
	Rows []tree.Row // its own rows, sorted by path
	// Open reads any of them, documents in their own form. What it returns is checked
	// against the row.
	Open func(ctx context.Context, row tree.Row) (io.ReadCloser, error)
}

// rows are those of a generation; none of nil.
func (s *Side) rows() []tree.Row {
	if s == nil {
		return nil
	}
	return s.Rows
}

// Elsewhere is what counts as present in staging that begins from the side.
func (s *Side) Elsewhere() *Elsewhere {
	e := &Elsewhere{Rows: s.rows()}
	if s != nil {
		e.Open = s.Open
	}
	return e
}

// sparse opens the side as Elsewhere.
func (s *Side) sparse(ctx context.Context) *sparse {
	return &sparse{Elsewhere: s.Elsewhere(), ctx: ctx}
}

// source is the side as formats read it. Content comes from staging where it is there
// under the same path.
func (s *Side) source(ctx context.Context, staged catalog.Source, facts *tree.Facts) catalog.Source {
	return memory{&sideSource{sp: s.sparse(ctx), staged: staged, read: map[string][]byte{}}, facts}
}

type sideSource struct {
	sp     *sparse
	staged catalog.Source
	read   map[string][]byte // documents
}

func (s *sideSource) Document(path string) ([]byte, error) {
	if data, ok := s.read[path]; ok {
		return data, nil
	}
	row, ok := tree.Find(s.sp.Rows, path)
	if !ok {
		return nil, &catalog.DocumentError{Path: path, Code: "missing", Fact: "does not exist"}
	}
	if row.Role == catalog.Link {
		return nil, &catalog.DocumentError{Path: path, Code: "through-link", Fact: "is a link, which is not followed"}
	}
	if row.Size > catalog.MaxDocument {
		return nil, &catalog.DocumentError{Path: path, Code: "too-large", Fact: "is too large for a document"}
	}
	data, err := s.sp.all(row)
	if err == nil {
		s.read[path] = data
	}
	return data, err
}

func (s *sideSource) Blob(path string, want catalog.Digest, limit int64) ([]byte, error) {
	if _, ok := tree.Find(s.sp.Rows, path); !ok {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	if data, err := s.staged.Blob(path, want, limit); err == nil {
		return data, nil
	}
	return sparseSource{nowhere{}, s.sp}.Blob(path, want, limit)
}

// nowhere is a source without content.
type nowhere struct{ catalog.Source }

func (nowhere) Blob(path string, _ catalog.Digest, _ int64) ([]byte, error) {
	return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
}

func (s *sideSource) List(dir string) iter.Seq2[string, error] {
	prefix, rows := dir+"/", s.sp.Rows
	if dir == "." {
		prefix = ""
	}
	var names []string
	for i, _ := tree.Search(rows, prefix); i < len(rows) && strings.HasPrefix(rows[i].Path, prefix); {
		name, _, folder := strings.Cut(rows[i].Path[len(prefix):], "/")
		if i++; folder {
			i, _ = tree.Search(rows, prefix+name+"0") // what comes after "/" is "0"
			name += "/"
		}
		if dir != "." || !catalog.Reserved(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return func(yield func(string, error) bool) {
		for _, n := range names {
			if !yield(n, nil) {
				return
			}
		}
	}
}

// all reads all of a row.
func (sp *sparse) all(row tree.Row) ([]byte, error) {
	r, err := sp.open(sp.ctx, row)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(r)
	return data, errors.Join(err, r.Close())
}
