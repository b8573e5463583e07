package generation

import (
	"fmt"
	"os"
	"path/filepath"

	"example.com/publish/publish/fault"
)

// Recorded is what the history of a repository says of a generation.
type Recorded struct {
	Known bool   // it was production
	Seal  string // that its tree bears; "" where that is not recorded
	Lost  bool   // there is no history at all
}

// Whose returns which generation of this repository the tree at dir is; 0 when
// it is none of publish's. The error wraps ErrForeign for the tree of another
// repository. A reader needs no lock.
func (s *Store) Whose(dir string) (int, error) {
	for last := (Claim{}); ; {
		c, err := ReadClaim(dir)
		if err != nil || c.Number == 0 {
			return 0, err
		}
		if err = s.prove(dir, c); err == nil {
			return c.Number, nil
		}
		if c == last {
			return 0, err
		}
		// A reader without a lock: what proves it may have gone since it was
		// read. Only what is found twice is true.
		last = c
	}
}

// Holds reports whether the tree of generation n, of this repository, is among the
// trees under its number.
func (s *Store) Holds(n int) bool {
	id, err := s.Whose(s.Dir(n))
	return err == nil && id == n
}

// Says returns which generation the tree at dir says that it is, whoever made
// it; 0 if it says nothing.
func (s *Store) Says(dir string) int {
	c, err := ReadClaim(dir)
	if err != nil {
		return 0
	}
	return c.Number
}

// prove returns nil if a tree with this claim is this repository's: if it bears
// the seal of the manifest that this repository has for the number, or had, by
// the manifest that was made anew or by the history. Of a tree without a mark
// the number has to do, and a look at its files.
func (s *Store) prove(dir string, c Claim) error {
	id, err := s.ID()
	if err != nil {
		return err
	}
	if c.Marked && id != "" && c.Repository != id {
		return Another(dir, "holds generation %d of another repository", c.Number)
	}
	if c.Marked && SealOf(s.ManifestPath(c.Number)) == c.Seal {
		return nil
	}
	var m *Manifest // nil: there is none that can be read
	hasManifest := !gone(s.ManifestPath(c.Number))
	if hasManifest {
		if m, err = s.Manifest(c.Number); err == nil && c.Marked && m.TreeSeal == c.Seal {
			return nil
		}
	}
	rec, err := s.Recorded(c.Number)
	switch {
	case err != nil:
		return err
	case c.Marked && rec.Known && rec.Seal == c.Seal,
		rec.Lost && !hasManifest && (!c.Marked || c.Repository == id): // all is lost: only the id is left to tell
		return nil
	case c.Marked:
		return &fault.Error{Path: dir, Err: ErrForeign,
			Fact: fmt.Sprintf("holds generation %d as this repository did not make it", c.Number),
			Hint: "a copy of this repository, or its original, switches it too: give each a production of its own in " +
				"publish.yaml; " +
				"if the other is gone, move the tree away and run publish recover"}
	case !hasManifest && !rec.Known, m != nil && !s.resembles(m, dir):
		return Another(dir, "holds a generation %d that this repository did not make", c.Number)
	}
	return nil
}

// Find returns the directory in which the store has the tree of generation n:
// under its number, or where it waits for a switch; "" if it has none. The tree
// at neither place may be production's.
func (s *Store) Find(n int) string {
	for _, dir := range []string{s.Dir(n), s.Waiting(n)} {
		if id, err := s.Whose(dir); err == nil && id == n {
			return dir
		}
	}
	return ""
}

// Claimed reports whether a tree says that it is another repository's. Unlike
// Whose it asks for no proof: half a tree that is being deleted has none.
func (s *Store) Claimed(dir string) bool {
	c, err := ReadClaim(dir)
	id, idErr := s.ID()
	return err == nil && idErr == nil && c.Marked && id != "" && c.Repository != id
}

// samples is how many files of a tree without a mark are looked at.
const samples = 64

// resembles reports whether at least half of what a manifest lists is in the
// tree at dir, with the right sizes, as far as a few files tell. Some may have
// been lost.
func (s *Store) resembles(m *Manifest, dir string) bool {
	erased, err := s.Erased(m.Generation)
	if err != nil {
		return true // damaged: recover says so
	}
	looked, found := 0, 0
	step := max(1, len(m.Own)/samples)
	for i := 0; i < len(m.Own); i += step {
		row := m.Own[i]
		if erased(row) {
			continue
		}
		looked++
		if fi, err := os.Lstat(filepath.Join(dir, filepath.FromSlash(row.Path))); err == nil && fi.Size() == row.Size {
			found++
		}
	}
	return 2*found >= looked
}
