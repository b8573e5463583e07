package tree

import (
	"cmp"
	"context"
	"errors"
	"hash/maphash"
	"io/fs"
	"path/filepath"
	"slices"

	"golang.org/x/sync/errgroup"
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

// ErrForeign is returned for a tree that cannot be the beginning of another one:
// its root, or a directory in it, is somebody else's or cannot be changed.
var ErrForeign = errors.New("is not a directory that can be used again")

// Comparison is what an old tree has in common with the live one. It changes
// nothing, and needs to know nothing of what the old tree is to become: see
// Comparison.Trim. Its memory is 8 bytes for each name that both have.
type Comparison struct {
	seed maphash.Seed
	root *folder
	dirs map[string]*folder // those that stay, by path
	last *folder            // what Has looked into last
	id   [2]uint64          // device and inode of the old tree
	many int                // how many names of a directory are held at a time
}

// folder is a directory of the old tree.
type folder struct {
	rel    string
	mode   fs.FileMode
	drop   bool // it goes, with all that is in it
	shared []uint64
	gone   []string // names of files that go; see many
	many   bool     // so many go that gone does not have them
	below  []*folder
}

// maxGone bounds how many names of one directory a comparison remembers.
const maxGone = 1 << 16

// Compare compares the tree at dst, where nobody else is at work, with the tree like.
// A file is the same if both have the same inode under the same path. The names that
// catalog.Reserved claims are never the same. What is in a directory of another owner
// than that of the directory which dst is in is not the same either.
//
// It opens both trees from their roots down, by descriptors, and follows no link.
// An error means that the old tree is of no use: for example, something is mounted
// in it.
func Compare(ctx context.Context, dst string, like *Source) (*Comparison, error) {
	return compare(ctx, dst, like, true, maxGone)
}

func compare(ctx context.Context, dst string, like *Source, exact bool, maxGone int) (*Comparison, error) {
	fail := func(err error) error { return &fs.PathError{Op: "compare", Path: dst, Err: err} }
	if at := durable.MountedBelow(dst); at != "" {
		return nil, &fs.PathError{Op: "compare", Path: at, Err: durable.ErrMountPoint}
	}
	owner, err := ownerOf(filepath.Dir(dst))
	if err != nil {
		return nil, err
	}
	old, err := durable.List(dst)
	if err != nil {
		return nil, err
	}
	defer old.Close()
	live, err := durable.ListIn(like.root, ".", like.Dir)
	if err != nil {
		return nil, err
	}
	defer live.Close()
	facts, err := old.Facts()
	if err == nil && (facts.Mounted || facts.Fixed || facts.UID != owner) {
		err = fail(ErrForeign)
	}
	if err != nil {
		return nil, err
	}
	c := &comparer{ctx: ctx, owner: owner, exact: exact && old.Exact() && live.Exact(), maxGone: maxGone,
		seed: maphash.MakeSeed(), slots: newSlots()}
	out := &Comparison{seed: c.seed, dirs: map[string]*folder{}, many: maxGone}
	if out.id, err = idOf(old); err != nil {
		return nil, err
	}
	if out.root, err = c.dir(old, live, facts, ""); err != nil {
		return nil, err
	}
	out.root.each(func(f *folder) { out.dirs[f.rel] = f })
	return out, nil
}

// each calls f for the directory, and for those below it that stay.
func (d *folder) each(f func(*folder)) {
	f(d)
	for _, b := range d.below {
		if !b.drop {
			b.each(f)
		}
	}
}

func ownerOf(dir string) (uint32, error) {
	l, err := durable.List(dir)
	if err != nil {
		return 0, err
	}
	defer l.Close()
	facts, err := l.Facts()
	return facts.UID, err
}

func idOf(l *durable.Listing) ([2]uint64, error) {
	st, err := l.Stat(".")
	return [2]uint64{uint64(st.Dev), st.Ino}, err
}

// Has reports whether both trees had the same file under this path. It is fast for
// paths in their order. Only one goroutine may call it at a time.
func (c *Comparison) Has(path string) bool {
	dir := dirOf(path)
	if c.last == nil || c.last.rel != dir {
		d := c.dirs[dir]
		if d == nil {
			return false
		}
		c.last = d
	}
	name := path
	if dir != "" {
		name = path[len(dir)+1:]
	}
	return c.last.has(maphash.String(c.seed, name))
}

func (d *folder) has(name uint64) bool {
	_, ok := slices.BinarySearch(d.shared, name)
	return ok
}

// comparer compares two trees.
type comparer struct {
	ctx     context.Context
	owner   uint32
	exact   bool // directories say which inodes their names have
	maxGone int
	seed    maphash.Seed
	slots   slots
}

// dir compares one directory, which is rel in both trees, and what is below it.
func (c *comparer) dir(old, live *durable.Listing, facts durable.Facts, rel string) (*folder, error) {
	out := &folder{rel: rel, mode: facts.Mode}
	var folders []string
	var err error
	if c.exact {
		folders, err = c.byInode(old, live, facts.Dev, out)
	} else {
		folders, err = c.byStat(old, live, out)
	}
	if err != nil {
		return nil, err
	}
	return out, c.below(old, live, facts.Dev, out, folders)
}

// same is an inode and a hash of one of its names. The hash has a key, and 64
// bits: who does not know the key finds no other name with the same one.
type same struct{ ino, name uint64 }

func (s same) compare(o same) int {
	return cmp.Or(cmp.Compare(s.ino, o.ino), cmp.Compare(s.name, o.name))
}

// roomy returns the list with room for one more. A list of a large directory doubles when it
// is full: growing by a quarter, as append does, needs five times its memory in all.
func roomy(list []same) []same {
	if len(list) < cap(list) {
		return list
	}
	return slices.Grow(list, max(64, len(list)))
}

// byInode compares the files in one directory, and returns the names of the
// directories in it.
func (c *comparer) byInode(old, live *durable.Listing, dev uint64, out *folder) (folders []string, err error) {
	facts, err := live.Facts()
	if err != nil {
		return nil, err
	}
	var theirs []same
	var lister errgroup.Group
	list := func() error {
		if facts.Dev != dev {
			return nil
		}
		err := live.Each(func(n durable.Name) error {
			if n.Kind != durable.Folder {
				theirs = append(roomy(theirs), same{n.Ino, maphash.Bytes(c.seed, n.Text)})
			}
			return nil
		})
		if errors.Is(err, fs.ErrNotExist) { // the directory was removed
			theirs, err = nil, nil
		}
		return err
	}
	beside := c.slots.use(lister.Go, list)
	var ours []same
	reserved := false
	err = old.Each(func(n durable.Name) error {
		switch folder, err := isFolder(old, n); {
		case err != nil:
			return err
		case folder:
			folders = append(folders, string(n.Text))
		case out.rel == "" && catalog.Reserved(string(n.Text)):
			reserved = true
		default:
			ours = append(roomy(ours), same{n.Ino, maphash.Bytes(c.seed, n.Text)})
		}
		return nil
	})
	if beside {
		err = errors.Join(err, c.slots.wait(lister.Wait))
	} else if err == nil {
		err = list()
	}
	if err != nil {
		return nil, err
	}
	out.shared = common(ours, theirs)
	if len(out.shared) == len(ours) && !reserved {
		return folders, nil
	}
	return folders, c.gone(old, out)
}

func isFolder(l *durable.Listing, n durable.Name) (bool, error) {
	if n.Kind == durable.Unknown {
		return l.IsFolder(string(n.Text))
	}
	return n.Kind == durable.Folder, nil
}

// common returns the sorted hashes of the names that are in both lists. Directories
// of one file system often list the names that they share in the same order, so that
// nearly all of them meet; only the rest is sorted.
func common(ours, theirs []same) []uint64 {
	const ahead = 8
	shared := make([]uint64, 0, min(len(ours), len(theirs)))
	var left, right []same
	i, j := 0, 0
	for i < len(ours) && j < len(theirs) {
		if ours[i] == theirs[j] {
			shared = append(shared, ours[i].name)
			i, j = i+1, j+1
		} else if k := slices.Index(theirs[j:min(j+ahead, len(theirs))], ours[i]); k > 0 {
			right, j = append(right, theirs[j:j+k]...), j+k
		} else if k := slices.Index(ours[i:min(i+ahead, len(ours))], theirs[j]); k > 0 {
			left, i = append(left, ours[i:i+k]...), i+k
		} else {
			left, right = append(left, ours[i]), append(right, theirs[j])
			i, j = i+1, j+1
		}
	}
	left, right = append(left, ours[i:]...), append(right, theirs[j:]...)
	slices.SortFunc(right, same.compare)
	for _, s := range left {
		if _, ok := slices.BinarySearchFunc(right, s, same.compare); ok {
			shared = append(shared, s.name)
		}
	}
	slices.Sort(shared)
	return shared
}

// gone finds the names of the files that are not shared.
func (c *comparer) gone(old *durable.Listing, out *folder) error {
	return old.Each(func(n durable.Name) error {
		folder, err := isFolder(old, n)
		if err == nil && !folder && (out.rel == "" && catalog.Reserved(string(n.Text)) ||
			!out.has(maphash.Bytes(c.seed, n.Text))) {
			out.goes(string(n.Text), c.maxGone)
		}
		return err
	})
}

// goes adds a name that goes.
func (d *folder) goes(name string, limit int) {
	switch {
	case d.many:
	case len(d.gone) < limit:
		d.gone = append(d.gone, name)
	default:
		d.gone, d.many = nil, true
	}
}

// byStat is byInode for a file system whose directories say nothing of inodes.
func (c *comparer) byStat(old, live *durable.Listing, out *folder) (folders []string, err error) {
	err = old.Each(func(n durable.Name) error {
		name := string(n.Text)
		switch folder, err := isFolder(old, n); {
		case err != nil:
			return err
		case folder:
			folders = append(folders, name)
		case (out.rel != "" || !catalog.Reserved(name)) && linked(old, live, name):
			out.shared = append(out.shared, maphash.String(c.seed, name))
		default:
			out.goes(name, c.maxGone)
		}
		return c.ctx.Err()
	})
	slices.Sort(out.shared)
	return folders, err
}

// linked reports whether a name is one inode in both directories. File systems
// that make inode numbers up have been known to use one twice: so all else has to
// also be equal, and the file has to have two names.
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

// below compares the directories in one.
func (c *comparer) below(old, live *durable.Listing, dev uint64, out *folder, folders []string) error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	out.below = make([]*folder, len(folders))
	var workers errgroup.Group
	for i, name := range folders {
		do := func() (err error) {
			out.below[i], err = c.folder(old, live, dev, name, join(out.rel, name))
			return err
		}
		if !c.slots.use(workers.Go, do) {
			if err := do(); err != nil {
				return errors.Join(err, c.slots.wait(workers.Wait))
			}
		}
	}
	return c.slots.wait(workers.Wait)
}

// folder compares a directory in one.
func (c *comparer) folder(old, live *durable.Listing, dev uint64, name, rel string) (*folder, error) {
	drop := &folder{rel: rel, drop: true}
	if catalog.Reserved(rel) {
		return drop, nil
	}
	in, err := old.Below(name)
	if err != nil {
		return drop, nil // it cannot be looked into, or went
	}
	defer in.Close()
	facts, err := in.Facts()
	switch {
	case err != nil:
		return nil, err
	case facts.Mounted:
		return nil, &fs.PathError{Op: "compare", Path: in.Path(), Err: durable.ErrMountPoint}
	case facts.Fixed:
		return nil, &fs.PathError{Op: "compare", Path: in.Path(), Err: ErrForeign}
	}
	other, err := live.Below(name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return drop, nil
	}
	if err != nil {
		return nil, err
	}
	defer other.Close()
	if facts.UID != c.owner || facts.Dev != dev {
		return drop, nil
	}
	return c.dir(in, other, facts, rel)
}
