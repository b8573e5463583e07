package stage

import (
	"context"
	"errors"
	"iter"
	"os"
	"slices"
	"strings"
	"time"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// snapshotSource lets a format read a snapshot that is being made. Documents come
// from the copies in the snapshot. Content is not copied yet, so it comes from
// staging, where others may change it, and is checked by its digest. Other files
// in the directory of the snapshot, such as those of a spare, are not visible.
type snapshotSource struct {
	documents catalog.Source
	content   catalog.Source
	copied    map[string]tree.Row // the documents that were copied
	*tree.Facts
}

// memory is a tree with what formats have learned from its content.
type memory struct {
	catalog.Source
	*tree.Facts
}

// Remembering is the source of a tree of which all content was checked, with what formats
// have learned from it.
func Remembering(src *tree.Source, facts *tree.Facts) catalog.Source {
	return memory{tree.Contents(src.Root()), facts}
}

// watched is the source of a tree that is validated. What the format reads and checks by
// its digest need not be read again: the cache gets its hash.
func watched(
	src *tree.Source, sp *sparse, cache *tree.Cache, facts *tree.Facts, now time.Time,
) catalog.Source {
	return memory{sp.source(tree.ContentsSeen(src.Root(), func(path string, st tree.Stat, sha256 string) {
		cache.Put(path, st, sha256, now)
	})), facts}
}

// Contents opens staging for a format. done closes it; unless look is set it keeps
// what the format has learned, which needs no lock.
func (s *Stage) Contents(ctx context.Context, look bool) (src catalog.Source, done func() error, err error) {
	sp, err := s.sparse(ctx)
	if err != nil {
		return nil, nil, err
	}
	root, err := os.OpenRoot(s.Dir)
	if err != nil {
		return nil, nil, err
	}
	facts := s.facts(look)
	done = func() error { return errors.Join(root.Close(), facts.Save()) }
	return memory{sp.source(tree.Contents(root)), facts}, done, nil
}

// facts opens the file of what formats have learned.
func (s *Stage) facts(look bool) *tree.Facts {
	if look || s.Facts == "" {
		return tree.ReadFacts(s.Facts)
	}
	return tree.OpenFacts(s.Facts)
}

// contents opens the source of a snapshot. Close it after use.
func (sn *Snapshot) contents() (src catalog.Source, done func() error, err error) {
	root, err := os.OpenRoot(sn.Dir)
	if err != nil {
		return nil, nil, err
	}
	facts := sn.stage.facts(false)
	done = func() error { return errors.Join(root.Close(), facts.Save(), facts.Compact()) }
	content := sn.sparse.source(tree.Contents(sn.src.Root()))
	return snapshotSource{tree.Contents(root), content, sn.documents, facts}, done, nil
}

func (s snapshotSource) Document(path string) ([]byte, error) {
	if _, ok := s.copied[path]; !ok {
		return nil, &catalog.DocumentError{Path: path, Code: "missing", Fact: "does not exist"}
	}
	return s.documents.Document(path)
}

func (s snapshotSource) Blob(path string, want catalog.Digest, limit int64) ([]byte, error) {
	return s.content.Blob(path, want, limit)
}

func (s snapshotSource) List(dir string) iter.Seq2[string, error] {
	var names []string
	for p := range s.copied {
		rest, below := p, true
		if dir != "." {
			rest, below = strings.CutPrefix(p, dir+"/")
		}
		if !below || dir == "." && catalog.Reserved(p) {
			continue
		}
		if name, _, deeper := strings.Cut(rest, "/"); deeper {
			rest = name + "/"
		}
		names = append(names, rest)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	return func(yield func(string, error) bool) {
		for _, n := range names {
			if !yield(n, nil) {
				return
			}
		}
	}
}
