package site

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"example.com/publish/publish/fault"
	"example.com/publish/publish/generation"
	"example.com/publish/stage/durable"
)

// symlink makes production a symbolic link into the store. A switch renames a new link
// over the old one.
type symlink struct{ local }

// Symlink makes a site where production is a link to a generation in the store.
func Symlink(p Place) Site { return symlink{local{p}} }

func (s symlink) Name() string         { return "symlink" }
func (s symlink) Guarantee() Guarantee { return Guarantee{Whole: true, Local: true} }
func (s symlink) Dir(n int) string     { return s.kept(n) }

func (s symlink) Live(context.Context) (int, error) {
	fi, err := os.Lstat(s.Production)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	if fi.Mode()&fs.ModeSymlink == 0 {
		what := "a file"
		if fi.IsDir() {
			what = "a directory"
		}
		return 0, s.foreign(s.Production, "is %s, not a link that publish made", what)
	}
	dir, err := filepath.EvalSymlinks(s.Production)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, &fault.Error{Path: s.Production, Err: ErrDangling, Hint: "run publish recover"}
	}
	if err != nil {
		return 0, err
	}
	// Compare the resolved directories: the link's text may have another form.
	store, err := filepath.EvalSymlinks(s.Store)
	if err != nil {
		return 0, err
	}
	n, ok := generation.ParseNumber(filepath.Base(dir))
	if !ok || filepath.Dir(dir) != store {
		return 0, s.foreign(s.Production, "leads to %s, which is not a generation of this repository", dir)
	}
	switch id, err := s.Trees.Whose(dir); {
	case err != nil:
		return 0, err
	case id == 0: // such as in a copy that was made without the files whose names begin with a dot
		return 0, &fault.Error{Path: dir, Fact: "has no " + generation.IdentityName, Err: ErrForeign,
			Hint: fmt.Sprintf("if it is generation %d of this repository, write %d into that file: publish verify "+
				"then checks the tree", n, n)}
	case id != n:
		return 0, s.foreign(s.Production, "leads to %s, which says that it is generation %d", dir, id)
	}
	return n, nil
}

func (s symlink) Probe(context.Context) error { return nil }

// links are the names under which the next link may wait. It is made before the
// switch, because adding a name to a directory can take longer than the whole rest. If
// a name is taken by something that cannot be removed, the next one is used.
func (s symlink) links() []string {
	first := filepath.Join(filepath.Dir(s.Production), "."+filepath.Base(s.Production)+".next")
	return []string{first, first + "-2", first + "-3", first + "-4", first + "-5"}
}

func (s symlink) Prepare(ctx context.Context, next, _ *generation.Tree) error {
	n := next.Generation
	if id, err := s.Trees.Whose(s.kept(n)); err != nil || id != n {
		if err := durable.RenameNew(s.waiting(n), s.kept(n)); err != nil {
			return err
		}
		if err := durable.SyncDir(s.Store); err != nil {
			return err
		}
	}
	text, err := s.text(n)
	if err != nil {
		return err
	}
	// A killed command may have left a link to another generation.
	if err := s.Tidy(ctx); err != nil {
		return err
	}
	for _, name := range s.links() {
		if err = durable.Symlink(text, name); !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return &fault.Error{Path: s.links()[0], Hint: "move it away",
		Fact: "is in the way, and so are the similar names beside it: publish needs one of them for the next link"}
}

// move renames the waiting link to generation n.
func (s symlink) move(n int, to string, rename func(from, to string) error) error {
	text, err := s.text(n)
	if err != nil {
		return err
	}
	err = &fs.PathError{Op: "switch", Path: s.links()[0], Err: fs.ErrNotExist}
	for _, name := range s.links() {
		if have, readErr := os.Readlink(name); readErr != nil || have != text {
			continue
		}
		if err = rename(name, to); err == nil {
			break
		}
	}
	return err
}

func (s symlink) text(n int) (string, error) {
	if !s.Relative {
		return s.kept(n), nil
	}
	// Relative to the resolved directory of the link, so that it still works after
	// the repository is moved or copied as a whole.
	from, err := filepath.EvalSymlinks(filepath.Dir(s.Production))
	if err != nil {
		return "", err
	}
	store, err := filepath.EvalSymlinks(s.Store)
	if err != nil {
		return "", err
	}
	return filepath.Rel(from, filepath.Join(store, generation.Number(n)))
}

func (s symlink) Switch(ctx context.Context, from, to int) error {
	if from == 0 {
		return s.move(to, s.Production, durable.RenameNew)
	}
	// Look again: a hook may have run for a long time since the last look.
	if _, err := s.Live(ctx); errors.Is(err, ErrForeign) {
		return err
	}
	return s.move(to, s.Production, os.Rename)
}

func (s symlink) Settle(context.Context) error { return durable.SyncDir(filepath.Dir(s.Production)) }

func (s symlink) Tidy(context.Context) error {
	for _, name := range s.links() {
		fi, err := os.Lstat(name)
		if err != nil || fi.Mode()&fs.ModeSymlink == 0 {
			continue // publish makes only links there
		}
		if err := os.Remove(name); err != nil {
			s.Left(name, err)
		}
	}
	return nil
}

func (s symlink) Replace(ctx context.Context, n int, live string) (string, error) {
	bring := func(aside string) error { return s.move(n, aside, os.Rename) }
	return s.replace(live, func() error { return s.Switch(ctx, 0, n) }, bring)
}
