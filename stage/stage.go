// Package stage is the staging tree: the directory that builds write to. There only
// this program's own writes are atomic.
//
// Writers of staging's indexes hold the staging lock, and write content first,
// the documents that name it after, the index last, each with an atomic
// rename; so a writer that dies leaves a tree that is as valid as it was, and
// at most a file that no index names. Other tools may write to staging as they
// like: nothing that they do afterwards reaches a snapshot.
//
// What this program brings comes by a Delivery: whole, sealed and flushed, before
// anybody takes the lock.
//
// A Snapshot is a private copy of what staging would publish. Only validating
// one makes a Valid, which is what package publish promotes: the types
// make it impossible to promote a tree that was not validated.
package stage

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"time"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/lock"
	"example.com/publish/stage/tree"
)

// Incoming is the directory below staging in which uploads of this program
// wait until they are whole. The formats pass it over.
const Incoming = ".publish-incoming"

// Stage is an open staging tree.
type Stage struct {
	Dir    string         // absolute path of the tree
	Lock   string         // path of the staging lock's file
	Hashes string         // path of the hash cache's file
	Format catalog.Format // what the tree is
	Links  Links          // what becomes of links in a tree with indexes; "": they are refused
	Share  bool           // link files that this program sealed, instead of copying them
	Now    func() time.Time
	// Wait bounds the wait for the staging lock; negative: no bound.
	Wait time.Duration
	// Waiting is called once when the lock is not had at once; may be nil.
	Waiting func(lock.Holder)
	// BeforeLock is called before the staging lock is taken; may be nil.
	BeforeLock func()
	// Progress is called when a long step begins, with its name and the
	// number of bytes it will read, and returns what to call as bytes are
	// done; may be nil, and so may what it returns.
	Progress func(step string, bytes int64) func(done int64)
	// Warn gets what a rewrite of documents removed with them; may be nil.
	Warn func(string)
	// Left is called for what is of no use any more and cannot be deleted; nil:
	// it is not reported.
	Left func(path string, err error)
	// Revoked reads which contents must not come into staging again, and
	// returns who revoked one and why; nil: none.
	Revoked func() (func(sha256 string) (why string, ok bool), error)
	// Served reads which paths an index of production names, or named: nobody is
	// surprised if they are left out. nil: none.
	Served func() func(path string) bool
}

// known reports which files an index names or named: those that Served names, and
// those that this program staged, as the cache knows.
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

// Exclusive takes the staging lock for verb, sweeps what killed writers left
// behind, and ends the rewriting of indexes that one was killed in.
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

// Catalog reads what staging's indexes say.
func (s *Stage) Catalog(ctx context.Context) (*catalog.Catalog, error) {
	return ReadCatalog(ctx, s.Dir, s.Format)
}

// ReadCatalog reads the indexes of the tree at dir, without leaving it.
func ReadCatalog(ctx context.Context, dir string, f catalog.Format) (*catalog.Catalog, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return f.Read(ctx, tree.Contents(root))
}

// Within is f as it is in the tree at dir: a document that the index there
// names is an Index, wherever it lies.
func Within(dir string, f catalog.Format) (catalog.Format, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	documents, err := f.Documents(tree.Contents(root))
	return catalog.Within(f, documents), err
}

// List returns the images in staging, also those that clients skip; of a tree
// without indexes its files.
func (s *Stage) List(ctx context.Context) ([]catalog.Image, error) {
	c, err := s.Catalog(ctx)
	if err != nil {
		return nil, err
	}
	images := slices.Clone(c.Images)
	entries, err := tree.Walk(ctx, s.Dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		kind := map[tree.Kind]string{tree.File: "file", tree.Symlink: "link"}[e.Kind]
		if s.Format.Class(e.Path) == catalog.Whole && kind != "" {
			images = append(images, catalog.Image{Product: e.Path, Type: kind, Aliases: []string{}, Bytes: e.Stat.Size,
				Created: time.Unix(0, e.Stat.Mtime).UTC(), Paths: []string{e.Path}})
		}
	}
	return images, nil
}

// removeEmpty removes a directory below staging and its parents as far as they are empty.
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
