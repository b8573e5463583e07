// Package tree reads and copies directory trees of up to hundreds of thousands
// of files. It walks them, hashes them with a cache of verified hashes, and clones
// them by hard link, reflink or copy.
//
// A tree that others write to (staging) is never trusted. Files are opened without
// following links, an opened file is compared with the one that was walked, and a
// file that changes while it is read is reported. A tree that this program made (a
// generation) is immutable, so its files may be shared.
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
	"slices"
	"strconv"
	"syscall"
	"time"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
)

// Row is one file of a tree, as a manifest lists it.
type Row struct {
	Path   string // slash-separated, relative to the tree
	Size   int64  // bytes; for a link, the length of its target text
	SHA256 string // lower-case hex; for a link, the hash of its target text
	Role   catalog.Role
}

// ID returns the tree id, which is a hash over the paths, roles, sizes and
// contents only, without signatures. rows must be sorted by path.
func ID(rows []Row) string {
	h := sha256.New()
	var b []byte
	for _, r := range rows {
		if signature(r) {
			continue
		}
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

func signature(r Row) bool { return r.Role == catalog.Signature }

// Unsigned returns the rows that are no signatures. It may return rows.
func Unsigned(rows []Row) []Row {
	if !slices.ContainsFunc(rows, signature) {
		return rows
	}
	return slices.DeleteFunc(slices.Clone(rows), signature)
}

// SortRows sorts rows by path, the order that ID and manifests need.
func SortRows(rows []Row) {
	slices.SortFunc(rows, func(a, b Row) int { return cmp.Compare(a.Path, b.Path) })
}

// Search returns where a path stands in rows that are sorted by path, or would
// stand, and whether it is there.
func Search(rows []Row, path string) (int, bool) {
	return slices.BinarySearchFunc(rows, path, func(r Row, p string) int { return cmp.Compare(r.Path, p) })
}

// Find returns the row of a path, of rows that are sorted by path.
func Find(rows []Row, path string) (Row, bool) {
	i, ok := Search(rows, path)
	if !ok {
		return Row{}, false
	}
	return rows[i], true
}

// MergeRows merges two lists that are sorted by path.
func MergeRows(a, b []Row) []Row {
	if len(b) == 0 {
		return a
	}
	out := make([]Row, 0, len(a)+len(b))
	for _, r := range b {
		i, _ := Search(a, r.Path)
		out = append(append(out, a[:i]...), r)
		a = a[i:]
	}
	return append(out, a...)
}

// Kind is the kind of an entry of a walked tree.
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

// Stat identifies one state of one file on this machine. It becomes invalid if the
// repository is copied, so it is stored only where that does no harm.
type Stat struct {
	Size         int64
	Ino          uint64
	Mtime, Ctime int64 // ns since 1970
	Mode         fs.FileMode
	Links        uint32 // how many names it has; no file system here has more
	UID          uint32 // owner
	Sparse       bool   // it has holes: fewer blocks than its size needs
}

// Same reports whether both states are of the same, unchanged file. With relinked,
// a change of ctime alone is allowed, because making or removing a hard link
// causes it.
func (s Stat) Same(t Stat, relinked bool) bool {
	return s.Ino == t.Ino && s.Size == t.Size && s.Mtime == t.Mtime && (relinked || s.Ctime == t.Ctime)
}

// Entry is one name of a walked tree that is not a directory.
type Entry struct {
	Path string // slash-separated, relative to the tree
	Name string // the real path of the file, if Path leads there through a link; else ""
	Kind Kind
	Stat Stat
	more *more // nil for a File: a large tree has very many
}

// more is what no File has.
type more struct {
	target string
	err    error
}

// LinkTo is the entry of a symbolic link with a text.
func LinkTo(path, text string) Entry {
	return Entry{Path: path, Kind: Symlink, more: &more{target: text}}
}

// Target is the text of a Symlink; "" for other entries.
func (e *Entry) Target() string {
	if e.more == nil {
		return ""
	}
	return e.more.target
}

// Err is the reason why an entry is Unreadable; nil for other entries.
func (e *Entry) Err() error {
	if e.more == nil {
		return nil
	}
	return e.more.err
}

// At returns the real path of the file, without links.
func (e Entry) At() string { return cmp.Or(e.Name, e.Path) }

// SearchEntries is Search for walked entries.
func SearchEntries(entries []Entry, path string) (int, bool) {
	return slices.BinarySearchFunc(entries, path, func(e Entry, p string) int { return cmp.Compare(e.Path, p) })
}

// StatOf converts a result of package os.
func StatOf(fi fs.FileInfo) Stat {
	s := Stat{Size: fi.Size(), Mtime: fi.ModTime().UnixNano(), Mode: fi.Mode()}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		s.Ino = st.Ino
		s.Links = uint32(st.Nlink)
		s.UID = st.Uid
		s.Sparse = sparse(int64(st.Blocks), s.Size)
		s.Ctime = ctime(st)
	}
	return s
}

// sparse reports whether a file has holes. stat counts blocks of 512 bytes.
func sparse(blocks, size int64) bool { return blocks < size/512 }

// Content returns a reader of a file from its beginning, which does not read holes
// from the disk.
func Content(f *os.File, st Stat) io.Reader {
	if st.Sparse {
		return durable.NewSparse(f)
	}
	return f
}

// Filler returns a writer for a copy of a file into f, which is new and empty. st
// is the state of the original; if that has holes, the copy gets them too. Call
// end after the last byte.
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

// Open opens a regular file below root. It does not follow a link in the last
// component, does not leave root, and does not block on a pipe. An os.Root follows
// links inside the root even with O_NOFOLLOW. So Open checks the file before, and
// checks afterwards that it opened the same file.
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

// HashFile reads a file once, returns its sha256, and feeds the same bytes to the
// other sums. It fails with ErrChanged if the file was written to meanwhile.
func HashFile(ctx context.Context, f *os.File, before Stat, sums ...Sum) (string, error) {
	own := NewSHA256()
	// The limit ends the reading of a file that grows.
	n, err := Digest(ctx, io.LimitReader(Content(f, before), before.Size+1), append(sums, own)...)
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

// Duplicate copies src to f, which is new and empty. It makes a reflink if the
// file system supports that. before is the state of src that Open returned. It
// fails with ErrChanged if src was written to meanwhile.
func Duplicate(ctx context.Context, f, src *os.File, before Stat) error {
	err := durable.Clone(f, src)
	if errors.Is(err, durable.ErrUnsupported) {
		w, end := Filler(f, before)
		bounded := io.LimitReader(Content(src, before), before.Size+1) // src may be growing
		if _, err = Spread(ctx, bounded, w); err == nil {
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

// settled reports whether a change at the time at, or later, would be visible in
// the times of a file with the state s. This is the rule of git's index for "racy"
// files. File systems use the tick of the kernel's clock for their times, and some
// only whole seconds.
func (s Stat) settled(at time.Time) bool {
	slack := 100 * time.Millisecond
	if s.Ctime%int64(time.Second) == 0 {
		slack = 2 * time.Second
	}
	return s.Ctime+int64(slack) < at.UnixNano() && s.Mtime <= at.UnixNano()
}
