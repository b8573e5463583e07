package tree

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"example.com/publish/stage/durable"
)

// How is the way in which a file gets into a clone.
type How int

const (
	// Share makes a hard link, for files that nobody writes to any more. It makes
	// a copy if the system refuses the link.
	Share How = iota
	// Copy makes a separate file: a reflink if the file system supports that, else
	// a copy of the bytes.
	Copy
	// Relink makes a symbolic link with the same text as the source's.
	Relink
	// Move renames the file from the source, which must be private.
	Move
	// Twin is Share of another file of the new tree, after all others are made. Name is
	// the path of that file; Run sets the source.
	Twin
)

// Op is one file to clone.
type Op struct {
	Path string // in the new tree
	From *Source
	Name string // in the source; "" means Path
	How  How
	// Sealed means that nobody writes to the source. Then a new hard link of it,
	// for example because it is cloned under two paths, is not taken for a change.
	Sealed bool
	// Held means that the file of a Share is in place already: see Cloner.Trim.
	Held bool
	// Mode is the mode of a copy; 0 means 0444.
	Mode fs.FileMode
	// Stat is the state of the file when it was walked. A copy fails with
	// ErrChanged if the source is in another state. The zero Stat disables the
	// check, for immutable sources.
	Stat Stat
	// SHA256 is the known hash of the bytes; "" if unknown. A Share trusts it. A
	// Copy that copies bytes hashes them in any case. A reflink is read only if the
	// hash is unknown.
	SHA256 string
	// Bytes, if not nil, are written instead of the content of the source, or are
	// the text of a link.
	Bytes []byte
}

// Source is a tree to clone from.
type Source struct {
	Dir string
	// Proof returns an error if the open directory has become another tree; nil if
	// that cannot happen. See Proved.
	Proof func() error

	root *os.Root
}

// OpenSource opens the tree at dir. Close it after use.
func OpenSource(dir string) (*Source, error) {
	r, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &Source{Dir: dir, root: r}, nil
}

// Proved returns an error if something that was read or linked may be from another
// tree. Call it after the last read, and use the results only if it returns nil.
func (s *Source) Proved() error {
	if s == nil || s.Proof == nil {
		return nil
	}
	return s.Proof()
}

// Root returns the directory of the tree; nothing outside can be reached by it.
func (s *Source) Root() *os.Root { return s.root }

// Close releases the source.
func (s *Source) Close() error { return s.root.Close() }

// Cloned is the result of one Op.
type Cloned struct {
	SHA256  string // of the bytes in the clone; "" if they were not read and the hash is unknown
	Size    int64
	Shared  bool  // it is a hard link
	Reflink bool  // the file system shares its data
	Err     error // an error of this source file only: ErrChanged, ErrNotRegular, fs.ErrPermission…
}

// Cloner makes files in a new tree.
type Cloner struct {
	Dst      string            // the root of the new tree; it must exist
	DirMode  fs.FileMode       // of directories that it makes; 0 means 0755
	Batch    *durable.Batch    // collects what has to be synced
	Progress func(bytes int64) // called when bytes were copied or hashed; may be nil
}

// Run performs every op that is not held, on all cores. An error of one source
// file (see Cloned.Err) does not stop the others. An error of the destination, such
// as a full disk, stops all. Nothing is durable before the batch is flushed.
func (c *Cloner) Run(ctx context.Context, ops []Op) ([]Cloned, error) {
	dirs, err := c.makeDirs(ops)
	if err != nil {
		return nil, err
	}
	out := make([]Cloned, len(ops))
	// The kernel makes links in one directory one after the other, so one worker
	// makes all links of a directory. Copies wait for the disk, so they get more
	// workers than there are cores.
	var links, copies, twins []int
	for i, op := range ops {
		switch {
		case op.Held:
			out[i] = Cloned{SHA256: op.SHA256, Size: op.Stat.Size, Shared: true}
		case op.How == Twin:
			twins = append(twins, i)
		case op.How == Share && op.Bytes == nil, op.How == Move:
			links = append(links, i)
		default:
			copies = append(copies, i)
		}
	}
	c.Batch.Expect(len(copies))
	if err = c.link(ctx, ops, links, out); err == nil {
		err = each(len(copies), 2*runtime.GOMAXPROCS(0), func(n int) (err error) {
			if err := ctx.Err(); err != nil {
				return err
			}
			out[copies[n]], err = c.one(ctx, ops[copies[n]])
			return err
		})
	}
	if err == nil && len(twins) > 0 {
		var own *Source
		if own, err = OpenSource(c.Dst); err == nil {
			for _, i := range twins {
				ops[i].From = own
			}
			err = errors.Join(c.link(ctx, ops, twins, out), own.Close())
		}
	}
	c.Batch.Add(dirs...)
	return out, err
}

// link performs those of the ops that make links.
func (c *Cloner) link(ctx context.Context, ops []Op, which []int, out []Cloned) error {
	runs := runs(len(which), func(i int) string { return ops[which[i]].Path })
	return each(len(runs), runtime.GOMAXPROCS(0), func(n int) (err error) {
		l := linker{dst: c.Dst}
		defer l.close()
		for _, i := range which[runs[n].from:runs[n].to] {
			if err := ctx.Err(); err != nil {
				return err
			}
			linked, err := l.link(ops[i])
			if err != nil {
				return err
			}
			if out[i] = (Cloned{SHA256: ops[i].SHA256, Size: ops[i].Stat.Size, Shared: true}); linked {
				continue
			}
			if out[i], err = c.one(ctx, ops[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

// dirOf is a faster path.Dir for clean paths; it returns "" instead of ".".
func dirOf(p string) string { return p[:max(0, strings.LastIndexByte(p, '/'))] }

// makeDirs makes every directory that the ops need, and returns them, to be
// synced. It uses one goroutine: on ext4 two are not faster, and use twice the
// processor time.
func (c *Cloner) makeDirs(ops []Op) ([]string, error) {
	mode := c.DirMode
	if mode == 0 {
		mode = 0o755
	}
	made := map[string]bool{".": true}
	dirs := []string{c.Dst}
	for _, op := range ops {
		if op.Held {
			continue
		}
		for d := path.Dir(op.Path); !made[d]; d = path.Dir(d) {
			made[d] = true
			full := filepath.Join(c.Dst, d)
			if err := durable.MkdirAll(full, mode); err != nil {
				return nil, err
			}
			dirs = append(dirs, full)
		}
	}
	return dirs, nil
}

// each calls f with 0 to n-1 from several workers, until one of them fails.
func each(n, workers int, f func(i int) error) error {
	var next atomic.Int64
	var failed atomic.Bool
	work := func() error {
		for i := int(next.Add(1)) - 1; i < n && !failed.Load(); i = int(next.Add(1)) - 1 {
			if err := f(i); err != nil {
				failed.Store(true)
				return err
			}
		}
		return nil
	}
	if min(workers, n) <= 1 {
		return work()
	}
	var g errgroup.Group
	for range min(workers, n) {
		g.Go(work)
	}
	return g.Wait()
}

func (c *Cloner) one(ctx context.Context, op Op) (Cloned, error) {
	dst := filepath.Join(c.Dst, op.Path)
	if op.Name == "" {
		op.Name = op.Path
	}
	switch {
	case op.Bytes != nil && op.How != Relink:
		return c.write(dst, op)
	case op.How == Relink:
		text := string(op.Bytes)
		if op.Bytes == nil {
			var err error
			if text, err = op.From.root.Readlink(op.Name); err != nil {
				return Cloned{Err: err}, nil
			}
		}
		h := NewSHA256()
		io.WriteString(h, text)
		return Cloned{Size: int64(len(text)), SHA256: hex.EncodeToString(h.Sum(nil))}, durable.Symlink(text, dst)
	}
	return c.copy(ctx, dst, op)
}

func (c *Cloner) write(dst string, op Op) (Cloned, error) {
	f, err := create(dst)
	if err != nil {
		return Cloned{}, err
	}
	if _, err := f.Write(op.Bytes); err != nil {
		return Cloned{}, errors.Join(err, f.Close())
	}
	h := NewSHA256()
	h.Write(op.Bytes)
	return Cloned{Size: int64(len(op.Bytes)), SHA256: hex.EncodeToString(h.Sum(nil))}, c.finish(f, op, time.Time{})
}

func (c *Cloner) copy(ctx context.Context, dst string, op Op) (Cloned, error) {
	src, st, err := Open(op.From.root, op.Name)
	if err != nil {
		return Cloned{Err: err}, nil
	}
	defer src.Close()
	link := op.How == Share || op.How == Twin
	if op.Stat.Ino != 0 && !st.Same(op.Stat, op.SHA256 != "" && link || op.Sealed) {
		return Cloned{Err: &fs.PathError{Op: "copy", Path: op.Name, Err: ErrChanged}}, nil
	}
	var when time.Time // a copy in place of a link has the time of its source
	if link {
		when = time.Unix(0, st.Mtime)
	}
	f, err := create(dst)
	if err != nil {
		return Cloned{}, err
	}
	finished := false
	defer func() {
		if !finished {
			_ = f.Close() // it is discarded
		}
	}()
	out := Cloned{SHA256: op.SHA256, Size: st.Size}
	fail := func(err error) (Cloned, error) {
		_ = os.Remove(dst)
		return Cloned{Err: err}, nil
	}

	switch err := durable.Clone(f, src); {
	case err == nil:
		out.Reflink = true
		if out.SHA256 == "" {
			own := NewSHA256()
			if _, err := Digest(ctx, c.counted(Content(f, st)), own); err != nil {
				return Cloned{}, err
			}
			out.SHA256 = hexOf(own, op.Path)
		}
	case errors.Is(err, durable.ErrUnsupported):
		own := NewSHA256()
		r := &sourceReader{r: io.LimitReader(Content(src, st), st.Size+1)} // src may be growing
		w, end := Filler(f, st)
		n, err := Digest(ctx, io.TeeReader(c.counted(r), w), own)
		if r.err != nil {
			return fail(r.err)
		}
		if err == nil {
			err = end()
		}
		if err != nil {
			return Cloned{}, fmt.Errorf("%s: %w", dst, err)
		}
		if n != st.Size {
			return fail(&fs.PathError{Op: "copy", Path: op.Name, Err: ErrChanged})
		}
		out.SHA256 = hexOf(own, op.Path)
	default:
		return Cloned{}, err
	}
	// Check that the source did not change. Only the private copy matters from here
	// on, but two things depend on the check. A hash that was known before must
	// still be right for a reflink: there ctime is checked as well, unless the file
	// is sealed, because its owner can set mtime back. And the caller should learn
	// that somebody writes to the file.
	fi, err := src.Stat()
	if err != nil {
		return Cloned{}, err
	}
	granted := out.Reflink && op.SHA256 != "" && op.How == Copy && op.Stat.Ino != 0
	if !StatOf(fi).Same(st, !granted || op.Sealed) {
		return fail(&fs.PathError{Op: "copy", Path: op.Name, Err: ErrChanged})
	}
	finished = true
	return out, c.finish(f, op, when)
}

// hexOf returns the hash of the bytes of the file at a path. Where contents have their digests as names
// it is a part of the path, since hashes of a large tree need much memory.
func hexOf(h hash.Hash, path string) string {
	var sum [sha256.Size]byte
	var digits [2 * sha256.Size]byte
	hex.Encode(digits[:], h.Sum(sum[:0]))
	if name := path[max(0, len(path)-len(digits)):]; name == string(digits[:]) {
		return name
	}
	return string(digits[:])
}

// counted reports the bytes that pass to Progress.
func (c *Cloner) counted(r io.Reader) io.Reader { return Counted(r, c.Progress) }

// Counted reports the bytes that pass to progress, which may be nil.
func Counted(r io.Reader, progress func(bytes int64)) io.Reader {
	if progress == nil {
		return r
	}
	return readerFunc(func(p []byte) (int, error) {
		n, err := r.Read(p)
		progress(int64(n))
		return n, err
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// sourceReader keeps read errors, so that they can be told from write errors.
type sourceReader struct {
	r   io.Reader
	err error
}

func (s *sourceReader) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

func create(path string) (*os.File, error) {
	return durable.Create(path)
}

// finish sets the final mode and time of a new file, and hands it to the batch. A zero time
// leaves the time of copying.
func (c *Cloner) finish(f *os.File, op Op, when time.Time) error {
	mode := op.Mode
	if mode == 0 {
		mode = 0o444
	}
	err := f.Chmod(mode)
	if err == nil && !when.IsZero() {
		err = os.Chtimes(f.Name(), time.Time{}, when)
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	return c.Batch.TakeIn(f, c.Dst, op.Path)
}
