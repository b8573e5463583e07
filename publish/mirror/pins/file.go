package pins

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"time"

	"example.com/publish/publish/fault"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/lock"
)

// Name is that of the file in the directory of a repository.
const Name = "mirror.lock.yaml"

// maxFile is the maximum size of the file, in bytes: some 60,000 images.
const maxFile = 16 << 20

// File is a lock file. Several calls may run at the same time.
type File struct {
	path, lock string
	place      func(Entry) string
	now        func() time.Time
	step       func(string) error // tests stop a write at a point of it; nil otherwise

	mu   sync.Mutex
	data []byte // that last is of: a runner reads the file for each job
	last *Set
}

// Open returns the lock file at a path, which need not exist. It touches nothing. Writers
// hold the lock at the path lock. place returns where the image of an entry lies in the
// tree, "" for nowhere: two names must not lie at one place.
func Open(path, lock string, place func(Entry) string, now func() time.Time) *File {
	return &File{path: path, lock: lock, place: place, now: now}
}

// Path is where the file is.
func (f *File) Path() string { return f.path }

// Load reads the file. A missing one is empty. The error is a *fault.Error of kind Usage,
// with the line, for a file that is not as it should be.
func (f *File) Load() (*Set, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.load()
}

func (f *File) load() (*Set, error) {
	data, err := durable.ReadSmall(f.path, maxFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &Set{places: map[string]string{}}, nil
	case errors.Is(err, durable.ErrNotRegular), errors.Is(err, durable.ErrTooLong):
		return nil, &fault.Error{Kind: fault.Usage, Err: err, Hint: hint}
	case err != nil:
		return nil, err
	}
	if f.last != nil && bytes.Equal(data, f.data) {
		return f.last, nil
	}
	s, err := decode(data, f.place)
	if line := (*lineError)(nil); errors.As(err, &line) {
		at := f.path
		if line.line > 0 {
			at = fmt.Sprintf("%s:%d", f.path, line.line)
		}
		return nil, &fault.Error{Kind: fault.Usage, Path: at, Fact: line.fact, Hint: hint}
	}
	if err == nil {
		f.data, f.last = data, s
	}
	return s, err
}

const hint = "mend it, or take it from version control; without it, all names may stand for something new"

// Put locks what a job has staged. What is locked already stays, and platforms of the same
// digest are united. The error wraps ErrDrift if other bytes are locked for the name,
// unless follow is true. It is a *PlaceError if another name lies at the same place.
// Nothing is written if nothing changes. It is durable when Put returns.
//
// Calls: those of durable.WriteFile. If they fail before the rename, the file is unchanged.
func (f *File) Put(ctx context.Context, e Entry, follow bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	e = e.normal()
	if textProblem(e.Requested) != "" {
		e.Requested = e.Canonical
	}
	if key, fact := e.problem(); key != "" {
		return fmt.Errorf("%s: %s: %s: %s", f.path, catalog.Show(short(e.Canonical)), key, fact)
	}
	unlock, err := f.acquire(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	s, err := f.load()
	if err != nil {
		return err
	}
	next, err := s.with(e, follow, f.place)
	if err != nil {
		return err
	}
	if next == s {
		// A kill may have come between the rename and the sync of it.
		return durable.SyncDir(filepath.Dir(f.path))
	}
	data := encode(next.entries)
	if len(data) > maxFile {
		return fmt.Errorf("%s: %w: it would have more than %d bytes", f.path, durable.ErrTooLong, maxFile)
	}
	if err := durable.SweepPending(f.path); err != nil { // of a killed one
		return err
	}
	if err := f.at("write lock file"); err != nil {
		return err
	}
	if err := durable.WriteFile(f.path, data, 0o644); err != nil {
		return err
	}
	f.data, f.last = data, next
	return f.at("wrote lock file")
}

func (f *File) at(step string) error {
	if f.step == nil {
		return nil
	}
	return f.step(step)
}

func (f *File) acquire(ctx context.Context) (unlock func(), err error) {
	if err := durable.MkdirAll(filepath.Dir(f.lock), 0o755); err != nil {
		return nil, err
	}
	if err := lock.Create(f.lock, lock.Private()); err != nil {
		return nil, err
	}
	return lock.Acquire(ctx, f.lock, lock.Options{Verb: "mirror", Now: f.now(), Wait: -1})
}

// PlaceError is a name that would lie in the tree where another one does.
type PlaceError struct{ Canonical, Other string }

func (e *PlaceError) Error() string {
	return fmt.Sprintf("%s: would lie in the tree where %s is", catalog.Show(short(e.Canonical)),
		catalog.Show(short(e.Other)))
}

// with returns the set with an entry. s stays as it is: readers have it.
func (s *Set) with(e Entry, follow bool, place func(Entry) string) (*Set, error) {
	old, there := s.Find(e.Canonical)
	if there {
		var err error
		if e, err = old.unite(e, follow); err != nil {
			return nil, fmt.Errorf("%s: %w", catalog.Show(short(e.Canonical)), err)
		}
		if e = e.normal(); reflect.DeepEqual(e, old) {
			return s, nil
		}
	}
	next := &Set{places: maps.Clone(s.places), entries: slices.DeleteFunc(slices.Clone(s.entries), func(o Entry) bool {
		return o.Canonical == e.Canonical
	})}
	if other := next.take(e, place); other != "" {
		return nil, &PlaceError{e.Canonical, other}
	}
	sort(next.entries)
	return next, nil
}
