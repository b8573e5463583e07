package generation

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"example.com/publish/publish/fault"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/companion"
	"example.com/publish/stage/tree"
)

// Tree is a generation and the directory in which its tree stands. It holds
// nothing open: after a switch another tree may stand there.
type Tree struct {
	*Manifest
	Dir string
}

// View is a generation opened for readers. It never changes, and many may read
// it at once. It holds the directory of the tree, so it shows the same tree
// whatever is exchanged or renamed at Dir meanwhile. What gc or a revoke deletes
// of a tree is gone from its views as well: reading it is fs.ErrNotExist. And a
// directory comes back in a later generation: see Proved.
//
// No path and no link leads out of the tree. Close the view after use.
type View struct {
	Tree
	src  *tree.Source
	says bool // its number, when it was opened
}

// Tree returns the generation n that is kept beside production. The error is of
// kind NotFound when there is no manifest, or no tree.
func (s *Store) Tree(n int) (*Tree, error) {
	m, err := s.Manifest(n)
	if err != nil {
		return nil, err
	}
	t := &Tree{Manifest: m, Dir: s.Dir(n)}
	if _, err := os.Lstat(t.Dir); err != nil {
		return nil, &fault.Error{Kind: fault.NotFound, Fact: fmt.Sprintf("the tree of generation %d is not kept", n)}
	}
	return t, nil
}

// View opens the generation n that is kept beside production: see [Tree.View].
func (s *Store) View(n int) (*View, error) {
	t, err := s.Tree(n)
	if err != nil {
		return nil, err
	}
	return t.View()
}

// View opens the tree for readers. Whoever holds no lock that keeps switches
// out may meet another generation at Dir by then: the error wraps ErrMoved.
func (t *Tree) View() (*View, error) {
	src, err := tree.OpenSource(t.Dir)
	if err != nil {
		return nil, err
	}
	v := &View{Tree: *t, src: src}
	src.Proof = v.Proved
	// Read through the directory that is open, not by its name. A tree that does
	// not say its number is damaged, and verify's business.
	c, err := v.Claim()
	if err == nil && c.Number != 0 && c.Number != t.Generation {
		_ = src.Close()
		return nil, t.moved(c.Number)
	}
	v.says = c.Number == t.Generation
	return v, nil
}

// Proved is asked after the last read, by whoever holds no lock, and before any of
// it counts. It returns an error that wraps ErrMoved if what was read may be half a
// tree, or another generation's: its number is the first to go from a directory,
// and the last to come back.
func (v *View) Proved() error {
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

// ErrMoved is wrapped by the error for a directory in which another generation
// stands than was looked for: production was switched, or a tree was moved.
var ErrMoved = errors.New("another generation stands there")

// Close releases the tree.
func (v *View) Close() error { return v.src.Close() }

// Source is the tree as one to link and copy from. It is closed with the view.
func (v *View) Source() *tree.Source { return v.src }

// Claim reads, anew each time, what the tree says of itself. A directory comes
// back in a later generation, with the same inode: this tells whether it is still
// the one that was opened.
func (v *View) Claim() (Claim, error) { return claimIn(v.src.Root(), v.Dir) }

// Open opens the file of a row. A file that has another size than its row is
// refused; the bytes are not looked at.
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

// Stat describes what a path leads to. Where it leads out of the tree there is
// nothing: fs.ErrNotExist.
func (v *View) Stat(path string) (fs.FileInfo, error) { return Inside{v.src.Root()}.Stat(path) }

// Lstat describes what stands at a path.
func (v *View) Lstat(path string) (fs.FileInfo, error) { return v.src.Root().Lstat(path) }

// Readlink returns the text of a link.
func (v *View) Readlink(path string) (string, error) { return v.src.Root().Readlink(path) }

// Contents is what a format reads of the tree.
func (v *View) Contents() catalog.Source { return tree.Contents(v.src.Root()) }

// Companions returns of which document of the tree a path is a companion, by its
// name; "" for any other path.
func (v *View) Companions(f catalog.Format) (of func(p string) string, err error) {
	paths, err := f.Documents(v.Contents())
	return companion.Documents{Paths: paths, Clearsigned: f.Clearsigned}.Of, err
}

// Files are the files of a tree, as far as names, links and times go: those of a
// View, or of any other directory by Inside.
type Files interface {
	Stat(path string) (fs.FileInfo, error)
	Lstat(path string) (fs.FileInfo, error)
	Readlink(path string) (string, error)
}

// Inside are the files of a directory, for which a link that leads out leads
// nowhere. The zero Inside has none.
type Inside struct{ root *os.Root }

// OpenInside opens the directory at dir. One that is gone has no files. Close it
// after use.
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

// Stat describes what a path leads to.
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

// Lstat describes what stands at a path.
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
