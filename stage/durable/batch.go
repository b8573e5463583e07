package durable

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
)

// syncfsAbove is the number of syncs above which a batch syncs the whole file
// system at once, with syncfs. syncfs waits for all writes of all processes, so its
// time has no limit. With a busy writer on the same file system it took 0.5 s on
// ext4, 2 s on XFS and up to 8 s on btrfs, and 14 s on a machine full of builds,
// even for a small batch. One by one, 512 files of 4 KiB took 0.1, 0.2 and 2 s
// with that writer. On an idle machine they took 0.03, 0.05 and 1 s, and syncfs
// 0.01, 0.02 and 0.04 s. This loss on an idle machine is acceptable. For 20,000
// files it would be seconds on every machine.
const syncfsAbove = 512

// patientAbove is that number for a batch that is patient, as long as no more than
// patientBytes wait to be written on the whole machine. A disk writes them in a second
// or two. Each fsync of a small file writes a block of inodes beside its
// data; syncfs writes such a block once. For 100 files of 20 KiB it took a fourteenth
// of the processor time of all that a download of them takes.
const (
	patientAbove = 16
	patientBytes = 256 << 20
)

// syncers is the number of syncs that run at the same time. A file system commits
// several waiting syncs together: 16 in parallel take between a tenth and a third
// of the time of 16 in sequence.
const syncers = 16

// Batch makes many written files and changed directories durable at once. Open it
// before the first write, because syncfs reports only errors of writes after its
// descriptor was opened.
//
// A small batch syncs each file separately, so that its time does not depend on
// other writers. Such files stay open until then, and each is synced through the
// descriptor that wrote it. A network file system may report a failed write only
// there, at the sync or at the close. Files of a batch that is discarded before
// Flush are not synced.
type Batch struct {
	root *os.File

	mu    sync.Mutex
	many  bool // use syncfs, so files need not stay open
	above int  // the number of syncs above which Flush uses syncfs
	files []*os.File
	paths []string
	taken []taken // files that are closed already

	// Tests count these calls, and let them fail.
	sync    func(*os.File) error
	syncfs  func(*os.File) error
	pending func() (bytes int64, err error)
}

// taken is a file that Take closed. Its path is in two parts: those of 300,000 files would need
// much memory if each had the path of its tree.
type taken struct{ dir, name string }

// NewBatch starts a batch for files below dir, all on one file system.
func NewBatch(dir string) (*Batch, error) {
	f, err := OpenDirNamed(dir)
	if err != nil {
		return nil, err
	}
	return &Batch{root: f, above: syncfsAbove, sync: (*os.File).Sync, syncfs: syncfs, pending: pending}, nil
}

// NewPatientBatch is NewBatch for work that may wait a second or two for others: nobody waits
// for it. It takes less processor time for the same promise.
func NewPatientBatch(dir string) (*Batch, error) {
	b, err := NewBatch(dir)
	if err == nil {
		b.above = patientAbove
	}
	return b, err
}

// Expect announces n calls of Take.
func (b *Batch) Expect(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.many = b.many || len(b.files)+n > syncfsAbove
}

// Take takes ownership of a file that was written: the batch syncs and closes it.
// In a large batch it closes the file immediately, and returns the error of that.
func (b *Batch) Take(f *os.File) error {
	dir, name := filepath.Split(f.Name())
	return b.TakeIn(f, dir, name)
}

// TakeIn is Take for a file of which the caller keeps the path in two parts: name is the path
// below dir.
func (b *Batch) TakeIn(f *os.File, dir, name string) error {
	b.mu.Lock()
	if !b.many && len(b.files) < syncfsAbove {
		b.files = append(b.files, f)
		b.mu.Unlock()
		return nil
	}
	b.many = true
	b.taken = append(b.taken, taken{dir, name})
	b.mu.Unlock()
	return f.Close()
}

// WriteFile makes a new file. The mode is exact: the umask does not apply.
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

// Add adds directories, and files that were closed already, to be synced. A path
// that is added twice is synced once.
func (b *Batch) Add(paths ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.paths = append(b.paths, paths...)
}

// Flush makes everything in the batch durable. After an error the state of all of
// it is unknown: discard it, and do not flush again.
//
// Calls for a small batch: sync_file_range and then fsync of each taken file, then
// fsync of each path, the deepest first. For a large batch, and for a patient one of
// some files: one syncfs.
//
// Callers use the names only after Flush has returned, so any order would be
// correct. But with this order a power cut in the middle leaves no durable name
// whose content is not durable. For that, all paths of one depth are synced before
// the next depth begins: a file is deeper than its directory, and a directory is
// deeper than its parent.
//
// sync_file_range is for speed only. Without it, the file system would allocate the
// blocks of each file in a separate commit. With it, the first fsync commits the
// blocks of all files, and most other calls have little to do.
func (b *Batch) Flush() error {
	b.mu.Lock()
	files, paths, closed := b.files, b.paths, b.taken
	b.files, b.paths, b.taken = nil, nil, nil
	b.mu.Unlock()
	paths = deepestFirst(paths)
	var err error
	each := true
	if b.whole(len(files) + len(paths) + len(closed)) {
		err = b.syncfs(b.root)
		if each = errors.Is(err, ErrUnsupported); each {
			err = nil
		}
	}
	if each && len(closed) > 0 {
		for _, t := range closed {
			paths = append(paths, filepath.Join(t.dir, t.name))
		}
		paths = deepestFirst(paths)
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

// whole reports whether n syncs are to be one of the whole file system.
func (b *Batch) whole(n int) bool {
	if n <= b.above || n > syncfsAbove {
		return n > syncfsAbove
	}
	bytes, err := b.pending()
	return err == nil && bytes <= patientBytes
}

// deepestFirst sorts paths in the order of Flush, each once.
func deepestFirst(paths []string) []string {
	slices.SortFunc(paths, func(x, y string) int { return cmp.Or(depth(y)-depth(x), strings.Compare(x, y)) })
	return slices.Compact(paths)
}

func depth(path string) int { return strings.Count(path, string(os.PathSeparator)) }

// abreast calls f for each element, several in parallel, and returns the first
// error. It starts no more calls after an error.
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

// Close releases the batch, and closes files that were not flushed.
func (b *Batch) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, f := range b.files {
		_ = f.Close() // it is discarded
	}
	b.files = nil
	return b.root.Close()
}
