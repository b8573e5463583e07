package generation

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"example.com/publish/stage/durable"
)

var idText = regexp.MustCompile(`^[0-9A-Za-z]{1,64}$`)

// ID reads what tells this repository from all others, wherever it stands: 26
// random letters and digits. A move or a copy of the repository keeps it. It is
// "" where it was lost, and in a repository of before there were ids, until
// EnsureID makes one.
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
	return "", nil // damaged: as good as lost
}

// GiveID makes an id in the file at path, for a repository that has none and of
// which nobody knows yet.
func GiveID(path string) error {
	if gone(path) {
		return durable.WriteFile(path, []byte(rand.Text()+"\n"), 0o644)
	}
	return nil
}

// EnsureID returns the id, and makes one first if there is none: the one that
// production's tree bears, if live, which returns where it is, proves that it is
// this repository's, else a new one. live returns "" for none. The caller holds
// a lock that keeps switches out, or the staging lock.
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
	// Two may be at it, with different locks: the first one's counts.
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
