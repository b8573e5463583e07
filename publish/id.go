package publish

import (
	"context"
	"path/filepath"
	"strings"

	"example.com/publish/publish/generation"
	"example.com/publish/stage/durable"
)

// idPath is the file with the id that identifies a repository: 26 random letters and
// digits, and a newline. A move or a copy of the repository keeps it. A plan without
// an id fits no repository. A repository made before there were ids gets one at the
// first switch, or the first prune that is not a dry run.
func idPath(dir string) string { return filepath.Join(dir, ".publish", "id") }

// ensureID returns the id, and makes one if there is none. The caller holds the
// production lock or the staging lock.
func (r *Repo) ensureID() (string, error) {
	return r.store.EnsureID(func() string {
		if n, err := r.site.Live(context.Background()); err == nil && n != 0 {
			return r.site.Dir(n)
		}
		return ""
	})
}

// homePath is the file that records the path of the repository. It is used for one
// purpose: to detect a copy of a repository whose production is outside of it. The
// copy would claim the same production.
func (r *Repo) homePath() string { return r.path(".publish", "home") }

// settleHome records the path of the repository. The caller holds the production lock
// and has called original.
func (r *Repo) settleHome() error {
	dir, err := durable.Resolve(r.Dir)
	if err != nil {
		return err
	}
	if data, err := durable.ReadFile(r.homePath(), 4096); err == nil && string(data) == dir+"\n" {
		return nil
	}
	return durable.WriteFile(r.homePath(), []byte(dir+"\n"), 0o644)
}

// original returns an error in a copy of a repository, if the repository that it was
// copied from still exists and switches the same production. After a move no such
// repository exists.
func (r *Repo) original() error {
	data, err := durable.ReadFile(r.homePath(), 4096)
	if err != nil {
		return nil // no path is recorded
	}
	home := strings.TrimSuffix(string(data), "\n")
	if same, err := durable.SameFile(home, r.Dir); err != nil || same || !filepath.IsAbs(home) {
		return nil
	}
	mine, err := r.store.ID()
	theirs, err2 := generation.ReadID(idPath(home))
	if err != nil || err2 != nil || mine == "" || mine != theirs {
		return nil
	}
	if c, err := LoadConfig(home, Choices{Sites: r.sites}); err == nil {
		a, err := durable.Resolve(filepath.Dir(c.production(home)))
		b, err2 := durable.Resolve(filepath.Dir(r.Production()))
		if err == nil && err2 == nil && filepath.Join(a, filepath.Base(c.production(home))) != filepath.Join(b,
			filepath.Base(r.Production())) {
			return nil
		}
	}
	return &Error{Path: r.Dir, Fact: "is a copy of " + home + ", which switches the same production",
		Err: generation.ErrForeign,
		Hint: "copy production as well, and name the copy in publish.yaml; or, if this copy is to take over, move " +
			home + " away"}
}
