package generation

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"example.com/publish/stage/durable"
)

// Litter is something in the store that no generation is: a crash left it, or
// somebody moved it there.
type Litter struct {
	Path       string
	Kind       LitterKind
	Generation int // whose tree it would be; 0 for a draft, which has no number
}

// LitterKind is what left something.
type LitterKind int

// The kinds of litter. All but Returned and Foreign are to be removed.
const (
	PromoteDraft LitterKind = iota // of a promote that did not end
	RevertDraft                    // of a revert or a revoke that did not end
	Unreached                      // a sealed tree that production never was
	Returned                       // a tree that an exchange brought back: the site gives it its number
	Half                           // what a gc left of a tree that it could not rename
	Trash                          // a retired tree on its way out
	Foreign                        // another repository's tree: it is left alone
)

// Known is what Litter asks of the history and of locks.
type Known struct {
	Reached func(n int) bool       // the history names the switch to generation n
	Freed   func(n int) bool       // the history says that a gc deletes generation n
	Tried   func(name string) bool // an earlier recovery could not remove this
	Live    int                    // production; 0 for none
	Top     int                    // the highest number that production ever had
	// Abandoned reports whether no promote can own the drafts that are there. It
	// is asked after they were listed: a promote that begins later makes another.
	Abandoned func() bool
}

// Litter returns what is in the store and is no kept generation. A tree that the
// history does not know is litter only above every number that production ever
// had: below, it is the history that has lost something.
func (s *Store) Litter(k Known) ([]Litter, error) {
	list, err := os.ReadDir(s.Trees)
	if err != nil {
		return nil, err
	}
	abandoned := false
	for _, d := range list {
		if strings.HasPrefix(d.Name(), SnapshotPrefix) {
			abandoned = k.Abandoned()
			break
		}
	}
	var out []Litter
	for _, d := range list {
		l := Litter{Path: filepath.Join(s.Trees, d.Name())}
		if kind, ok := s.litter(d.Name(), &l, k, abandoned); ok {
			l.Kind = kind
			out = append(out, l)
		}
	}
	return out, nil
}

func (s *Store) litter(name string, l *Litter, k Known, abandoned bool) (kind LitterKind, ok bool) {
	n, isTree := ParseNumber(strings.TrimPrefix(name, NextPrefix))
	switch {
	case strings.HasPrefix(name, SnapshotPrefix):
		return PromoteDraft, abandoned
	case strings.HasPrefix(name, RevertPrefix):
		return RevertDraft, true // the caller has its owner's lock, or only looks
	case strings.HasPrefix(name, TrashPrefix):
		return Trash, true
	case !isTree:
		return 0, false
	}
	l.Generation = n
	switch {
	case s.Claimed(l.Path):
		return Foreign, true
	case strings.HasPrefix(name, NextPrefix):
		if id, err := Identity(l.Path); err == nil && id != 0 && id != n {
			return Returned, true
		}
		return Unreached, true
	case !k.Reached(n) && (n > k.Top || k.Tried(name)):
		return Unreached, true
	case k.Freed(n) && n != k.Live:
		// Whole it is gc's again.
		id, err := Identity(l.Path)
		return Half, err == nil && id == 0
	}
	return 0, false
}

// Trash returns the retired trees on their way out.
func (s *Store) Trash() ([]string, error) {
	list, err := os.ReadDir(s.Trees)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, d := range list {
		if strings.HasPrefix(d.Name(), TrashPrefix) {
			out = append(out, filepath.Join(s.Trees, d.Name()))
		}
	}
	return out, nil
}

// StaleManifests returns the files among the manifests that are to be removed:
// temporary ones, and manifests of trees that are gone. newest is the newest
// generation of the history. That number, and higher ones, stay taken even if
// production never reached them: no number ever names two trees.
func (s *Store) StaleManifests(newest, live int) ([]string, error) {
	list, err := os.ReadDir(s.Manifests)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, d := range list {
		path := filepath.Join(s.Manifests, d.Name())
		switch n, ok := ParseNumber(d.Name()); {
		case !ok:
			if strings.HasPrefix(d.Name(), ".") {
				out = append(out, path)
			}
		case n < newest && n != live && gone(s.Dir(n)):
			out = append(out, path)
		}
	}
	return out, nil
}

// Aside gives the tree of a generation a name that is no generation's, so that
// half of it is never taken for one, and returns where it is then. A directory of
// a lower layer of an overlay, as in a container whose image holds the
// repository, cannot be renamed: it stays, without the file that says which
// generation it is. The new name is durable when the store is synced.
func (s *Store) Aside(n int) (string, error) { return s.aside(Number(n)) }

func (s *Store) aside(name string) (string, error) {
	from := filepath.Join(s.Trees, name)
	to, err := "", error(nil)
	for i := range 100 {
		to = filepath.Join(s.Trees, TrashPrefix+name)
		if i > 0 {
			to += fmt.Sprint("-", i+1) // something that cannot be deleted has the name
		}
		if err = durable.RenameNew(from, to); !errors.Is(err, fs.ErrExist) {
			break
		}
	}
	if err == nil || !errors.Is(err, syscall.EXDEV) {
		return to, err
	}
	if err := s.Remove(filepath.Join(from, IdentityName)); err != nil {
		return "", err
	}
	return from, durable.SyncDir(from)
}
