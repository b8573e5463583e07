package publish

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"

	"example.com/publish/stage/durable"
)

// idPath is the file that tells a repository from all others, wherever it
// stands: 26 random letters and digits, and a newline. A move or a copy of the
// repository keeps it.
func idPath(dir string) string { return filepath.Join(dir, ".publish", "id") }

// id reads it; "" in a repository of before there were ids, until the first
// prune that is no dry run makes one. Such a plan fits no repository.
func (r *Repo) id() (string, error) {
	data, err := durable.ReadFile(idPath(r.Dir), 4096)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSpace(string(data)), err
}

// giveID makes an id for a repository at dir that has none. The caller holds the
// staging lock, or nobody knows of the repository yet.
func giveID(dir string) error {
	if path := idPath(dir); gone(path) {
		return durable.WriteFile(path, []byte(rand.Text()+"\n"), 0o644)
	}
	return nil
}
