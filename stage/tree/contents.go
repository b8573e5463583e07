package tree

import (
	"io/fs"
	"os"
	"path"
	"strings"
	"sync"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
)

// Contents returns a tree that others write to, in the form that formats read.
func Contents(root *os.Root) catalog.Source {
	return contents{catalog.Files(FS(root)), &lastFolder{root: root}, nil}
}

// ContentsSeen is Contents. It calls seen for each content that has been read and checked, with
// its sha256, and with the state of its file, which did not change meanwhile. It may do that
// in several goroutines at once.
func ContentsSeen(root *os.Root, seen func(path string, st Stat, sha256 string)) catalog.Source {
	careful := catalog.Watched(FS(root), func(path string, d catalog.Digest, before, after fs.FileInfo) {
		if st := StatOf(after); d.Algorithm == catalog.SHA256 && StatOf(before).Same(st, false) {
			seen(path, st, d.Hex)
		}
	})
	return contents{careful, &lastFolder{root: root}, seen}
}

// contents reads content as the Source does, but in half as many system calls: a tree has
// tens of thousands of manifests, in one directory. What it cannot read is left to the
// Source, which says why.
type contents struct {
	catalog.Source
	in   *lastFolder
	seen func(path string, st Stat, sha256 string) // nil for none
}

// Blob implements [catalog.Source].
func (c contents) Blob(name string, want catalog.Digest, limit int64) ([]byte, error) {
	if limit > 0 && want.Check() == nil { // else the question is whether it is there
		if data, ok := c.quick(name, want, limit); ok {
			return data, nil
		}
	}
	return c.Source.Blob(name, want, limit)
}

func (c contents) quick(name string, want catalog.Digest, limit int64) ([]byte, bool) {
	data, before, after, err := c.in.read(name, limit)
	if err != nil || !want.Is(data) {
		return nil, false
	}
	if c.seen != nil && want.Algorithm == catalog.SHA256 && before.Same(after, false) {
		c.seen(name, after, want.Hex)
	}
	return data, true
}

// lastFolder keeps the directory of the last content open. To get there it follows no link.
// The directory is closed with the garbage.
type lastFolder struct {
	root *os.Root

	mu  sync.RWMutex
	dir string
	at  *durable.Listing // nil for none
}

// do calls f with a directory of the tree, whose path ends in a slash. It may be one that
// somebody has replaced meanwhile.
func (f *lastFolder) do(dir string, do func(*durable.Listing) error) error {
	for range 2 { // another one may come in between
		f.mu.RLock()
		if f.at != nil && f.dir == dir {
			defer f.mu.RUnlock()
			return do(f.at)
		}
		f.mu.RUnlock()
		if err := f.open(dir); err != nil {
			return err
		}
	}
	return fs.ErrNotExist
}

// read reads a file of the tree: see [durable.Listing.Read].
func (f *lastFolder) read(name string, limit int64) (data []byte, before, after Stat, err error) {
	dir, base := path.Split(name)
	if !fs.ValidPath(name) || dir == "" {
		return nil, before, after, fs.ErrInvalid
	}
	err = f.do(dir, func(l *durable.Listing) error {
		got, was, is, err := l.Read(base, limit)
		data, before, after = got, statOf(&was), statOf(&is)
		return err
	})
	return data, before, after, err
}

// open makes a directory the one that is kept open.
func (f *lastFolder) open(dir string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.at != nil && f.dir == dir {
		return nil
	}
	at, err := durable.ListIn(f.root, ".", "")
	for name := range strings.SplitSeq(strings.TrimSuffix(dir, "/"), "/") {
		if err != nil {
			return err
		}
		var below *durable.Listing
		below, err = at.Below(name)
		_ = at.Close() // nothing was written through it
		at = below
	}
	if err != nil {
		return err
	}
	if f.at != nil {
		_ = f.at.Close()
	}
	f.dir, f.at = dir, at
	return nil
}

// close closes the directory.
func (f *lastFolder) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.at != nil {
		_ = f.at.Close()
	}
	f.at = nil
}
