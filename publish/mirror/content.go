package mirror

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/dustin/go-humanize"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/lock"
)

// Content is what a job fetches, by digest, in a directory that all jobs share. It is a
// catalog.Store.
//
// A content that is whole stays in its part until Sync, which makes all of them durable
// at once and then gives them their names. To sync each by itself would add a third to
// the time that many small ones take. Until then only this Content has it. If the process dies
// before, the next one reads the part again, finds the digest right, and fetches nothing.
// So a file with the name of a digest has that content, also after a power cut.
type Content struct {
	opt  ContentOptions
	done atomic.Int64

	making sync.Mutex
	give   func(path string) // see durable.Giver; nil until the directory is made

	mu    sync.Mutex
	batch *durable.Batch             // of the parts that are whole; nil: none yet
	whole map[catalog.Digest]brought // of those parts
}

// brought is a part that is whole: its file, as it was when it was locked, and how many bytes it
// has by now.
type brought struct {
	file fs.FileInfo
	size int64
}

// is reports whether a file is that part: the file of one that was removed may have given its
// number to a new one, which then has fewer bytes until it is whole itself.
func (b brought) is(file fs.FileInfo) bool { return os.SameFile(file, b.file) && file.Size() == b.size }

// ContentOptions say where content lies and what to do about it.
type ContentOptions struct {
	Dir string // such as .publish/mirror/content
	// Elsewhere returns where else a content lies that need not be fetched, such as in
	// the tree; it may be nil. Several calls may run at the same time.
	Elsewhere func(catalog.Digest) (path string, ok bool)
	// Far returns how to read a content that is in the object store, and need not be fetched
	// either; nil for none. It may be nil itself.
	Far  func(catalog.Digest) func() (io.ReadCloser, error)
	Free int64 // bytes of the file system that must stay free
	// Largest may refuse that a content of so many bytes comes now; it may be nil.
	Largest func(bytes int64) error
	// Progress is called with the bytes that are there of what was asked for; it may be
	// nil. Several calls may run at the same time.
	Progress func(done int64)
	// Total is called with what Progress will reach, each time that more is known of it; it
	// may be nil. Several calls may run at the same time.
	Total func(bytes int64)
}

var _ catalog.Store = (*Content)(nil)

// NewContent makes the Content of a job. It touches nothing.
func NewContent(opt ContentOptions) *Content {
	return &Content{opt: opt, whole: map[catalog.Digest]brought{}}
}

func (c *Content) path(d catalog.Digest, suffix string) string {
	return filepath.Join(c.opt.Dir, d.Algorithm, d.Hex+suffix)
}

// partSuffix ends the name of a content that is not whole.
const partSuffix = ".part"

// Has implements catalog.Store.
func (c *Content) Has(d catalog.Digest) bool {
	_, ok := c.Path(d)
	return ok || c.far(d) != nil
}

// far returns how to read a content that is in the object store; nil for none.
func (c *Content) far(d catalog.Digest) func() (io.ReadCloser, error) {
	if c.opt.Far == nil || d.Check() != nil {
		return nil
	}
	return c.opt.Far(d)
}

// Path returns the file that has a content. Another job may move it from here into
// staging at any time; then it lies elsewhere.
func (c *Content) Path(d catalog.Digest) (string, bool) {
	if d.Check() != nil {
		return "", false
	}
	own := c.brought(d)
	if regular(c.path(d, "")) {
		return c.path(d, ""), true
	}
	if own {
		if regular(c.path(d, partSuffix)) {
			return c.path(d, partSuffix), true
		}
		if regular(c.path(d, "")) { // it got its name meanwhile
			return c.path(d, ""), true
		}
	}
	if c.opt.Elsewhere == nil {
		return "", false
	}
	return c.opt.Elsewhere(d)
}

// brought reports whether this Content has brought a content since the last Sync.
func (c *Content) brought(d catalog.Digest) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.whole[d]
	return ok
}

// Own reports whether a path that Path returned is one of the directory: who stages it may
// take the file.
func (c *Content) Own(path string) bool {
	return strings.HasPrefix(path, c.opt.Dir+string(filepath.Separator))
}

func regular(path string) bool {
	fi, err := os.Lstat(path)
	return err == nil && fi.Mode().IsRegular()
}

// Open implements catalog.Store.
func (c *Content) Open(d catalog.Digest) (io.ReadCloser, error) {
	for try := 0; ; try++ {
		path, ok := c.Path(d)
		if open := c.far(d); !ok && open != nil {
			return open()
		}
		if !ok {
			return nil, fmt.Errorf("%s: %w", d, fs.ErrNotExist)
		}
		f, err := durable.Open(path)
		if !errors.Is(err, fs.ErrNotExist) || try == looks {
			return f, err
		}
	}
}

// Expect implements catalog.Store. The error is a *catalog.RemoteError, or that of Largest.
func (c *Content) Expect(bytes, largest int64) error {
	if c.opt.Total != nil {
		c.opt.Total(c.Done() + bytes)
	}
	if c.opt.Largest != nil {
		if err := c.opt.Largest(largest); err != nil {
			return err
		}
	}
	return c.room(bytes)
}

// room refuses what has no room.
func (c *Content) room(bytes int64) error {
	if err := c.create(); err != nil {
		return err
	}
	free, err := durable.Free(c.opt.Dir)
	if err != nil {
		return err
	}
	if room := free - c.opt.Free; bytes > max(room, 0) {
		return &catalog.RemoteError{Class: catalog.NoSpace, Again: true,
			Err: fmt.Errorf("%s: there is no room for %s: %s are free, and %s must stay free", c.opt.Dir,
				size(bytes), size(free), size(c.opt.Free)),
			Hint: "free disk space, for example with publish gc; limits.free is what must stay free"}
	}
	return nil
}

func size(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }

// create makes the directory, if it is missing.
func (c *Content) create() error {
	c.making.Lock()
	defer c.making.Unlock()
	if c.give != nil {
		return nil
	}
	for _, algorithm := range []string{catalog.SHA256, catalog.SHA512} {
		if err := durable.MkdirAll(filepath.Join(c.opt.Dir, algorithm), 0o755); err != nil {
			return err
		}
	}
	c.give = durable.Giver(c.opt.Dir) // and of those below it
	return nil
}

// Done returns what Progress is called with.
func (c *Content) Done() int64 { return c.done.Load() }

// count adds to what is done.
func (c *Content) count(n int64) {
	now := c.done.Add(n)
	if c.opt.Progress != nil {
		c.opt.Progress(now)
	}
}

// Bring implements catalog.Store. Of the errors of a body, and of wrong bytes, it makes a
// *catalog.RemoteError without a host.
func (c *Content) Bring(ctx context.Context, d catalog.Digest, size int64, get func(ctx context.Context, from int64) (
	io.ReadCloser, int64, error)) error {
	if err := d.Check(); err != nil {
		return catalog.Failed(catalog.WrongDigest, "", "digest %q %w", cut(d.String(), maxText), err)
	}
	if size < 0 {
		return catalog.Failed(catalog.WrongDigest, "", "%s: has the size %d", d, size)
	}
	if c.brought(d) {
		c.count(size)
		return nil
	}
	if err := c.begin(); err != nil {
		return full(err)
	}
	p, err := c.part(ctx, d, size)
	if err != nil {
		return full(err)
	}
	// It is looked for once, here: callers have asked Has before, and if it came since, who had
	// the lock brought it.
	if own := c.brought(d); own || c.Has(d) {
		if p.there() == 0 && !own {
			err = ignoreMissing(os.Remove(c.path(d, partSuffix)))
		}
		_ = p.f.Close()
		c.count(size)
		return err
	}
	if err := p.fill(ctx, get); err != nil {
		_ = p.f.Close()
		return full(err)
	}
	defer lock.Unlock(p.f) // it stays open until Sync
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.batch == nil {
		_ = p.f.Close()
		return errClosed
	}
	if err := c.batch.Take(p.f); err != nil {
		return full(err)
	}
	c.whole[d] = brought{p.held, p.n}
	return nil
}

var errClosed = errors.New("the store of the job is closed")

// begin opens the batch before anything is written that it has to sync.
func (c *Content) begin() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.batch != nil {
		return nil
	}
	if err := c.create(); err != nil {
		return err
	}
	b, err := durable.NewPatientBatch(c.opt.Dir)
	c.batch = b
	return err
}

// Sync makes what was brought durable and gives it its names. No Bring may run. It must
// come before the files of the job go into staging. After an error all that was brought
// since the last Sync is gone, because nobody knows what of it is on the disk.
//
// Calls: fsync of each part, or one syncfs; rename of each; fsync of the directory.
func (c *Content) Sync(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.batch == nil {
		return nil
	}
	err := c.batch.Flush()
	err = errors.Join(err, c.batch.Close())
	c.batch = nil
	dirs := map[string]bool{}
	for d, own := range c.whole {
		dirs[filepath.Dir(c.path(d, ""))] = true
		if err == nil {
			err = c.name(ctx, d, own)
			continue
		}
		_, _ = c.own(ctx, d, own, func(_ *os.File, part string) error { return os.Remove(part) })
	}
	clear(c.whole)
	for dir := range dirs {
		if err == nil {
			err = durable.SyncDir(dir)
		}
	}
	return full(err)
}

// name gives a part its name. Another job that wanted the same may have done it.
func (c *Content) name(ctx context.Context, d catalog.Digest, own brought) error {
	ok, err := c.own(ctx, d, own, func(f *os.File, part string) error {
		if err := f.Chmod(0o444); err != nil {
			return err
		}
		err := durable.RenameNew(part, c.path(d, ""))
		if errors.Is(err, fs.ErrExist) { // somebody put it there by hand: the part is swept
			err = nil
		}
		return err
	})
	if ok || err != nil || regular(c.path(d, "")) {
		return err
	}
	if c.opt.Elsewhere != nil {
		if _, ok := c.opt.Elsewhere(d); ok {
			return nil
		}
	}
	return &catalog.RemoteError{Class: catalog.Internal, Again: true,
		Err: fmt.Errorf("%s vanished: %w", d, fs.ErrNotExist)}
}

// own calls do for the part of a content, under its lock, if it is the file that this Content
// brought. If another job gave that its name, the part may be what a third one has begun since.
func (c *Content) own(ctx context.Context, d catalog.Digest, own brought, do func(f *os.File, part string) error) (
	bool, error) {
	part := c.path(d, partSuffix)
	if fi, err := os.Lstat(part); err != nil || !own.is(fi) { // do not wait for that one
		return false, ignoreMissing(err)
	}
	f, held, err := lockPart(ctx, part, false, lock.Options{Wait: -1})
	if err != nil {
		return false, ignoreMissing(err)
	}
	defer f.Close()
	if !own.is(held) {
		return false, nil
	}
	return true, do(f, part)
}

// Close ends the Content. Parts stay for the next time.
func (c *Content) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.batch == nil {
		return nil
	}
	err := c.batch.Close()
	c.batch = nil
	clear(c.whole)
	return err
}

// full makes a *catalog.RemoteError of an error that says that the disk is full.
func full(err error) error {
	if remote := (*catalog.RemoteError)(nil); err == nil || errors.As(err, &remote) {
		return err
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return &catalog.RemoteError{Class: catalog.NoSpace, Again: true, Err: err,
			Hint: "free disk space, for example with publish gc"}
	}
	return err
}

// Swept is what SweepContent did.
type Swept struct {
	Files int
	Bytes int64
	Left  []Problem // what could not be removed, and what does not belong there
}

// SweepContent removes contents and parts from a directory that keep refuses, if nobody
// wrote to them since a time: it should be longer ago than a job takes.
func SweepContent(ctx context.Context, dir string, keep func(catalog.Digest) bool, before time.Time) (Swept, error) {
	var s Swept
	for _, algorithm := range []string{catalog.SHA256, catalog.SHA512} {
		list, err := os.ReadDir(filepath.Join(dir, algorithm))
		if err := ignoreMissing(err); err != nil {
			return s, err
		}
		for _, e := range list {
			if err := ctx.Err(); err != nil {
				return s, err
			}
			path := filepath.Join(dir, algorithm, e.Name())
			suffix := filepath.Ext(e.Name())
			d := catalog.Digest{Algorithm: algorithm, Hex: e.Name()[:len(e.Name())-len(suffix)]}
			known := (suffix == "" || suffix == partSuffix) && e.Type().IsRegular()
			if d.Check() != nil || !known {
				s.Left = append(s.Left, Problem{path, errors.New("does not belong here")})
				continue
			}
			n, removed, err := sweepOne(ctx, path, func() bool { return !keep(d) }, before)
			if err != nil {
				s.Left = append(s.Left, Problem{path, err})
			}
			if removed {
				s.Files++
				s.Bytes += n
			}
		}
	}
	return s, nil
}

// sweepOne removes a file under its lock.
func sweepOne(ctx context.Context, path string, may func() bool, before time.Time) (
	bytes int64, removed bool, err error) {
	fi, err := os.Lstat(path)
	if err != nil {
		return 0, false, ignoreMissing(err)
	}
	if !fi.ModTime().Before(before) || !may() {
		return 0, false, nil
	}
	if filepath.Ext(path) == partSuffix {
		f, held, err := lockPart(ctx, path, false, lock.Options{})
		if taken := (*lock.HeldError)(nil); errors.As(err, &taken) {
			return 0, false, nil
		}
		if err != nil {
			return 0, false, ignoreMissing(err)
		}
		defer f.Close()
		if !held.ModTime().Before(before) {
			return 0, false, nil
		}
		fi = held
	}
	if err := os.Remove(path); err != nil {
		return 0, false, ignoreMissing(err)
	}
	return fi.Size(), true, nil
}
