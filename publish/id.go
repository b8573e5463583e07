package publish

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"example.com/publish/stage/durable"
)

// idPath is the file that tells a repository from all others, wherever it
// stands: 26 random letters and digits, and a newline. A move or a copy of the
// repository keeps it.
func idPath(dir string) string { return filepath.Join(dir, ".publish", "id") }

var idText = regexp.MustCompile(`^[0-9A-Za-z]{1,64}$`)

// id reads it; "" where it was lost, and in a repository of before there were
// ids, until the first switch, or prune that is no dry run, makes one. A plan
// without one fits no repository.
func (r *Repo) id() (string, error) { return readID(r.Dir) }

func readID(dir string) (string, error) {
	data, err := durable.ReadFile(idPath(dir), 256)
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

// ensureID returns the id, and makes one first if there is none: the one that
// production's tree bears, if that is proved to be this repository's, else a new
// one. The caller holds the production lock or the staging lock.
func (r *Repo) ensureID() (string, error) {
	id, err := r.id()
	if err != nil || id != "" {
		return id, err
	}
	id = rand.Text()
	if n, err := r.site.Live(context.Background()); err == nil && n != 0 {
		if c, err := readClaim(r.site.Dir(n)); err == nil && c.marked {
			id = c.repository
		}
	}
	// Two may be at it, with different locks: the first one's counts.
	path := idPath(r.Dir)
	tmp := path + ".new-" + rand.Text()
	if err := durable.WriteFile(tmp, []byte(id+"\n"), 0o644); err != nil {
		return "", err
	}
	defer os.Remove(tmp)
	if gone(path) {
		err = durable.RenameNew(tmp, path)
	} else {
		err = os.Rename(tmp, path) // over a damaged one
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	if err := durable.SyncDir(filepath.Dir(path)); err != nil {
		return "", err
	}
	return r.id()
}

// homePath is the file in which a repository notes where it stands. Nothing
// depends on it but this: who copies a repository whose production is outside
// copies its claim to that, too.
func (r *Repo) homePath() string { return r.path(".publish", "home") }

// settleHome notes where the repository stands. The caller holds the production
// lock, and has asked for an original.
func (r *Repo) settleHome() error {
	dir, err := resolve(r.Dir)
	if err != nil {
		return err
	}
	if data, err := durable.ReadFile(r.homePath(), 4096); err == nil && string(data) == dir+"\n" {
		return nil
	}
	return durable.WriteFile(r.homePath(), []byte(dir+"\n"), 0o644)
}

// original refuses to go on in a copy of a repository that still stands where
// this one was made, and switches the same production. A repository that was
// moved has no original.
func (r *Repo) original() error {
	data, err := durable.ReadFile(r.homePath(), 4096)
	if err != nil {
		return nil // nothing tells
	}
	home := strings.TrimSuffix(string(data), "\n")
	if same, err := sameFile(home, r.Dir); err != nil || same || !filepath.IsAbs(home) {
		return nil
	}
	mine, err := r.id()
	theirs, err2 := readID(home)
	if err != nil || err2 != nil || mine == "" || mine != theirs {
		return nil
	}
	if c, err := LoadConfig(home, Choices{Sites: r.sites}); err == nil {
		a, err := resolve(filepath.Dir(c.production(home)))
		b, err2 := resolve(filepath.Dir(r.Production()))
		if err == nil && err2 == nil && filepath.Join(a, filepath.Base(c.production(home))) != filepath.Join(b, filepath.Base(r.Production())) {
			return nil
		}
	}
	return &Error{Path: r.Dir, Fact: "is a copy of " + home + ", which switches the same production", Err: errForeign,
		Hint: "copy production, too, and name that in publish.yaml; if the copy is to take over, move " + home + " away"}
}

// giveID makes an id for a repository at dir that has none and of which nobody
// knows yet.
func giveID(dir string) error {
	if path := idPath(dir); gone(path) {
		return durable.WriteFile(path, []byte(rand.Text()+"\n"), 0o644)
	}
	return nil
}
