package tree

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
)

// Walk lists the tree below root, sorted by path. It does not follow links.
// A directory that cannot be listed becomes an entry of kind Unreadable; only for
// the root it is an error. It skips the names of catalog.Reserved in the root.
//
// It lists each directory, sorts its names, and then calls stat for each of them,
// on all cores. Sorting within a directory is faster than sorting all paths of the
// tree, because that would compare the same directory names many times. The order
// is the same: in it "a.b" comes before "a/b", see name.compare.
func Walk(ctx context.Context, root string) ([]Entry, error) {
	top, err := durable.ListNamed(filepath.Clean(root))
	if err != nil {
		return nil, err
	}
	return (&walker{ctx: ctx, slots: newSlots()}).walk(top)
}

// Walk is the function Walk for a tree that is open: it lists that tree, whatever
// stands at its name by now.
func (s *Source) Walk(ctx context.Context) ([]Entry, error) { return s.WalkLike(ctx, nil) }

// WalkLike is Walk for a caller who has strings for most of the paths: the entries use
// these, which saves memory for large trees. like makes a function that returns the string
// for a path, or "" for none. Each directory has one of its own, and asks in the order of
// paths.
func (s *Source) WalkLike(ctx context.Context, like func() func(path string) string) ([]Entry, error) {
	top, err := durable.ListIn(s.root, ".", s.Dir)
	if err != nil {
		return nil, err
	}
	return (&walker{ctx: ctx, slots: newSlots(), like: like}).walk(top)
}

// walk lists the tree below top, and closes it.
func (w *walker) walk(top *durable.Listing) ([]Entry, error) {
	defer top.Close()
	runs, err := w.dir(top, "")
	if err == nil {
		err = w.ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	out := joined(runs)
	if w.displaced.Load() {
		slices.SortFunc(out, func(a, b Entry) int { return cmp.Compare(a.Path, b.Path) })
	}
	return out, nil
}

// joined makes one list of the runs. Where one directory has nearly all files, its list
// has room for the others: a copy of it would need as much memory once more.
func joined(runs [][]Entry) []Entry {
	n, most := 0, 0
	for i, run := range runs {
		if n += len(run); len(run) > len(runs[most]) {
			most = i
		}
	}
	if len(runs) > 0 && cap(runs[most]) >= n {
		out := slices.Insert(runs[most], 0, slices.Concat(runs[:most]...)...)
		return append(out, slices.Concat(runs[most+1:]...)...)
	}
	out := make([]Entry, 0, n)
	for i, run := range runs {
		out = append(out, run...)
		runs[i] = nil
	}
	return out
}

// walker lists directories in parallel, on all cores.
type walker struct {
	ctx       context.Context
	slots     slots
	displaced atomic.Bool                     // an Unreadable entry was sorted as a directory, so the order may be wrong
	named     *naming                         // nil unless names are enough in some directories
	like      func() func(path string) string // see WalkLike; nil for no strings
}

// name is one name in a directory.
type name struct {
	path   string // in the tree
	folder bool
}

// compare orders names of one directory, which begin at the byte from of their
// paths. A folder is compared as if its name ended with a slash, because all paths
// below it do. So the result is the order of whole paths.
func (a name) compare(b name, from int) int {
	x, y := a.path[from:], b.path[from:]
	n := min(len(x), len(y))
	if c := strings.Compare(x[:n], y[:n]); c != 0 {
		return c
	}
	return cmp.Compare(a.at(from+n), b.at(from+n))
}

// at returns a byte of the path, with a slash appended for a folder; 0 after its
// end.
func (a name) at(i int) byte {
	switch {
	case i < len(a.path):
		return a.path[i]
	case i == len(a.path) && a.folder:
		return '/'
	}
	return 0
}

// key returns eight bytes of the path from i on as a number, in the same order.
func (a name) key(i int) uint64 {
	if i+8 <= len(a.path) {
		return binary.BigEndian.Uint64([]byte(a.path[i : i+8]))
	}
	var k uint64
	for n := range 8 {
		k = k<<8 | uint64(a.at(i+n))
	}
	return k
}

// dir lists the directory rel of the tree, and all below it. It returns the
// entries as several lists, which are sorted by path one after the other.
func (w *walker) dir(l *durable.Listing, rel string) ([][]Entry, error) {
	if err := w.ctx.Err(); err != nil {
		return nil, err
	}
	names, err := list(l, rel, w.named.in(rel))
	if err != nil {
		return nil, err
	}
	sortNames(names, len(join(rel, "")))
	w.share(names)
	files := make([]Entry, 0, len(names)+len(names)/16+16) // with room: see joined
	var folders []name
	var places []int
	for i, n := range names {
		if n.folder {
			folders, places = append(folders, n), append(places, i)
		} else {
			files = append(files, Entry{Path: n.path})
		}
	}
	names = nil // of a large directory it is large
	below := make([][][]Entry, len(folders))
	var workers errgroup.Group
	for i, n := range folders {
		do := func() (err error) {
			below[i], err = w.folder(l, n.path)
			return err
		}
		if !w.slots.use(workers.Go, do) {
			if err := do(); err != nil {
				return nil, errors.Join(err, w.slots.wait(workers.Wait))
			}
		}
	}
	w.look(l, files, len(join(rel, "")))
	if err := w.slots.wait(workers.Wait); err != nil {
		return nil, err
	}
	var runs [][]Entry
	add := func(run []Entry) {
		// An empty path means that the file was removed meanwhile.
		if run = slices.DeleteFunc(run, func(e Entry) bool { return e.Path == "" }); len(run) > 0 {
			runs = append(runs, run)
		}
	}
	done := 0
	for i, at := range places {
		add(files[done : at-i : at-i])
		runs = append(runs, below[i]...)
		done = at - i
	}
	add(files[done:])
	return runs, nil
}

// folder is dir for a subdirectory of l. rel is its path in the tree.
func (w *walker) folder(l *durable.Listing, rel string) ([][]Entry, error) {
	in, err := l.Below(rel[strings.LastIndexByte(rel, '/')+1:])
	if err == nil {
		var runs [][]Entry
		runs, err = w.dir(in, rel)
		_ = in.Close() // nothing was written through it
		if err == nil || w.ctx.Err() != nil {
			return runs, err
		}
	}
	if errors.Is(err, fs.ErrNotExist) { // removed meanwhile
		return nil, nil
	}
	w.displaced.Store(true)
	return [][]Entry{{{Path: rel, Kind: Unreadable, more: &more{err: err}}}}, nil
}

// list returns the names in the directory rel of the tree, but those that are taken. To
// save allocations, hundreds of paths share one block of memory, which is freed when the
// last of them is.
func list(l *durable.Listing, rel string, taken func(durable.Name) bool) ([]name, error) {
	const shared = 16 << 10 // bytes
	var names []name
	var text strings.Builder
	err := l.Each(func(n durable.Name) error {
		if rel == "" && catalog.Reserved(string(n.Text)) {
			return nil
		}
		if taken != nil && taken(n) {
			return nil
		}
		folder, err := n.Kind == durable.Folder, error(nil)
		if n.Kind == durable.Unknown {
			folder, err = l.IsFolder(string(n.Text))
		}
		size := len(rel) + 1 + len(n.Text)
		if text.Len()+size > text.Cap() { // start a new block: growing would copy the old one
			text.Reset()
			text.Grow(max(shared, size))
		}
		start := text.Len()
		if rel != "" {
			text.WriteString(rel)
			text.WriteByte('/')
		}
		text.Write(n.Text)
		names = append(names, name{text.String()[start:], folder})
		return err
	})
	return names, err
}

// share replaces paths by the strings that the caller has for them.
func (w *walker) share(names []name) {
	if w.like == nil {
		return
	}
	like := w.like()
	for i := range names {
		if p := like(names[i].path); p != "" {
			names[i].path = p
		}
	}
}

// sortNames sorts names of one directory, which begin at the byte from of their
// paths. To be fast it compares numbers first: the eight bytes of each name after
// the prefix that all names share.
func sortNames(names []name, from int) {
	if len(names) < 2 {
		return
	}
	first, same := names[0], len(names[0].path)
	for _, n := range names[1:] {
		for same > from && (same > len(n.path) || n.path[from:same] != first.path[from:same]) {
			same--
		}
	}
	type keyed struct {
		key uint64
		at  uint32
	}
	keys := make([]keyed, len(names))
	for i, n := range names {
		keys[i] = keyed{n.key(same), uint32(i)}
	}
	slices.SortFunc(keys, func(a, b keyed) int {
		if a.key != b.key {
			return cmp.Compare(a.key, b.key)
		}
		return names[a.at].compare(names[b.at], same)
	})
	for to := range keys { // along each cycle of the permutation: a copy would be large
		for at := to; ; {
			from := int(keys[at].at)
			keys[at].at = uint32(at)
			if from == to || from == at {
				break
			}
			names[at], names[from] = names[from], names[at]
			at = from
		}
	}
}

// look completes the entries of one directory, on all free cores. Their file names
// begin at the byte name of their paths. If a file was removed meanwhile, its path
// becomes empty.
func (w *walker) look(l *durable.Listing, entries []Entry, name int) {
	const few = 128 // entries that a worker takes at once
	var next atomic.Int64
	work := func() {
		for w.ctx.Err() == nil {
			from := int(next.Add(few)) - few
			if from >= len(entries) {
				return
			}
			for i := range entries[from:min(from+few, len(entries))] {
				complete(l, &entries[from+i], name)
			}
		}
	}
	var workers errgroup.Group
	for n := few; n < len(entries) && w.slots.use(workers.Go, func() error { work(); return nil }); n += few {
	}
	work()
	_ = w.slots.wait(workers.Wait)
}

// complete fills in one entry. Its file name begins at the byte name of its path.
func complete(l *durable.Listing, e *Entry, name int) {
	base := e.Path[name:]
	st, err := l.Stat(base)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		*e = Entry{}
		return
	case err != nil:
		e.Kind, e.more = Unreadable, &more{err: err}
		return
	}
	e.Stat = statOf(&st)
	switch {
	case e.Stat.Mode.IsRegular():
	case e.Stat.Mode&fs.ModeSymlink != 0:
		e.Kind, e.more = Symlink, &more{}
		if e.more.target, err = os.Readlink(l.Path() + "/" + base); err != nil {
			e.Kind, e.more.err = Unreadable, err
		}
	default:
		e.Kind = Special
	}
}

func join(rel, name string) string {
	if rel == "" {
		return name
	}
	return rel + "/" + name
}
