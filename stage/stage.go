// Package stage manages the staging tree, the directory that builds write to. In
// it, only the writes of this program are atomic.
//
// This program changes the indexes of staging only under the staging lock. It
// writes content first, then the documents that name it, and the index last, each
// with an atomic rename. So a writer that is killed leaves a tree that is as valid
// as before; at most there is a new file that no index names. Other tools may
// write to staging at any time. What they write after a snapshot does not reach
// the snapshot.
//
// A Delivery brings files into staging. They are complete, sealed and synced
// before it takes the lock.
//
// Where production is an object store, staging is sparse: it has the documents and what
// is new. Content that it lacks counts as present if the generation that it began from
// has it (see Elsewhere), so a Snapshot has rows without files. Several machines have
// staging trees of one production; Rebase unites what they did.
//
// A Snapshot is a private copy of what staging would publish. Validating a
// Snapshot is the only way to make a Valid, and package publish promotes only
// that. So the types make it impossible to promote a tree that was not validated.
package stage

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"time"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/lock"
	"example.com/publish/stage/tree"
)

// Incoming is the directory below staging for files that this program is still
// writing. The formats ignore it.
const Incoming = ".publish-incoming"

// Stage is an open staging tree.
type Stage struct {
	Dir    string         // absolute path of the tree
	Lock   string         // path of the staging lock's file
	Hashes string         // path of the hash cache's file
	Facts  string         // path of the file with what the format learned; "" for none
	Format catalog.Format // of the tree
	Links  Links          // what to do with links in a tree with indexes; "" means RefuseLinks
	Share  bool           // link files that this program sealed, instead of copying them
	Now    func() time.Time
	// Patience is how long to wait for a document that somebody writes in place.
	Patience time.Duration
	// Wait is the longest time to wait for the staging lock; negative for no limit.
	Wait time.Duration
	// Waiting is called once if another process has the lock; may be nil.
	Waiting func(lock.Holder)
	// BeforeLock is called before the staging lock is taken; may be nil.
	BeforeLock func()
	// Progress is called when a long step begins, with its name and the number of
	// bytes that it will read. It returns a function to call when bytes are done.
	// Both may be nil.
	Progress func(step string, bytes int64) func(done int64)
	// Warn gets messages about companions that changed with their documents; may be
	// nil.
	Warn func(string)
	// Left is called for each useless file that cannot be deleted; may be nil.
	Left func(path string, err error)
	// Revoked reads the revoked contents, which must not come into staging again. It
	// returns a function that tells who revoked a content and why; nil for none.
	Revoked func() (func(sha256 string) (why string, ok bool), error)
	// Served reads the paths that an index of production names or named. There is
	// no warning if such a file is left out. nil for none.
	Served func() func(path string) bool
	// Elsewhere returns what counts as present if staging lacks it: see the type. nil,
	// and a nil result, for a staging tree that has all its files.
	Elsewhere func() (*Elsewhere, error)

	step func(name string) error // tests stop a command at a step of Rebase; nil otherwise
}

func (s *Stage) at(step string) error {
	if s.step == nil {
		return nil
	}
	return s.step(step)
}

// known returns a function that reports whether an index names or named a file:
// Served has it, or this program staged it, according to the cache.
func (s *Stage) known(cache *tree.Cache) func(e tree.Entry) bool {
	var served func(string) bool
	return func(e tree.Entry) bool {
		if _, sealed, ok := cache.Lookup(e.Path, e.Stat); ok && sealed {
			return true
		}
		if s.Served == nil {
			return false
		}
		if served == nil {
			served = s.Served()
		}
		return served(e.Path)
	}
}

// Exclusive takes the staging lock for verb, removes what killed writers left, and
// completes an Apply in which a writer was killed.
func (s *Stage) Exclusive(ctx context.Context, verb string) (unlock func(), err error) {
	if s.BeforeLock != nil {
		s.BeforeLock()
	}
	unlock, err = lock.Acquire(ctx, s.Lock, lock.Options{Verb: verb, Now: s.Now(), Wait: s.Wait, Waiting: s.Waiting})
	if err != nil {
		return nil, err
	}
	s.sweep()
	if err := s.rollForward(); err != nil {
		unlock()
		return nil, err
	}
	return unlock, nil
}

// Catalog reads the indexes of staging.
func (s *Stage) Catalog(ctx context.Context) (*catalog.Catalog, error) {
	src, done, err := s.Contents(ctx, true)
	if err != nil {
		return nil, err
	}
	c, err := s.read(ctx, func() (*catalog.Catalog, error) { return s.Format.Read(ctx, src) })
	return c, errors.Join(err, done())
}

// ReadCatalog reads the indexes of the tree at dir. It reads nothing outside.
func ReadCatalog(ctx context.Context, dir string, f catalog.Format) (*catalog.Catalog, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return f.Read(ctx, tree.Contents(root))
}

// Within returns the format f for the tree at dir: every document that the index
// there names has the class Index, whatever its path.
func Within(dir string, f catalog.Format) (catalog.Format, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	documents, err := f.Documents(tree.Contents(root))
	return catalog.Within(f, documents), err
}

// Within is the format as it is in staging.
func (s *Stage) Within() (catalog.Format, error) { return Within(s.Dir, s.Format) }

// List returns the images in staging, including those that clients skip. For a
// tree without indexes it returns the files.
func (s *Stage) List(ctx context.Context) ([]catalog.Image, error) {
	c, err := s.Catalog(ctx)
	if err != nil {
		return nil, err
	}
	return s.listed(ctx, c)
}

// listed is List, of what the indexes contain.
func (s *Stage) listed(ctx context.Context, c *catalog.Catalog) ([]catalog.Image, error) {
	images := slices.Clone(c.Images)
	entries, err := tree.Walk(ctx, s.Dir)
	if err != nil {
		return nil, err
	}
	sp, err := s.sparse(ctx)
	if err != nil {
		return nil, err
	}
	images = append(images, sp.absent(named(c), among(entries)).listed()...)
	for _, e := range entries {
		kind := map[tree.Kind]string{tree.File: "file", tree.Symlink: "link"}[e.Kind]
		if s.Format.Class(e.Path) == catalog.Whole && kind != "" {
			images = append(images, catalog.Image{Product: e.Path, Type: kind, Aliases: []string{}, Bytes: e.Stat.Size,
				Created: time.Unix(0, e.Stat.Mtime).UTC(), Paths: []string{e.Path}})
		}
	}
	return images, nil
}

// removeEmpty removes a directory below staging and its parents, up to the first
// that is not empty.
func (s *Stage) removeEmpty(dir string) {
	for ; dir != "." && dir != "/"; dir = filepath.Dir(dir) {
		if s.remove(dir) != nil {
			return
		}
	}
}

func (s *Stage) progress(step string, bytes int64) func(int64) {
	if s.Progress == nil {
		return func(int64) {}
	}
	if f := s.Progress(step, bytes); f != nil {
		return f
	}
	return func(int64) {}
}
