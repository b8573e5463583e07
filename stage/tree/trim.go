package tree

import (
	"cmp"
	"context"
	"errors"
	"hash/maphash"
	"io/fs"
	"path/filepath"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
)

// Two generations have most of their files in common, as hard links to the same
// inodes. So the next tree need not be made anew: take an old one, remove what
// it has and the live one has not, and link only what is missing. What is
// compared are inodes, never records of what a tree once had: whoever put a file
// into the old tree meanwhile put another inode there.
//
// A directory says which inode each of its names has, so a comparison lists
// each directory of both trees once and looks at no file. Where that number is
// not the inode's (see durable.Listing.Exact), each name of both is looked at.

// Common says what is to be kept of what two trees have in common.
type Common struct {
	// Keep is asked for each file or link that both trees have as the same inode
	// under this path; nil: keep it. Several goroutines call it.
	Keep func(path string) bool
	// KeepDir is asked for each directory of both trees in which nothing is
	// kept; nil: keep it.
	KeepDir func(path string) bool
	// Unflushed says that more has changed in the tree than Trim changes: every
	// directory is to be flushed.
	Unflushed bool
}

// Trimmed is what became of a tree.
type Trimmed struct {
	Kept    int      // files that stay
	Removed int      // names that went; a directory with all that was in it is one
	Changed []string // directories to flush, sorted
}

// ErrForeign is returned for a tree that cannot be the beginning of another one:
// its root, or a directory in it, is somebody else's or cannot be changed.
var ErrForeign = errors.New("is not a directory that can be used again")

// Trim removes from the tree at dst, where nobody else is at work, all that the
// tree like does not have as the same inode under the same path, and what both
// have and is not to be kept. Names that catalog.Reserved claims always go. The
// directories that stay get the mode 0755; their owner is that of the directory
// which dst is in, and what is in a directory of another owner goes with it.
//
// It opens both trees from their roots down, by descriptors, and follows no
// link. Its memory is 16 bytes for each name of the directories at hand.
//
// Nothing is durable before the changed directories are flushed. After an error,
// such as of a file that cannot be removed or of a mount, the tree is of no use:
// delete it.
func Trim(ctx context.Context, dst string, like *Source, c Common) (Trimmed, error) {
	t, err := newTrimmer(ctx, dst, like, c)
	if err != nil {
		return Trimmed{}, err
	}
	defer t.close()
	return t.trim()
}

func (t *trimmer) trim() (Trimmed, error) {
	_, err := t.dir(t.dst, t.like, t.root, "")
	slices.Sort(t.out.Changed)
	return t.out, err
}

// note adds to what became of the tree.
func (t *trimmer) note(add Trimmed) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.out.Kept, t.out.Removed, t.out.Changed = t.out.Kept+add.Kept, t.out.Removed+add.Removed,
		append(t.out.Changed, add.Changed...)
}

// Beyond calls f for each file that Trim would remove, one at a time, and changes
// nothing.
func Beyond(ctx context.Context, dst string, like *Source, c Common, f func(Stat)) error {
	t, err := newTrimmer(ctx, dst, like, c)
	if err != nil {
		return err
	}
	defer t.close()
	t.tell = f
	_, err = t.trim()
	return err
}

// trimmer compares two trees.
type trimmer struct {
	Common
	ctx       context.Context
	tell      func(Stat) // Beyond's; nil: remove
	dst, like *durable.Listing
	root      durable.Facts // of dst
	exact     bool          // directories say which inodes their names have
	gather    int           // how many names are removed at a time
	seed      maphash.Seed
	slots     chan struct{} // for more workers

	mu  sync.Mutex
	out Trimmed
}

func newTrimmer(ctx context.Context, dst string, like *Source, c Common) (*trimmer, error) {
	fail := func(err error) error { return &fs.PathError{Op: "trim", Path: dst, Err: err} }
	if at := durable.MountedBelow(dst); at != "" {
		return nil, &fs.PathError{Op: "trim", Path: at, Err: durable.ErrMountPoint}
	}
	parent, err := durable.List(filepath.Dir(dst))
	if err != nil {
		return nil, err
	}
	above, err := parent.Facts()
	if err = errors.Join(err, parent.Close()); err != nil {
		return nil, err
	}
	t := &trimmer{Common: c, ctx: ctx, gather: 1 << 16, seed: maphash.MakeSeed(),
		slots: make(chan struct{}, runtime.GOMAXPROCS(0)-1)}
	if t.dst, err = durable.List(dst); err != nil {
		return nil, err
	}
	if t.like, err = durable.ListIn(like.root, ".", like.Dir); err != nil {
		return nil, errors.Join(err, t.dst.Close())
	}
	if t.root, err = t.dst.Facts(); err == nil && (t.root.Mounted || t.root.Fixed || t.root.UID != above.UID) {
		err = fail(ErrForeign)
	}
	if err != nil {
		t.close()
		return nil, err
	}
	t.exact = t.dst.Exact() && t.like.Exact()
	return t, nil
}

func (t *trimmer) close() {
	_ = t.dst.Close() // nothing was written through them
	_ = t.like.Close()
}

// dir compares one directory, which is rel in both trees, and what is below it.
// like is nil where that tree has no such directory. It returns how many names
// stay, its own included; 0 where it is to go, which is the caller's to do.
func (t *trimmer) dir(dst, like *durable.Listing, facts durable.Facts, rel string) (stay int, err error) {
	changed := false
	if t.tell == nil && facts.Mode != 0o755 {
		if err := dst.Chmod(0o755); err != nil {
			return 0, err
		}
		changed = true
	}
	known, err := t.inodes(like, facts.Dev)
	if err != nil {
		return 0, err
	}
	var folders []string
	kept, removed := 0, 0
	for more := true; more; {
		if more, err = false, t.ctx.Err(); err != nil {
			return 0, err
		}
		// Who removes while listing may miss names: those that go are gathered
		// first. If they are very many, the list begins anew after some of them.
		var gone []string
		folders, kept = folders[:0], 0
		err = dst.Each(func(n durable.Name) error {
			folder, err := n.Kind == durable.Folder, error(nil)
			if n.Kind == durable.Unknown {
				folder, err = dst.IsFolder(string(n.Text))
			}
			switch {
			case err != nil:
				return err
			case folder:
				folders = append(folders, string(n.Text))
			case t.keeps(known, dst, like, n, rel):
				kept++
			case t.tell != nil:
				t.report(dst, string(n.Text))
			case len(gone) < t.gather:
				gone = append(gone, string(n.Text))
			default:
				more = true
			}
			return nil
		})
		for _, name := range gone {
			if err == nil {
				err = dst.Remove(name)
			}
		}
		if err != nil {
			return 0, err
		}
		removed += len(gone)
	}
	stay, dropped, err := t.below(dst, like, facts.Dev, rel, folders)
	did := Trimmed{Kept: kept, Removed: removed + dropped}
	if stay += kept; stay > 0 || rel == "" || t.KeepDir == nil || t.KeepDir(rel) {
		if changed || did.Removed > 0 || t.Unflushed {
			did.Changed = []string{dst.Path()}
		}
		stay++
	}
	t.note(did)
	return stay, err
}

// same is an inode and a hash of one of its names. The hash has a key, and 64
// bits: who does not know the key finds no other name with the same one.
type same struct{ ino, name uint64 }

func (s same) compare(o same) int {
	return cmp.Or(cmp.Compare(s.ino, o.ino), cmp.Compare(s.name, o.name))
}

// inodes lists a directory of the tree like, sorted. It is nil where nothing can
// be the same, and where that is asked of each name.
func (t *trimmer) inodes(like *durable.Listing, dev uint64) ([]same, error) {
	if like == nil || !t.exact {
		return nil, nil
	}
	facts, err := like.Facts()
	if err != nil || facts.Dev != dev {
		return nil, err
	}
	var out []same
	err = like.Each(func(n durable.Name) error {
		if n.Kind != durable.Folder {
			out = append(out, same{n.Ino, maphash.Bytes(t.seed, n.Text)})
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) { // the directory was removed
		return nil, nil
	}
	slices.SortFunc(out, same.compare)
	return out, err
}

// keeps reports whether a name, no directory, is to stay.
func (t *trimmer) keeps(known []same, dst, like *durable.Listing, n durable.Name, rel string) bool {
	if like == nil || rel == "" && catalog.Reserved(string(n.Text)) {
		return false
	}
	if t.exact {
		if _, ok := slices.BinarySearchFunc(known, same{n.Ino, maphash.Bytes(t.seed, n.Text)}, same.compare); !ok {
			return false
		}
	} else if !linked(dst, like, string(n.Text)) {
		return false
	}
	return t.Keep == nil || t.Keep(join(rel, string(n.Text)))
}

// linked reports whether a name is one inode in both directories. File systems
// that make inode numbers up have been known to use one twice: so all else has to
// be equal, too, and the file has to have two names.
func linked(a, b *durable.Listing, name string) bool {
	x, err := a.Stat(name)
	if err != nil {
		return false
	}
	y, err := b.Stat(name)
	return err == nil && x.Dev == y.Dev && x.Ino == y.Ino && x.Nlink > 1 && x.Nlink == y.Nlink && x.Mode == y.Mode &&
		x.Uid == y.Uid &&
		x.Size == y.Size && x.Mtim == y.Mtim && x.Ctim == y.Ctim
}

// report tells of a file that would go.
func (t *trimmer) report(dir *durable.Listing, name string) {
	st, err := dir.Stat(name)
	if err != nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tell(statOf(&st))
}

// below compares the directories in one.
func (t *trimmer) below(
	dst, like *durable.Listing, dev uint64, rel string, folders []string,
) (stay, dropped int, err error) {
	kept, errs := make([]bool, len(folders)), make([]error, len(folders))
	var workers sync.WaitGroup
	for i, name := range folders {
		do := func() { kept[i], errs[i] = t.folder(dst, like, dev, name, join(rel, name)) }
		select {
		case t.slots <- struct{}{}:
			workers.Go(func() {
				defer func() { <-t.slots }()
				do()
			})
		default:
			if do(); errs[i] != nil {
				workers.Wait()
				return 0, 0, errs[i]
			}
		}
	}
	workers.Wait()
	for _, k := range kept {
		if k {
			stay++
		}
	}
	return stay, len(folders) - stay, errors.Join(errs...)
}

// folder compares a directory in one, and reports whether it stays.
func (t *trimmer) folder(dst, like *durable.Listing, dev uint64, name, rel string) (bool, error) {
	drop := func() (bool, error) {
		if t.tell != nil {
			return true, nil
		}
		return false, dst.RemoveAll(name)
	}
	if catalog.Reserved(rel) && t.tell == nil {
		return drop()
	}
	in, err := dst.Below(name)
	if err != nil {
		return drop() // it cannot be looked into, or went
	}
	defer in.Close()
	facts, err := in.Facts()
	switch {
	case err != nil:
		return true, err
	case facts.Mounted:
		return true, &fs.PathError{Op: "trim", Path: in.Path(), Err: durable.ErrMountPoint}
	case facts.Fixed:
		return true, &fs.PathError{Op: "trim", Path: in.Path(), Err: ErrForeign}
	}
	var other *durable.Listing
	if like != nil {
		if other, err = like.Below(name); err == nil {
			defer other.Close()
		} else if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTDIR) && !errors.Is(err, unix.ELOOP) {
			return true, err
		}
	}
	if facts.UID != t.root.UID || facts.Dev != dev || other == nil {
		if t.tell == nil {
			return drop()
		}
		other = nil
	}
	stay, err := t.dir(in, other, facts, rel)
	if err != nil || stay > 0 || t.tell != nil {
		return true, err
	}
	return false, dst.RemoveDir(name)
}
