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

// Litter is an entry of the store that is not a generation: a crash left it, or
// somebody moved it there.
type Litter struct {
	Path       string
	Kind       LitterKind
	Generation int // whose tree it would be; 0 for a draft, which has no number
}

// LitterKind is the reason why an entry is litter.
type LitterKind int

// The kinds of litter. Recovery removes all of them except Returned and Foreign.
const (
	PromoteDraft LitterKind = iota // of a promote that did not finish
	RevertDraft                    // of a revert or a revoke that did not finish
	Unreached                      // a sealed tree that never became production
	Returned                       // the old tree after an exchange: the site renames it to its number
	Half                           // a tree that a gc could not rename, and deleted in part
	Trash                          // a retired tree that is being deleted
	Foreign                        // a tree of another repository: leave it alone
)

// Known is what Litter needs to know of the history and of locks.
type Known struct {
	Reached func(n int) bool       // the history has a switch to generation n
	Freed   func(n int) bool       // the history has a gc that deletes generation n
	Tried   func(name string) bool // an earlier recovery could not remove this entry
	Live    int                    // production; 0 for none
	Top     int                    // the highest number that production ever had
	// Abandoned reports whether no running promote owns a draft. It is called
	// after the drafts were listed, so a promote that begins later does not
	// matter: its draft is not in the list.
	Abandoned func() bool
}

// Litter returns the entries of the store that are not kept generations. A tree
// that the history does not know is litter only if its number is above all that
// production ever had. With a lower number, it is the history that is incomplete.
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
		return RevertDraft, true // abandoned: the caller holds the lock of its owner, or only reports
	case strings.HasPrefix(name, trashPrefix):
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
		// If the tree is still complete, the next gc deletes it.
		id, err := Identity(l.Path)
		return Half, err == nil && id == 0
	}
	return 0, false
}

// Numbers returns the numbers of the trees that are there, also of those that wait
// for a switch.
func (s *Store) Numbers() ([]int, error) {
	list, err := os.ReadDir(s.Trees)
	if err != nil {
		return nil, err
	}
	var out []int
	for _, d := range list {
		if n, ok := ParseNumber(strings.TrimPrefix(d.Name(), NextPrefix)); ok {
			out = append(out, n)
		}
	}
	return out, nil
}

// Trash returns the paths of retired trees that are being deleted.
func (s *Store) Trash() ([]string, error) {
	list, err := os.ReadDir(s.Trees)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, d := range list {
		if strings.HasPrefix(d.Name(), trashPrefix) {
			out = append(out, filepath.Join(s.Trees, d.Name()))
		}
	}
	return out, nil
}

// StaleManifests returns the files in the folder of manifests that can be
// removed: temporary files, and manifests of trees that are gone. newest is the
// newest generation in the history. Its manifest and later ones stay, even if
// they never became production, because they mark their numbers as used.
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

// Aside renames the tree of a generation, so that a partly deleted tree is never
// taken for a generation. It returns the new path. A directory in a lower layer of
// an overlay cannot be renamed, for example if a container image holds the
// repository. Such a tree stays in place, but loses the file with its number. The
// new name is durable after the store is synced.
func (s *Store) Aside(n int) (string, error) { return s.aside(Number(n)) }

func (s *Store) aside(name string) (string, error) {
	from := filepath.Join(s.Trees, name)
	to, err := "", error(nil)
	for i := range 100 {
		to = filepath.Join(s.Trees, trashPrefix+name)
		if i > 0 {
			to += fmt.Sprint("-", i+1) // the name is in use by a tree that could not be deleted
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
