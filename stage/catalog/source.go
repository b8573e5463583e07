package catalog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"path"
	"strings"
	"sync"
)

// Source is a tree that a format reads: documents freely, content only by its
// digest. It does not lead out of the tree. Blob of a tree that is validated may be called
// by several goroutines at once, and so may what a [Memory] has.
type Source interface {
	// Document returns all bytes of a document. The error is a *DocumentError if
	// it is missing, larger than MaxDocument, not a regular file, or reached
	// through a link; any other error means that it could not be read.
	Document(path string) ([]byte, error)
	// Blob returns the content with the digest want; it does not matter where
	// it comes from. It wraps fs.ErrNotExist for content that
	// is not there, and ErrDigest for bytes that are not those of want, or more
	// than limit.
	Blob(path string, want Digest, limit int64) ([]byte, error)
	// List returns the names in a directory, sorted; "." is the tree itself.
	// Those of directories end in a slash. What is neither file nor directory,
	// and what belongs to this program, is passed over; a directory that is not
	// there is empty.
	List(dir string) iter.Seq2[string, error]
}

// MaxDocument bounds a document's size, in bytes. The largest public server's
// catalog has about 10 MB.
const MaxDocument = 128 << 20

// ErrDigest is returned for bytes that are not those that were asked for.
var ErrDigest = errors.New("does not have the digest that was expected")

// DocumentError is a document that clients could not read: it is neither
// rewritten nor merged. Code and Fact are those of the finding that a format
// makes of it.
type DocumentError struct {
	Path string // relative to the tree
	Code string // missing, through-link, not-a-file, too-large; a format has more
	Fact string // lower case, without the path
}

func (e *DocumentError) Error() string { return e.Path + ": " + e.Fact }

// HalfError is a DocumentError for a document that ends before its time: somebody
// may be writing it just now.
type HalfError struct{ *DocumentError }

func (e *HalfError) Unwrap() error { return e.DocumentError }

// Is makes a missing document an fs.ErrNotExist.
func (e *DocumentError) Is(target error) bool {
	return target == fs.ErrNotExist && e.Code == "missing"
}

// Missing reports whether an error says that a document does not exist.
func Missing(err error) bool {
	bad := new(DocumentError)
	return errors.As(err, &bad) && bad.Code == "missing"
}

// Files is the source of a file system that does not lead out of a tree, and
// implements fs.ReadLinkFS: no link is followed.
func Files(fsys fs.FS) Source { return files{fsys: fsys, last: &folder{}} }

// Seen is called for a content that had the digest that was asked for, with the state of
// its file before and after it was read.
type Seen func(path string, d Digest, before, after fs.FileInfo)

// Watched is Files, with a function that learns which content was read.
func Watched(fsys fs.FS, seen Seen) Source { return files{fsys, &folder{}, seen} }

type files struct {
	fsys fs.FS
	last *folder
	seen Seen // nil for none
}

// folder is the directory that look has walked to last. A tree has thousands of blobs
// in one: that no link leads there is looked at once.
type folder struct {
	mu   sync.Mutex
	path string
}

func (f *folder) is(path string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return path != "." && f.path == path
}

func (f *folder) set(path string) {
	f.mu.Lock()
	f.path = path
	f.mu.Unlock()
}

func (s files) Document(name string) ([]byte, error) {
	info, err := s.look(name)
	if err != nil {
		return nil, err
	}
	if info.Size() > MaxDocument {
		fact := fmt.Sprintf("has %d bytes; a document may have %d", info.Size(), MaxDocument)
		return nil, &DocumentError{name, "too-large", fact}
	}
	data, err := s.read(name, info.Size(), MaxDocument, nil)
	if err == nil && int64(len(data)) > MaxDocument {
		return nil, &DocumentError{name, "too-large", fmt.Sprintf("has more than %d bytes", MaxDocument)}
	}
	return data, err
}

// read returns up to one byte more than limit. states, unless nil, gets the state of the
// file before and after.
func (s files) read(name string, size, limit int64, states *[2]fs.FileInfo) ([]byte, error) {
	f, err := s.fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	look := func(at int) {
		if states != nil && err == nil {
			states[at], err = f.Stat()
		}
	}
	look(0)
	var buf bytes.Buffer
	buf.Grow(int(min(size, limit)) + bytes.MinRead) // else the last read doubles it
	if err == nil {
		_, err = buf.ReadFrom(io.LimitReader(f, limit+1))
	}
	if look(1); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// look walks down to a file and follows no link.
func (s files) look(name string) (fs.FileInfo, error) {
	parts := strings.Split(name, "/")
	first := 0
	if s.last.is(path.Dir(name)) {
		first = len(parts) - 1
	}
	for i := first; i < len(parts); i++ {
		at := strings.Join(parts[:i+1], "/")
		if i == len(parts)-1 { // all that lead to it are directories
			s.last.set(path.Dir(name))
		}
		info, err := fs.Lstat(s.fsys, at)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil, &DocumentError{name, "missing", "does not exist"}
		case err != nil:
			return nil, err
		case info.Mode()&fs.ModeSymlink != 0:
			fact := fmt.Sprintf("is reached through the link %s, which is not followed", Show(at))
			return nil, &DocumentError{name, "through-link", fact}
		case i < len(parts)-1 && !info.IsDir():
			return nil, &DocumentError{name, "missing", fmt.Sprintf("does not exist: %s is no directory", Show(at))}
		case i == len(parts)-1 && !info.Mode().IsRegular():
			return nil, &DocumentError{name, "not-a-file", "is not a regular file"}
		case i == len(parts)-1:
			return info, nil
		}
	}
	return nil, &DocumentError{name, "missing", "does not exist"}
}

func (s files) Blob(name string, want Digest, limit int64) ([]byte, error) {
	fail := func(err error) ([]byte, error) { return nil, &fs.PathError{Op: "read", Path: name, Err: err} }
	if err := want.Check(); err != nil {
		return fail(err)
	}
	info, err := s.look(name)
	if err != nil {
		return nil, err
	}
	if info.Size() > limit {
		return fail(ErrDigest)
	}
	var states *[2]fs.FileInfo
	if s.seen != nil {
		states = new([2]fs.FileInfo)
	}
	data, err := s.read(name, info.Size(), limit, states)
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit || !want.Is(data) {
		return fail(ErrDigest)
	}
	if states != nil {
		s.seen(name, want, states[0], states[1])
	}
	return data, nil
}

func (s files) List(dir string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if dir != "." {
			for at := dir; at != "."; at = path.Dir(at) { // a link would be followed
				info, err := fs.Lstat(s.fsys, at)
				if errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
					return
				}
				if err != nil {
					yield("", err)
					return
				}
			}
		}
		list, err := fs.ReadDir(s.fsys, dir)
		for _, e := range list {
			name := e.Name()
			switch {
			case dir == "." && Reserved(name), !e.IsDir() && !e.Type().IsRegular():
				continue
			case e.IsDir():
				name += "/"
			}
			if !yield(name, nil) {
				return
			}
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			yield("", err)
		}
	}
}
