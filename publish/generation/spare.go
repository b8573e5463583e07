package generation

import (
	"context"
	"errors"
	"path/filepath"

	"example.com/publish/publish/fault"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// SpareName is the name of the spare among the trees.
//
// The spare is a tree that was production, reduced to those files that production
// has as the same inode under the same path. The next draft begins with it, so
// that a promote or a revert makes what has changed, and gc unlinks what has
// changed. It is never served, has no number, and holds no bytes that production
// does not hold. It may be deleted at any time, and there is one at most.
//
// It is proved by inodes, never by records: KeepSpare compares it with
// production, and so does the draft that takes it, for production may have
// changed since, and anybody may have written to it.
//
// Whoever changes the spare, or takes it, first gives it another name, in one
// step: a promote takes it without the production lock, under which all else is
// done.
const SpareName = ".spare"

// ErrNothingShared is returned for a tree that has no file of production: it is
// not worth to be kept.
var ErrNothingShared = errors.New("has no file of production")

// KeepSpare makes the tree at dir the spare: a retired generation, or a draft
// that was given up, under a name of its own at which nobody else is at work.
// live is production, and of says what is kept of it; it is Unflushed for a draft. with
// is the tree compared with production, by the caller and under that lock; nil: it is
// compared here. The caller holds the lock that keeps switches out, and has removed the spare
// of before. With an error the tree is still at dir, in any state: delete it.
//
//  1. What tells which generation it is goes: half a tree has no number.
//  2. All goes that is not production's: see tree.Comparison.Trim.
//  3. The directories that have changed are flushed, and the root, which lost its
//     marks. A later draft flushes only what it changes itself.
//  4. The tree gets its name.
//
// Killed before step 4, it leaves trash, or a draft, and both are swept.
func (s *Store) KeepSpare(
	ctx context.Context, dir string, live *tree.Source, of tree.Common, with *tree.Comparison,
) error {
	if err := unmark(dir); err != nil {
		return err
	}
	if err := s.at("before-trim"); err != nil {
		return err
	}
	batch, err := durable.NewBatch(s.Trees)
	if err != nil {
		return err
	}
	defer batch.Close()
	if with == nil {
		if with, err = tree.Compare(ctx, dir, live); err != nil {
			return err
		}
	}
	done, err := with.Trim(ctx, dir, of)
	switch {
	case err != nil:
		return err
	case done.Kept == 0:
		return &fault.Error{Path: dir, Err: ErrNothingShared}
	}
	batch.Add(append(done.Changed, dir)...)
	if err := errors.Join(s.at("after-trim"), batch.Flush()); err != nil {
		return err
	}
	if err := errors.Join(s.at("before-spare"), durable.RenameNew(dir, s.SparePath())); err != nil {
		return err
	}
	return errors.Join(durable.SyncDir(s.Trees), s.at("after-spare"))
}

// takeSpare moves the spare to a path among the trees at which nothing is, and begins
// to compare it with production; nil if there is none. It belongs to the caller then.
//
// The move is made durable before the caller writes. Otherwise a power cut could
// bring the old name back, with files in it that the caller has flushed since (on
// btrfs). If that fails, the next flush of the caller fails as well.
func (s *Store) takeSpare(ctx context.Context, at string, live *tree.Source) *tree.Former {
	if durable.RenameNew(s.SparePath(), at) != nil {
		return nil
	}
	return tree.NewFormer(ctx, at, live, func() { _ = durable.SyncDir(s.Trees) })
}

// SpareAside is Aside for the spare. The error is fs.ErrNotExist when there is
// none, or a promote has just taken it.
func (s *Store) SpareAside() (string, error) { return s.aside(SpareName) }

// HasSpare reports whether there is a spare.
func (s *Store) HasSpare() bool { return !gone(s.SparePath()) }

// SparePath is where the spare is, if there is one.
func (s *Store) SparePath() string { return filepath.Join(s.Trees, SpareName) }

// unmark removes the names of a tree's root that catalog.Reserved claims.
func unmark(dir string) error {
	root, err := durable.List(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	var marks []string
	err = root.Each(func(n durable.Name) error {
		if name := string(n.Text); catalog.Reserved(name) {
			marks = append(marks, name)
		}
		return nil
	})
	for _, name := range marks {
		if err == nil {
			err = root.RemoveAll(name)
		}
	}
	return err
}
