package generation

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"example.com/publish/stage/durable"
	"example.com/publish/stage/lazyregexp"
)

var idText = lazyregexp.New(`^[0-9A-Za-z]{1,64}$`)

// ID reads the id of this repository: 26 random letters and digits. A moved or
// copied repository keeps its id. The id is "" if its file was lost, or if an old
// version made the repository, until EnsureID makes one.
func (s *Store) ID() (string, error) { return ReadID(s.IDFile) }

// ReadID is ID for the file at path.
func ReadID(path string) (string, error) {
	data, err := durable.ReadFile(path, 256)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil && !errors.Is(err, durable.ErrTooLong) {
		return "", err
	}
	if id := strings.TrimSpace(string(data)); err == nil && idText.MatchString(id) {
		return id, nil
	}
	return "", nil // damaged: the same as lost
}

// GiveID writes a new id to path, if no file is there. It is for a repository
// that is just being made, so no other process uses it.
func GiveID(path string) error {
	if gone(path) {
		return durable.WriteFile(path, []byte(rand.Text()+"\n"), 0o644)
	}
	return nil
}

// EnsureID returns the id. If there is none, it makes one: the id in the tree of
// production, or else a new one. live returns the directory of that tree, after
// proving that this repository made it; "" for none. The caller holds the staging
// lock, or a lock that prevents switches.
func (s *Store) EnsureID(live func() (dir string)) (string, error) {
	id, err := s.ID()
	if err != nil || id != "" {
		return id, err
	}
	id = rand.Text()
	if dir := live(); dir != "" {
		if c, err := ReadClaim(dir); err == nil && c.Marked {
			id = c.Repository
		}
	}
	// Two commands with different locks may do this at once: the first one wins.
	tmp := s.IDFile + ".new-" + rand.Text()
	if err := durable.WriteFile(tmp, []byte(id+"\n"), 0o644); err != nil {
		return "", err
	}
	defer os.Remove(tmp)
	if gone(s.IDFile) {
		err = durable.RenameNew(tmp, s.IDFile)
	} else {
		err = os.Rename(tmp, s.IDFile) // over a damaged one
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	if err := durable.SyncDir(filepath.Dir(s.IDFile)); err != nil {
		return "", err
	}
	return s.ID()
}
