package tree

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"sync"
)

// Opener opens files of a tree one after the other, as Open does, and keeps the directory
// of the last one open. An os.Root opens each directory on the way to a file, for each
// file anew: for blobs that are five levels down that takes longer than to read them.
//
// It is safe for concurrent use. Close it after use; the os.Root stays open.
type Opener struct {
	root *os.Root

	mu  sync.Mutex
	dir string   // of the last file
	at  *os.Root // that directory; nil for none

	small lastFolder // of the last file of ReadSmall
}

// NewOpener returns an Opener for the tree at root.
func NewOpener(root *os.Root) *Opener { return &Opener{root: root, small: lastFolder{root: root}} }

// ReadSmall reads a whole file with at most limit bytes, in half as many system calls. It
// returns the state of the file before and after. On an error, use Open, which says what is
// wrong.
func (o *Opener) ReadSmall(name string, limit int64) (data []byte, before, after Stat, err error) {
	return o.small.read(name, limit)
}

// Open is the function Open for a file of the tree.
func (o *Opener) Open(name string) (f *os.File, st Stat, err error) {
	err = o.do(name, func(in *os.Root, base string) error {
		f, st, err = Open(in, base)
		return err
	})
	return f, st, err
}

// do calls f with the directory of a path and the name in it. Somebody may have replaced
// the directory since it was opened: so what fails there is tried again from the root.
func (o *Opener) do(name string, f func(in *os.Root, base string) error) error {
	dir, base := path.Split(name)
	if dir == "" || base == "" || base == "." || base == ".." {
		return f(o.root, name)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.at != nil && o.dir == dir {
		if f(o.at, base) == nil {
			return nil
		}
	}
	o.close()
	at, err := o.root.OpenRoot(dir)
	if err != nil {
		return f(o.root, name)
	}
	o.dir, o.at = dir, at
	if err = f(at, base); err != nil {
		if wrong := new(fs.PathError); errors.As(err, &wrong) && wrong.Path == base {
			wrong.Path = name
		}
	}
	return err
}

func (o *Opener) close() {
	if o.at != nil {
		_ = o.at.Close() // nothing was written through it
	}
	o.at = nil
}

// Close closes the directory.
func (o *Opener) Close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.close()
	o.small.close()
}
