package tree

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
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

// How a file comes into a clone.
type How int

const (
	// Share makes a hard link: for files that nobody writes to any more. It
	// falls back to a copy where the file system or its rules refuse a link.
	Share How = iota
	// Copy makes a file of its own: a reflink where the file system can,
	// else a copy of the bytes.
	Copy
	// Relink makes a symbolic link with the text of the source's.
	Relink
	// Move takes the file from the source: for a private one that has served.
	Move
)

// Op is one file to clone.
type Op struct {
	Path string // in the new tree
	From *Source
	Name string // in the source; "" means Path
	How  How
	// Stat is the state in which the file was walked. A copy fails with
	// ErrChanged when the source is in another one. The zero Stat checks
	// nothing: for sources that are immutable.
	Stat Stat
	// Sealed says that nobody writes to the source: hard links of it that are
	// made meanwhile, as of a file that is cloned under two paths, are no change.
	Sealed bool
	// SHA256 is what the bytes are known to be; "" means unknown. A Share
	// trusts it. A Copy of bytes is hashed on its way all the same; a reflink
	// is read only when it is unknown.
	SHA256 string
	// ModTime is given to a copy; zero means the time of copying. A Share
	// keeps the source's, also where it has to copy.
	ModTime time.Time
	// Mode is given to a copy; 0 means 0444.
	Mode fs.FileMode
	// Bytes are written instead of the source's, or are a link's text, if not nil.
	Bytes []byte
	// Held is for a Share that is done: see Cloner.Trim.
	Held bool
}

// Source is a tree to clone from.
type Source struct {
	Dir string
	// Proof tells whether the tree is still the one that was opened: a directory
	// that is held open can become another tree. nil: it cannot. See Proved.
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

// Proved is asked when all has been read and linked, and before any of it counts.
// It returns an error if some of it may have been another tree's.
func (s *Source) Proved() error {
	if s == nil || s.Proof == nil {
		return nil
	}
	return s.Proof()
}

// Root gives access that does not lead out of the tree.
func (s *Source) Root() *os.Root { return s.root }

// Close releases the source.
func (s *Source) Close() error { return s.root.Close() }

// Cloned is what became of one Op.
type Cloned struct {
	SHA256  string // of the bytes in the clone; "" of an unknown content that was not read
	Size    int64
	Shared  bool  // a hard link
	Reflink bool  // data shared by the file system
	Err     error // of this file alone: ErrChanged, ErrNotRegular, fs.ErrPermission of the source…
}

// Cloner makes files in a new tree.
type Cloner struct {
	Dst      string            // the new tree's root; exists
	DirMode  fs.FileMode       // of directories that it makes; 0 means 0755
	Batch    *durable.Batch    // is told what has to be flushed
	Progress func(bytes int64) // told as bytes are copied or hashed; may be nil
}

// Run makes every op that is not held, on all cores. A failure that concerns one
// source file (see Cloned.Err) does not stop the others; a failure of the
// destination, such as a full disk, does. Nothing is durable before the batch is
// flushed.
func (c *Cloner) Run(ctx context.Context, ops []Op) ([]Cloned, error) {
	dirs, err := c.makeDirs(ops)
	if err != nil {
		return nil, err
	}
	out := make([]Cloned, len(ops))
	// Links in one directory wait for each other in the kernel, so each
	// directory's are one worker's; copies wait for the disk, so they get a
	// few more workers than there are cores.
	var links, copies []int
	for i, op := range ops {
		switch {
		case op.Held:
			out[i] = Cloned{SHA256: op.SHA256, Size: op.Stat.Size, Shared: true}
		case op.How == Share && op.Bytes == nil, op.How == Move:
			links = append(links, i)
		default:
			copies = append(copies, i)
		}
	}
	c.Batch.Expect(len(copies))
	runs := runs(len(links), func(i int) string { return ops[links[i]].Path })
	err = each(len(runs), runtime.GOMAXPROCS(0), func(n int) (err error) {
		l := linker{dst: c.Dst}
		defer l.close()
		for _, i := range links[runs[n].from:runs[n].to] {
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
	if err == nil {
		err = each(len(copies), 2*runtime.GOMAXPROCS(0), func(n int) (err error) {
			if err := ctx.Err(); err != nil {
				return err
			}
			out[copies[n]], err = c.one(ctx, ops[copies[n]])
			return err
		})
	}
	c.Batch.Add(dirs...)
	return out, err
}

// dirOf is path.Dir of a clean path.
func dirOf(p string) string { return p[:max(0, strings.LastIndexByte(p, '/'))] }

// makeDirs makes every directory that the ops need and returns all whose names
// change. One after the other: on ext4 two workers at it spend twice the time of
// two cores.
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
	return Cloned{Size: int64(len(op.Bytes)), SHA256: hex.EncodeToString(h.Sum(nil))}, c.finish(f, op)
}

func (c *Cloner) copy(ctx context.Context, dst string, op Op) (Cloned, error) {
	src, st, err := Open(op.From.root, op.Name)
	if err != nil {
		return Cloned{Err: err}, nil
	}
	defer src.Close()
	if op.Stat.Ino != 0 && !st.Same(op.Stat, op.SHA256 != "" && op.How == Share || op.Sealed) {
		return Cloned{Err: &fs.PathError{Op: "copy", Path: op.Name, Err: ErrChanged}}, nil
	}
	if op.How == Share {
		op.ModTime = time.Unix(0, st.Mtime)
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
			out.SHA256 = hex.EncodeToString(own.Sum(nil))
		}
	case errors.Is(err, durable.ErrUnsupported):
		own := NewSHA256()
		r := &sourceReader{r: io.LimitReader(Content(src, st), st.Size+1)} // one that grows has no end
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
		out.SHA256 = hex.EncodeToString(own.Sum(nil))
	default:
		return Cloned{}, err
	}
	// The private copy is what counts from here on. That the source stayed
	// as it was matters where its hash was taken for granted, and tells the
	// caller that a writer was at work: of a file that is not sealed by its
	// ctime, for its owner can set mtime back.
	fi, err := src.Stat()
	if err != nil {
		return Cloned{}, err
	}
	granted := out.Reflink && op.SHA256 != "" && op.How == Copy && op.Stat.Ino != 0
	if !StatOf(fi).Same(st, !granted || op.Sealed) {
		return fail(&fs.PathError{Op: "copy", Path: op.Name, Err: ErrChanged})
	}
	finished = true
	return out, c.finish(f, op)
}

// counted reports the bytes that pass to Progress.
func (c *Cloner) counted(r io.Reader) io.Reader {
	if c.Progress == nil {
		return r
	}
	return readerFunc(func(p []byte) (int, error) {
		n, err := r.Read(p)
		c.Progress(int64(n))
		return n, err
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// sourceReader remembers its own error apart from the writer's.
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

// finish gives a new file the mode and the time that it keeps for good, and
// hands it to the batch.
func (c *Cloner) finish(f *os.File, op Op) error {
	mode := op.Mode
	if mode == 0 {
		mode = 0o444
	}
	err := f.Chmod(mode)
	if err == nil && !op.ModTime.IsZero() {
		err = os.Chtimes(f.Name(), time.Time{}, op.ModTime)
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	return c.Batch.Take(f)
}
