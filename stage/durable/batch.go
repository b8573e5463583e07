package durable

import (
	"errors"
	"io/fs"
	"os"
	"sync"
)

// syncfsAbove is the number of flushes above which one flush of the whole
// file system is cheaper, its other tenants' data included: 20,000 small
// files took 1.3 s one by one and 0.13 s at once.
const syncfsAbove = 128

// Batch makes many written files and changed directories durable at once.
// Open it before the first write: a flush of a whole file system reports only
// errors of writes that came after the descriptor was opened.
//
// Few files are flushed one by one, each through the descriptor that wrote it:
// a network file system reports a failed write there, at the flush or at the
// close, and perhaps nowhere else.
type Batch struct {
	root *os.File

	mu      sync.Mutex
	written int // files that were closed by Close, or are expected
	paths   []string
}

// NewBatch starts a batch for files below dir, all on one file system.
func NewBatch(dir string) (*Batch, error) {
	f, err := OpenDirNamed(dir)
	if err != nil {
		return nil, err
	}
	return &Batch{root: f}, nil
}

// Expect announces n files that CloseFile will be called for: of many none is
// flushed by itself.
func (b *Batch) Expect(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n > syncfsAbove {
		b.written += n
	}
}

// CloseFile closes a file that was written, and notes it. If there are few
// files, it flushes this one first, through the descriptor that wrote it.
func (b *Batch) CloseFile(f *os.File) error {
	b.mu.Lock()
	b.written++
	many := b.written > syncfsAbove
	b.paths = append(b.paths, f.Name()) // again: its times may be set after this
	b.mu.Unlock()
	var err error
	if !many {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// WriteFile makes a new file with exactly this mode, whatever the umask.
func (b *Batch) WriteFile(path string, data []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close() // for the errors
	Give(path)
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Chmod(mode); err != nil {
		return err
	}
	return b.CloseFile(f)
}

// Add notes directories to flush, and files that were closed already.
func (b *Batch) Add(paths ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.paths = append(b.paths, paths...)
}

// Flush makes all that was added durable: fsync of each, or one syncfs. After
// an error nothing is known of any of them: discard them, do not flush again.
func (b *Batch) Flush() error {
	b.mu.Lock()
	paths := b.paths
	b.paths = nil
	b.mu.Unlock()
	if len(paths) > syncfsAbove {
		err := syncfs(b.root)
		if !errors.Is(err, ErrUnsupported) {
			return err
		}
	}
	for _, p := range paths {
		if err := syncPath(p); err != nil {
			return err
		}
	}
	return nil
}

// Close releases the batch.
func (b *Batch) Close() error { return b.root.Close() }
