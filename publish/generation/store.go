package generation

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"example.com/publish/publish/fault"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// Store is where the generations of a repository are: their trees, which lie in
// one folder, and their manifests. Its fields are not changed after its first
// use; it may be used by several goroutines at once.
type Store struct {
	Trees     string // the folder of the trees
	Manifests string // the folder of the manifests
	IDFile    string // holds the repository's id
	Format    catalog.Format

	// Recorded returns what the history says of generation n.
	Recorded func(n int) (Recorded, error)
	// Erased returns which rows of generation n are not to be there any more,
	// because they were revoked after it was made.
	Erased func(n int) (func(tree.Row) bool, error)
	// Remove removes a file or a tree.
	Remove func(path string) error
	// At is called at each protocol point, at which tests stop; nil otherwise.
	At func(step string) error
	// Elsewhere has the generations if their content is not here; else nil.
	Elsewhere Elsewhere

	mu   sync.Mutex
	read struct { // the manifest that was read last
		m     *Manifest
		state tree.Stat // of its file
	}
}

func (s *Store) at(step string) error {
	if s.At == nil {
		return nil
	}
	return s.At(step)
}

// maxManifest bounds a manifest, in bytes: one of five million files.
const maxManifest = 2 << 30

// Dir is where the tree of generation n is when it is not live elsewhere.
func (s *Store) Dir(n int) string { return filepath.Join(s.Trees, Number(n)) }

// Dirs is Dir for some generations.
func (s *Store) Dirs(ns []int) []string {
	var out []string
	for _, n := range ns {
		out = append(out, s.Dir(n))
	}
	return out
}

// ManifestPath is the file that holds the manifest of generation n.
func (s *Store) ManifestPath(n int) string { return filepath.Join(s.Manifests, Number(n)) }

// Forget frees the manifest that Manifest remembers.
func (s *Store) Forget() {
	s.mu.Lock()
	s.read.m = nil
	s.mu.Unlock()
}

// Manifest reads the manifest of generation n. The one that was read last is
// remembered: a verb reads production's before it has the lock, and again with
// it. Nobody changes what this returns. The error is of kind NotFound when there
// is none.
func (s *Store) Manifest(n int) (*Manifest, error) {
	path := s.ManifestPath(n)
	fi, err := os.Stat(path)
	if err == nil {
		s.mu.Lock()
		m, state := s.read.m, s.read.state
		s.mu.Unlock()
		if m != nil && m.Generation == n && state == tree.StatOf(fi) {
			return m, nil
		}
	}
	var m *Manifest
	if err == nil {
		m, err = readManifest(path)
	}
	if errors.Is(err, fs.ErrNotExist) && s.Elsewhere != nil {
		m, err := s.Elsewhere.Manifest(context.Background(), n)
		if err == nil {
			_ = s.WriteManifest(m) // a copy: without it, on a full disk, the next command asks again
		}
		return m, err
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &fault.Error{Kind: fault.NotFound,
			Fact: fmt.Sprintf("there is no generation %d, or it is not kept any more", n)}
	}
	if read := new(readError); errors.As(err, &read) {
		return nil, read.err
	}
	if err == nil && m.Generation != n {
		err = fmt.Errorf("it is of generation %d", m.Generation)
	}
	if errors.Is(err, ErrNewer) {
		return nil, &fault.Error{Path: path, Err: err,
			Hint: "use a newer publish; nothing was changed. If none was used here, move the file away and run " +
				"publish recover"}
	}
	if err != nil {
		return nil, &fault.Error{Path: path, Err: err,
			Hint: "run publish recover; if it is production's, it is made anew from what production serves"}
	}
	s.mu.Lock()
	s.read.m, s.read.state = m, tree.StatOf(fi)
	s.mu.Unlock()
	return m, nil
}

// readManifest reads the manifest at path. The error is a *readError if the file cannot be read.
func readManifest(path string) (*Manifest, error) {
	f, err := durable.Open(path)
	if err != nil {
		return nil, &readError{err}
	}
	defer f.Close()
	fi, err := f.Stat()
	if err == nil && fi.Size() > maxManifest {
		err = fmt.Errorf("%s: %w: more than %d bytes", path, durable.ErrTooLong, maxManifest)
	}
	if err != nil {
		return nil, &readError{err}
	}
	m, err := decodeFrom(f, fi.Size())
	if at := new(fs.PathError); errors.As(err, &at) {
		return nil, &readError{err}
	}
	return m, err
}

// readError is the error of a file that cannot be read, so nothing is known of what it has.
type readError struct{ err error }

func (e *readError) Error() string { return e.err.Error() }
func (e *readError) Unwrap() error { return e.err }

// WriteManifest seals a manifest, durably.
func (s *Store) WriteManifest(m *Manifest) error {
	return durable.WriteWith(s.ManifestPath(m.Generation), 0o644, m.Encode)
}

// Heads returns the heads of all manifests that can be read. It fails if a newer
// version wrote one.
func (s *Store) Heads() (map[int]Head, error) {
	list, err := os.ReadDir(s.Manifests)
	if err != nil {
		return nil, err
	}
	out := map[int]Head{}
	for _, d := range list {
		n, ok := ParseNumber(d.Name())
		if !ok {
			continue
		}
		m, err := s.Manifest(n)
		if errors.Is(err, ErrNewer) {
			return nil, err
		}
		if err == nil {
			out[n] = m.Head
		}
	}
	return out, nil
}

// Kept returns the numbers of the generations whose trees are there, sorted,
// and live among them, if it is not 0: its tree may be elsewhere. A tree without
// its identity is on its way out.
func (s *Store) Kept(live int) ([]int, error) {
	if s.Elsewhere != nil {
		return s.Elsewhere.Kept()
	}
	list, err := os.ReadDir(s.Trees)
	if err != nil {
		return nil, err
	}
	var out []int
	for _, d := range list {
		if n, ok := ParseNumber(d.Name()); ok && d.IsDir() {
			if id, err := Identity(filepath.Join(s.Trees, d.Name())); err == nil && id != n {
				continue
			}
			out = append(out, n)
		}
	}
	if live != 0 && !slices.Contains(out, live) {
		out = append(out, live)
	}
	slices.Sort(out)
	return out, nil
}

// Next returns a generation number that was never used: above top, and above
// all that trees and manifests have for a name, abandoned ones included.
func (s *Store) Next(top int) (int, error) {
	for _, dir := range []string{s.Trees, s.Manifests} {
		list, err := os.ReadDir(dir)
		if err != nil {
			return 0, err
		}
		for _, d := range list {
			if n, ok := numberIn(d.Name()); ok {
				top = max(top, n)
			}
		}
	}
	return top + 1, nil
}

// gone reports whether nothing stands at path.
func gone(path string) bool {
	_, err := os.Lstat(path)
	return isGone(err)
}

func isGone(err error) bool { return errors.Is(err, fs.ErrNotExist) }
