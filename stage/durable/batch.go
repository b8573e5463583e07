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
// Few files stay open until they are flushed one by one, each through the
// descriptor that wrote it: a network file system reports a failed write there,
// at the flush or at the close, and perhaps nowhere else. What is discarded
// before Flush costs no flush.
type Batch struct {
	root *os.File

	mu    sync.Mutex
	many  bool // no file is flushed by itself
	files []*os.File
	paths []string
}

// NewBatch starts a batch for files below dir, all on one file system.
func NewBatch(dir string) (*Batch, error) {
	f, err := OpenDirNamed(dir)
	if err != nil {
		return nil, err
	}
	return &Batch{root: f}, nil
}

// Expect announces n files that Take will be called for.
func (b *Batch) Expect(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.many = b.many || n > syncfsAbove
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
	files, paths := b.files, b.paths
	b.files, b.paths = nil, nil
	b.mu.Unlock()
	var err error
	each := true
	if len(files)+len(paths) > syncfsAbove {
		err = syncfs(b.root)
		if each = errors.Is(err, ErrUnsupported); each {
			err = nil
		}
	}
	for _, f := range files {
		if each && err == nil {
			err = f.Sync()
		}
		err = errors.Join(err, f.Close())
	}
	for _, p := range paths {
		if each && err == nil {
			err = syncPath(p)
		}
	}
	return err
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
