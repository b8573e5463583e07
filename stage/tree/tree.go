// Package tree reads and copies directory trees of up to hundreds of thousands
// of files: walking, hashing with a cache of verified hashes, and cloning by
// link, reflink or copy.
//
// A tree that others write to (staging) is never trusted: files are opened
// without following links, what was opened is compared with what was walked,
// and a file that changes while it is read is reported. A tree that this
// program made (a generation) is immutable, so its files may be shared.
package tree

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
)

// Row is one file of a tree, as a manifest lists it.
type Row struct {
	Path   string // slash-separated, relative to the tree
	Size   int64  // bytes; of a link: the length of its text
	SHA256 string // lower-case hex; of a link: over its text
	Role   catalog.Role
}

// ID returns the tree id: a hash over paths, roles, sizes and contents, and
// nothing else. rows are sorted by path.
func ID(rows []Row) string {
	h := sha256.New()
	var b []byte
	for _, r := range rows {
		b = append(b[:0], r.Path...)
		b = append(b, 0)
		b = append(b, r.Role...)
		b = append(b, 0)
		b = strconv.AppendInt(b, r.Size, 10)
		b = append(b, 0)
		b = append(b, r.SHA256...)
		b = append(b, '\n')
		h.Write(b)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// SortRows sorts rows by path, the order that ID and manifests need.
func SortRows(rows []Row) {
	slices.SortFunc(rows, func(a, b Row) int { return cmp.Compare(a.Path, b.Path) })
}

// Kind is what an entry of a walked tree is.
type Kind int

const (
	// File is a regular file.
	File Kind = iota
	// Symlink is a symbolic link.
	Symlink
	// Special is a device, a socket or a pipe.
	Special
	// Unreadable is a directory that could not be listed.
	Unreadable
)

// Stat identifies one state of one file on this machine. It is never stored
// where it would have to survive a copy of the repository, only in the cache.
type Stat struct {
	Size         int64
	Ino          uint64
	Mtime, Ctime int64 // ns since 1970
	Mode         fs.FileMode
	Links        uint64
	UID          uint32 // owner
	Sparse       bool   // fewer blocks are there than its size takes
}

// Same reports whether two states are of one unchanged file. A hard link made
// or removed in between does not count as a change when relinked is true.
func (s Stat) Same(t Stat, relinked bool) bool {
	return s.Ino == t.Ino && s.Size == t.Size && s.Mtime == t.Mtime && (relinked || s.Ctime == t.Ctime)
}

// Entry is one name of a walked tree that is not a directory.
type Entry struct {
	Path   string // slash-separated, relative to the tree
	Name   string // where the file lies, if Path leads there through a link; else ""
	Kind   Kind
	Stat   Stat
	Target string // of a Symlink: its text
	Err    error  // of an Unreadable: why
}

// At is the path at which the file lies, without links.
func (e Entry) At() string { return cmp.Or(e.Name, e.Path) }

// Walk lists the tree below root, sorted by path. It does not follow links.
// A directory that cannot be listed is an entry of kind Unreadable; only a
// root that cannot be listed is an error. Names that catalog.Reserved claims
// are passed over.
func Walk(ctx context.Context, root string) ([]Entry, error) {
	w := &walker{}
	w.group, w.ctx = errgroup.WithContext(ctx)
	w.group.SetLimit(runtime.GOMAXPROCS(0))
	w.group.Go(func() error { return w.dir(filepath.Clean(root), "") })
	if err := w.group.Wait(); err != nil {
		return nil, err
	}
	slices.SortFunc(w.out, func(a, b Entry) int { return cmp.Compare(a.Path, b.Path) })
	return w.out, nil
}

// walker lists directories side by side, as many as there are cores.
type walker struct {
	group *errgroup.Group
	ctx   context.Context

	mu  sync.Mutex
	out []Entry
}

func (w *walker) add(entries ...Entry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.out = append(w.out, entries...)
}

// dir lists dir, which is rel in the tree, and what is below it.
func (w *walker) dir(dir, rel string) error {
	below, err := w.list(dir, rel)
	switch {
	case w.ctx.Err() != nil:
		return w.ctx.Err()
	case err == io.EOF:
	case rel == "":
		return err
	case errors.Is(err, fs.ErrNotExist): // removed meanwhile
	default:
		w.add(Entry{Path: rel, Kind: Unreadable, Err: err})
	}
	for _, p := range below {
		next := func() error { return w.dir(dir+"/"+path.Base(p), p) }
		if w.group.TryGo(next) {
			continue
		}
		if err := next(); err != nil {
			return err
		}
	}
	return nil
}

// list adds the names in one directory and returns the directories among them.
// It always returns an error: io.EOF at the end. The names of a large directory
// are looked at by a worker a core while the next of them are read; a batch at
// a time, for all at once would be a good part of the whole walk's memory.
func (w *walker) list(dir, rel string) (below []string, err error) {
	open := durable.OpenDir // it was a directory a moment ago: no link, no pipe
	if rel == "" {
		open = durable.OpenDirNamed
	}
	f, err := open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	batches := make(chan []string, runtime.GOMAXPROCS(0))
	var workers sync.WaitGroup
	defer workers.Wait()
	defer close(batches)
	started := 0
	for {
		if err := w.ctx.Err(); err != nil {
			return nil, err
		}
		list, err := f.ReadDir(batch)
		names := make([]string, 0, len(list))
		for _, d := range list {
			p := join(rel, d.Name())
			switch {
			case rel == "" && catalog.Reserved(p):
			case d.IsDir():
				below = append(below, p)
			default:
				names = append(names, d.Name())
			}
		}
		if started == 0 && len(list) < batch { // the only one
			w.look(f, names, rel)
			names = nil
		}
		if len(names) > 0 {
			if started < cap(batches) {
				started++
				workers.Go(func() {
					for names := range batches {
						w.look(f, names, rel)
					}
				})
			}
			batches <- names
		}
		if err != nil {
			return below, err
		}
	}
}

// batch is how many names of a directory are read at a time.
const batch = 256

func join(rel, name string) string {
	if rel == "" {
		return name
	}
	return rel + "/" + name
}

// look adds the names in dir, which is rel in the tree.
func (w *walker) look(dir *os.File, names []string, rel string) {
	found := make([]Entry, 0, len(names))
	for _, name := range names {
		if e := entryAt(dir, name, join(rel, name)); e.Path != "" {
			found = append(found, e)
		}
	}
	w.add(found...)
}

// entryAt looks at one name in a directory; the zero Entry is one that was
// removed meanwhile.
func entryAt(dir *os.File, name, rel string) Entry {
	full := dir.Name() + "/" + name
	st, err := statAt(dir, name, full)
	if errors.Is(err, fs.ErrNotExist) {
		return Entry{}
	}
	if err != nil {
		return Entry{Path: rel, Kind: Unreadable, Err: err}
	}
	e := Entry{Path: rel, Stat: st}
	switch {
	case st.Mode.IsRegular():
	case st.Mode&fs.ModeSymlink != 0:
		e.Kind = Symlink
		if e.Target, err = os.Readlink(full); err != nil {
			e.Kind, e.Err = Unreadable, err
		}
	default:
		e.Kind = Special
	}
	return e
}

// StatOf converts what package os tells.
func StatOf(fi fs.FileInfo) Stat {
	s := Stat{Size: fi.Size(), Mtime: fi.ModTime().UnixNano(), Mode: fi.Mode()}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		s.Ino = st.Ino
		s.Links = uint64(st.Nlink)
		s.UID = st.Uid
		s.Sparse = sparse(int64(st.Blocks), s.Size)
		s.Ctime = ctime(st)
	}
	return s
}

// sparse is told from what stat counts in units of 512 bytes.
func sparse(blocks, size int64) bool { return blocks < size/512 }

// Content reads a file from its beginning; its holes come from no disk.
func Content(f *os.File, st Stat) io.Reader {
	if st.Sparse {
		return durable.NewSparse(f)
	}
	return f
}

// Filler is what the bytes of a file in the state st are written to for a copy
// of it in f, which is new and empty: holes stay holes. Call end after the last
// byte.
func Filler(f *os.File, st Stat) (w io.Writer, end func() error) {
	if !st.Sparse {
		return f, func() error { return nil }
	}
	h := durable.NewHoleWriter(f)
	return h, h.End
}

// ErrChanged is returned for a file that another process changed while it was
// read.
var ErrChanged = errors.New("changed while it was read")

// ErrNotRegular is returned for a path that is not a regular file, or that
// became something else after it was walked.
var ErrNotRegular = durable.ErrNotRegular

// Open opens a regular file below root without following a link in its last
// component and without leaving root, and never blocks on a pipe. An os.Root
// follows links that stay inside, O_NOFOLLOW or not, so this looks first, and
// afterwards whether that is what it got.
func Open(root *os.Root, path string) (*os.File, Stat, error) {
	before, err := root.Lstat(path)
	if err == nil && !before.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: path, Err: ErrNotRegular}
	}
	if err != nil {
		return nil, Stat{}, err
	}
	f, err := root.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, Stat{}, err
	}
	fi, err := f.Stat()
	if err == nil && !os.SameFile(fi, before) {
		err = &fs.PathError{Op: "open", Path: path, Err: ErrNotRegular}
	}
	if err != nil {
		_ = f.Close()
		return nil, Stat{}, err
	}
	return f, StatOf(fi), nil
}

// HashFile reads a file once and returns its sha256, and over the same bytes
// any further sums. It fails with ErrChanged if the file was written to
// meanwhile.
func HashFile(ctx context.Context, f *os.File, before Stat, sums ...Sum) (string, error) {
	own := NewSHA256()
	n, err := Digest(ctx, io.LimitReader(Content(f, before), before.Size+1), append(sums, own)...) // one that grows has no end
	if err != nil {
		return "", err
	}
	fi, err := f.Stat()
	if err != nil {
		return "", err
	}
	if n != before.Size || !StatOf(fi).Same(before, false) {
		return "", &fs.PathError{Op: "read", Path: f.Name(), Err: ErrChanged}
	}
	return hex.EncodeToString(own.Sum(nil)), nil
}

// Duplicate copies src, which Open opened in the state before, to f, which is
// new and empty; it shares the data where the file system can. It fails with
// ErrChanged if the file was written to meanwhile.
func Duplicate(ctx context.Context, f, src *os.File, before Stat) error {
	err := durable.Clone(f, src)
	if errors.Is(err, durable.ErrUnsupported) {
		w, end := Filler(f, before)
		if _, err = Spread(ctx, io.LimitReader(Content(src, before), before.Size+1), w); err == nil { // one that grows has no end
			err = end()
		}
	}
	if err != nil {
		return err
	}
	fi, err := src.Stat()
	if err == nil && !StatOf(fi).Same(before, true) {
		err = &fs.PathError{Op: "copy", Path: src.Name(), Err: ErrChanged}
	}
	return err
}

// settled reports whether a change after the state s, made at the time at or
// later, would show in the file's times: git's racy-index rule. File systems
// stamp with the tick of the kernel's clock, some only with whole seconds.
func (s Stat) settled(at time.Time) bool {
	slack := 100 * time.Millisecond
	if s.Ctime%int64(time.Second) == 0 {
		slack = 2 * time.Second
	}
	return s.Ctime+int64(slack) < at.UnixNano() && s.Mtime <= at.UnixNano()
}
