package generation

import (
	"fmt"
	"os"
	"path/filepath"

	"example.com/publish/publish/fault"
)

// Recorded is what the history of a repository says about a generation.
type Recorded struct {
	Known bool   // it was production
	Seal  string // in the mark of its tree; "" if that is not recorded
	Lost  bool   // there is no history at all
}

// Whose returns which generation of this repository the tree at dir is; 0 if
// publish did not make the tree. The error wraps ErrForeign for a tree of another
// repository. The caller needs no lock.
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
		// Without a lock, the manifest may have been removed since the claim was
		// read. So the error counts only if a second attempt reads the same claim.
		last = c
	}
}

// Holds reports whether the tree of generation n, of this repository, is among the
// trees under its number.
func (s *Store) Holds(n int) bool {
	id, err := s.Whose(s.Dir(n))
	return err == nil && id == n
}

// Says returns the generation number in the tree at dir, whoever made it; 0 if
// there is none.
func (s *Store) Says(dir string) int {
	c, err := ReadClaim(dir)
	if err != nil {
		return 0
	}
	return c.Number
}

// prove returns nil if this repository made the tree with this claim. For that,
// the seal in the mark must be known: from the manifest of the number, from the
// TreeSeal of a rebuilt manifest, or from the history. A tree without a mark is
// accepted if the number is known and its files resemble the manifest.
func (s *Store) prove(dir string, c Claim) error {
	id, err := s.ID()
	if err != nil {
		return err
	}
	if c.Marked && id != "" && c.Repository != id {
		return Another(dir, "holds generation %d of another repository", c.Number)
	}
	if c.Marked && sealOf(s.ManifestPath(c.Number)) == c.Seal {
		return nil
	}
	var m *Manifest // nil if it is missing or cannot be read
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
		// If history and manifest are lost, the id is the only evidence left.
		rec.Lost && !hasManifest && (!c.Marked || c.Repository == id):
		return nil
	case c.Marked:
		return &fault.Error{Path: dir, Err: ErrForeign,
			Fact: fmt.Sprintf("holds generation %d, but this repository did not make it", c.Number),
			Hint: "a copy of this repository, or its original, switches it too: give each a production of its own in " +
				"publish.yaml; " +
				"if the other is gone, move the tree away and run publish recover"}
	case !hasManifest && !rec.Known, m != nil && !s.resembles(m, dir):
		return Another(dir, "holds a generation %d that this repository did not make", c.Number)
	}
	return nil
}

// Find returns the directory in the store that has the tree of generation n:
// either under its number, or where it waits for a switch; "" for neither. The
// tree of production may be outside the store.
func (s *Store) Find(n int) string {
	for _, dir := range []string{s.Dir(n), s.Waiting(n)} {
		if id, err := s.Whose(dir); err == nil && id == n {
			return dir
		}
	}
	return ""
}

// Claimed reports whether the mark of a tree names another repository. Unlike
// Whose it needs no proof, because a partly deleted tree has none.
func (s *Store) Claimed(dir string) bool {
	c, err := ReadClaim(dir)
	id, idErr := s.ID()
	return err == nil && idErr == nil && c.Marked && id != "" && c.Repository != id
}

// samples is the approximate number of files that resembles checks.
const samples = 64

// resembles checks a sample of the rows of a manifest, and reports whether at
// least half of them are in the tree at dir with the right size. Not all need be
// there, because files may have been lost.
func (s *Store) resembles(m *Manifest, dir string) bool {
	erased, err := s.Erased(m.Generation)
	if err != nil {
		return true // the tombstones are damaged: recover reports that
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
