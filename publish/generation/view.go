package generation

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"example.com/publish/publish/fault"
	"example.com/publish/stage"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/companion"
	"example.com/publish/stage/tree"
)

// Tree is a generation and the directory of its tree. It keeps no open file, so
// after a switch another tree may be at Dir.
type Tree struct {
	*Manifest
	Dir string
	// Sparse says that content is not in Dir, but Elsewhere.
	Sparse    bool
	Elsewhere Elsewhere // nil unless Sparse
}

// View is a generation opened for readers. It never changes, and is safe for
// concurrent use. It keeps the directory of the tree open, so it shows the same
// tree even if Dir is exchanged or renamed. Files that a gc or a revoke deletes
// are also gone from the view: reading them gives fs.ErrNotExist. A later
// generation may reuse the directory of a tree: see Proved.
//
// No path and no link leads out of the tree. Close the view after use.
type View struct {
	Tree
	src  *tree.Source
	says bool // the tree had its number when it was opened
	// Here returns an error that wraps ErrMoved if the generation is not kept any more where
	// its content is: the files of the view do not show that. nil: they do.
	Here func() error
}

// Tree returns generation n, which is kept beside production. The error is of
// kind NotFound if its manifest or its tree is missing.
func (s *Store) Tree(n int) (*Tree, error) {
	m, err := s.Manifest(n)
	if err != nil {
		return nil, err
	}
	t := &Tree{Manifest: m, Dir: s.Dir(n), Sparse: s.Elsewhere != nil, Elsewhere: s.Elsewhere}
	if t.Sparse {
		return t, s.Furnish(context.Background(), m)
	}
	if _, err := os.Lstat(t.Dir); err != nil {
		return nil, &fault.Error{Kind: fault.NotFound, Fact: fmt.Sprintf("the tree of generation %d is not kept", n)}
	}
	return t, nil
}

// View opens generation n, which is kept beside production: see [Tree.View].
func (s *Store) View(n int) (*View, error) {
	t, err := s.Tree(n)
	if err != nil {
		return nil, err
	}
	return t.View()
}

// ViewAt opens the generation of this repository whose tree is at dir, whichever it
// is. The directory is resolved once, so a switch at the same time gives one of the two
// generations, never a mixture. The caller needs no lock. The error wraps
// fs.ErrNotExist if nothing is at dir, or its manifest has just been removed, and
// ErrForeign if the tree is not one of this repository.
func (s *Store) ViewAt(dir string) (*View, error) {
	src, err := tree.OpenSource(dir)
	if err != nil {
		return nil, err
	}
	v, err := s.viewIn(src, dir)
	if err != nil {
		return nil, errors.Join(err, src.Close())
	}
	return v, nil
}

func (s *Store) viewIn(src *tree.Source, dir string) (*View, error) {
	c, err := claimIn(src.Root(), dir)
	if err == nil && c.Number == 0 {
		err = &fault.Error{Path: dir, Fact: "holds no generation", Err: ErrForeign}
	}
	if err == nil {
		err = s.prove(dir, c)
	}
	if err != nil {
		return nil, err
	}
	m, err := s.Manifest(c.Number)
	if err != nil {
		return nil, err
	}
	v := &View{Tree: Tree{Manifest: m, Dir: dir}, src: src, says: true}
	src.Proof = v.Proved
	return v, v.Proved()
}

// View opens the tree for readers. The error wraps ErrMoved if another generation
// is at Dir by now. That can happen unless the caller holds a lock that prevents
// switches.
func (t *Tree) View() (*View, error) {
	src, err := tree.OpenSource(t.Dir)
	if err != nil {
		return nil, err
	}
	v := &View{Tree: *t, src: src}
	src.Proof = v.Proved
	// Read through the open directory, not by its name. A tree without its number
	// is damaged; verify reports that.
	c, err := v.Claim()
	if err == nil && c.Number != 0 && c.Number != t.Generation {
		_ = src.Close()
		return nil, t.moved(c.Number)
	}
	v.says = c.Number == t.Generation
	return v, nil
}

// Proved checks that the view still shows the tree that was opened. A caller
// without a lock calls it after its last read, and uses what it read only if the
// error is nil. The error wraps ErrMoved if the caller may have read a partly
// deleted tree, or files of another generation. The check is reliable because the
// number is the first file to be deleted from a directory, and the last to be
// written when a later generation reuses it.
func (v *View) Proved() error {
	if v.Here != nil {
		if err := v.Here(); err != nil {
			return err
		}
	}
	c, err := v.Claim()
	if v.says && c.Number != v.Generation {
		return errors.Join(v.moved(c.Number), err)
	}
	return nil
}

func (t *Tree) moved(n int) error {
	fact := fmt.Sprintf("is generation %d, not %d", n, t.Generation)
	if n == 0 {
		fact = fmt.Sprintf("is not generation %d any more", t.Generation)
	}
	return &fault.Error{Path: t.Dir, Fact: fact, Err: ErrMoved, Hint: "run it again"}
}

// ErrMoved is wrapped by the error for a directory with another generation than
// expected: production was switched, or a tree was moved.
var ErrMoved = errors.New("another generation is there")

// Close releases the tree.
func (v *View) Close() error { return v.src.Close() }

// Source returns the tree as a source of links and copies. Close closes it.
func (v *View) Source() *tree.Source { return v.src }

// Claim reads the claim of the tree, again at each call. A later generation may
// reuse the directory, with the same inode; only the claim tells whether that has
// happened.
func (v *View) Claim() (Claim, error) { return claimIn(v.src.Root(), v.Dir) }

// Open opens the file of a row. It returns an error if the size differs from the
// row. It does not check the hash.
func (v *View) Open(row tree.Row) (*os.File, error) {
	f, st, err := tree.Open(v.src.Root(), row.Path) // follows no link, waits for no pipe
	if err != nil {
		return nil, err
	}
	if st.Size != row.Size {
		_ = f.Close()
		return nil, &fs.PathError{Op: "open", Path: row.Path, Err: fmt.Errorf("has %d bytes, the manifest says %d",
			st.Size, row.Size)}
	}
	return f, nil
}

// Document reads a document of a Server, as clients are served it. It returns an error if
// the own form of these bytes is not that of the row.
func (v *View) Document(server catalog.Server, row tree.Row) ([]byte, error) {
	data, err := stage.ReadServed(v.src.Root(), row.Path)
	if err != nil {
		return nil, err
	}
	if stage.OwnRow(server, row.Path, data).SHA256 != row.SHA256 {
		return nil, &fs.PathError{Op: "read", Path: row.Path, Err: errors.New("its bytes are not those of the manifest")}
	}
	return data, nil
}

// Stat follows links. The error is fs.ErrNotExist for a path that leads out of
// the tree.
func (v *View) Stat(path string) (fs.FileInfo, error) { return Inside{v.src.Root()}.Stat(path) }

// Lstat does not follow a link at the end of the path.
func (v *View) Lstat(path string) (fs.FileInfo, error) { return v.src.Root().Lstat(path) }

// Readlink returns the text of a link.
func (v *View) Readlink(path string) (string, error) { return v.src.Root().Readlink(path) }

// Contents returns the tree in the form that formats read.
func (v *View) Contents() catalog.Source {
	if v.Elsewhere != nil {
		return sparseContents{tree.Contents(v.src.Root()), v}
	}
	return tree.Contents(v.src.Root())
}

// Companions returns a function that maps the path of a companion, by its name,
// to its document in the tree, and any other path to "".
func (v *View) Companions(f catalog.Format) (of func(p string) string, err error) {
	paths, err := f.Documents(v.Contents())
	return companion.Documents{Paths: paths, Clearsigned: f.Clearsigned}.Of, err
}

// Files gives access to the names, links and times of a tree. View and Inside
// implement it.
type Files interface {
	Stat(path string) (fs.FileInfo, error)
	Lstat(path string) (fs.FileInfo, error)
	Readlink(path string) (string, error)
}

// Inside has the files of a directory. A link that leads out of the directory
// counts as dangling. The zero Inside has no files.
type Inside struct{ root *os.Root }

// OpenInside opens the directory at dir. A missing directory gives the zero
// Inside. Close it after use.
func OpenInside(dir string) (Inside, error) {
	root, err := os.OpenRoot(dir)
	if isGone(err) {
		return Inside{}, nil
	}
	return Inside{root}, err
}

// Close releases the directory.
func (in Inside) Close() error {
	if in.root == nil {
		return nil
	}
	return in.root.Close()
}

// Stat follows links inside the directory.
func (in Inside) Stat(path string) (fs.FileInfo, error) {
	if in.root == nil {
		return nil, fs.ErrNotExist
	}
	fi, err := in.root.Stat(path)
	if at := new(fs.PathError); errors.As(err, &at) {
		if _, system := at.Err.(syscall.Errno); !system { // it leads out
			return nil, &fs.PathError{Op: at.Op, Path: at.Path, Err: fs.ErrNotExist}
		}
	}
	return fi, err
}

// Lstat does not follow a link at the end of the path.
func (in Inside) Lstat(path string) (fs.FileInfo, error) {
	if in.root == nil {
		return nil, fs.ErrNotExist
	}
	return in.root.Lstat(path)
}

// Readlink returns the text of a link.
func (in Inside) Readlink(path string) (string, error) {
	if in.root == nil {
		return "", fs.ErrNotExist
	}
	return in.root.Readlink(path)
}
