package publish

import (
	"errors"

	"example.com/publish/publish/generation"
)

type (
	// Manifest is the sealed list of what a generation holds.
	Manifest = generation.Manifest
	// Head is a manifest's first part.
	Head = generation.Head
	// Carried is a path that the tree no longer has.
	Carried = generation.Carried
	// Revoked is one content that was revoked.
	Revoked = generation.Revoked
	// Named is a version that was revoked and had no content of its own.
	Named = generation.Named
)

func (r *Repo) manifestPath(n int) string { return r.store.ManifestPath(n) }

// manifest reads the manifest of generation n. Nobody changes what this returns.
func (r *Repo) manifest(n int) (*Manifest, error) {
	m, err := r.store.Manifest(n)
	if e := new(Error); errors.As(err, &e) && e.Kind == NotFound {
		return nil, &Error{Kind: NotFound, Fact: e.Fact, Hint: r.keptHint()}
	}
	return m, err
}
