package durable

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
)

// syncfsAbove is the number of flushes above which the whole file system is
// flushed at once. That waits for everything that any process wrote there, so
// its time has no bound: beside a writer that never pauses it took 0.5 s on
// ext4, 2 s on XFS and up to 8 s on btrfs, and 14 s on a machine full of
// builds, however little was to be flushed. Flushed one by one, 512 files of
// 4 KiB took 0.03, 0.05 and 1 s on an idle machine (syncfs: 0.01, 0.02 and
// 0.04), and 0.1, 0.2 and 2 s beside that writer. That much may be
// lost on an idle machine, and not more; 20,000 files would take seconds on any.
const syncfsAbove = 512

// syncers is how many flushes are under way at a time. A file system commits
// those together that arrive while it is at work on others: 16 side by side take
// a third to a tenth of the time of one after the other.
const syncers = 16

// Batch makes many written files and changed directories durable at once.
// Open it before the first write: a flush of a whole file system reports only
// errors of writes that came after the descriptor was opened.
//
// Few are flushed each by itself, so that it does not matter how much others
// write to the file system. Such files stay open until then. Each is flushed
// through the descriptor that wrote it: a network file system reports a failed
// write there, at the flush or at the close, and perhaps nowhere else. What is
// discarded before Flush costs no flush.
type Batch struct {
	root *os.File

	mu    sync.Mutex
	many  bool // no file is flushed by itself
	files []*os.File
	paths []string

	// Tests count these calls, and let them fail.
	sync   func(*os.File) error
	syncfs func(*os.File) error
}

// NewBatch starts a batch for files below dir, all on one file system.
func NewBatch(dir string) (*Batch, error) {
	f, err := OpenDirNamed(dir)
	if err != nil {
		return nil, err
	}
	return &Batch{root: f, sync: (*os.File).Sync, syncfs: syncfs}, nil
}

// Expect announces n files that Take will be called for.
func (b *Batch) Expect(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.many = b.many || len(b.files)+n > syncfsAbove
}

// Take takes over a file that was written: the batch flushes it and closes it.
// Of many files each is closed at once, and the error is that of closing it.
func (b *Batch) Take(f *os.File) error {
	b.mu.Lock()
	if !b.many && len(b.files) < syncfsAbove {
		b.files = append(b.files, f)
		b.mu.Unlock()
		return nil
	}
	b.many = true
	b.paths = append(b.paths, f.Name())
	b.mu.Unlock()
	return f.Close()
}

// WriteFile makes a new file with exactly this mode, whatever the umask.
func (b *Batch) WriteFile(path string, data []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	Give(path)
	if _, err = f.Write(data); err == nil {
		err = f.Chmod(mode)
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	return b.Take(f)
}

// Add notes directories to flush, and files that were closed already. What is
// added twice is flushed once.
func (b *Batch) Add(paths ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.paths = append(b.paths, paths...)
}

// Flush makes all that was added durable. After an error nothing is known about
// any of it: discard it, do not flush again.
//
// Calls, of few: sync_file_range of each file that was taken, fsync of each,
// then fsync of each path, those that lie deepest first. Of many: one syncfs.
//
// Nothing of it has a name that counts before Flush has returned, so no order
// could break a promise. With this order a power cut midway leaves no durable name
// of a file or a directory whose content is not durable. That is why one depth
// ends before the next one begins: a file is deeper than its directory, and that
// is deeper than its parent.
//
// Without sync_file_range the file system would allocate each file's blocks in a
// commit of its own. With it the first fsync commits the blocks of all files, and
// most other calls have nothing left to do. It promises nothing by itself.
func (b *Batch) Flush() error {
	b.mu.Lock()
	files, paths := b.files, b.paths
	b.files, b.paths = nil, nil
	b.mu.Unlock()
	slices.SortFunc(paths, func(x, y string) int { return cmp.Or(depth(y)-depth(x), strings.Compare(x, y)) })
	paths = slices.Compact(paths)
	var err error
	each := true
	if len(files)+len(paths) > syncfsAbove {
		err = b.syncfs(b.root)
		if each = errors.Is(err, ErrUnsupported); each {
			err = nil
		}
	}
	if each && len(files) > 1 {
		for _, f := range files {
			startWriteback(f, 0, 0)
		}
	}
	if each {
		err = abreast(files, b.sync)
	}
	for _, f := range files {
		err = errors.Join(err, f.Close())
	}
	for len(paths) > 0 && each && err == nil {
		level := paths
		if i := slices.IndexFunc(paths, func(p string) bool { return depth(p) < depth(paths[0]) }); i > 0 {
			level = paths[:i]
		}
		paths = paths[len(level):]
		err = abreast(level, b.syncPath)
	}
	return err
}

func depth(path string) int { return strings.Count(path, string(os.PathSeparator)) }

// abreast calls f for each, a few at a time, and returns the first error. It
// starts no call after an error.
func abreast[T any](list []T, f func(T) error) error {
	if len(list) == 1 {
		return f(list[0])
	}
	g, ctx := errgroup.WithContext(context.Background())
	g.SetLimit(syncers)
	for _, x := range list {
		if ctx.Err() != nil {
			break
		}
		g.Go(func() error { return f(x) })
	}
	return g.Wait()
}

func (b *Batch) syncPath(path string) error {
	f, err := openAny(path)
	if err != nil {
		return err
	}
	return errors.Join(b.sync(f), f.Close())
}

// Close releases the batch, and the files that were not flushed.
func (b *Batch) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, f := range b.files {
		_ = f.Close() // it is discarded
	}
	b.files = nil
	return b.root.Close()
}
