package publish

import (
	"errors"
	"io/fs"

	"example.com/publish/publish/generation"
	"example.com/publish/stage/tree"
)

// newStore returns the store with the generations of the repository.
func (r *Repo) newStore() *generation.Store {
	return &generation.Store{Trees: r.path("generations"), Manifests: r.path(".publish", "manifests"),
		IDFile: idPath(r.Dir), Format: r.format,
		Recorded: r.recorded, Erased: r.redactedOf,
		Remove: func(path string) error { return r.remove(path) }, At: r.at}
}

// recorded returns what the history says of a generation. It ignores damaged lines;
// callers that need them report them.
func (r *Repo) recorded(n int) (generation.Recorded, error) {
	h, err := r.journal().Read()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return generation.Recorded{Lost: true}, nil
	case err != nil:
		return generation.Recorded{}, err
	case len(h.Bad) > 0 || h.Stray != "": // also look into the closed files
		w, err := r.journal().Inspect(false)
		if err != nil {
			return generation.Recorded{}, err
		}
		e, known := r.journal().Made(w, n)
		return generation.Recorded{Known: known, Seal: e.Switch().Seal}, nil
	}
	e, known := h.Made(n)
	return generation.Recorded{Known: known, Seal: e.Seal}, nil
}

// redactedOf returns a function that reports whether tombstones redact a row of
// generation n.
func (r *Repo) redactedOf(n int) (func(tree.Row) bool, error) {
	graves, err := r.graveyard()
	if err != nil {
		return nil, err
	}
	return func(row tree.Row) bool { return graves.Redacted(n, row) }, nil
}

// manifest reads the manifest of generation n. Callers must not change it.
func (r *Repo) manifest(n int) (*generation.Manifest, error) {
	m, err := r.store.Manifest(n)
	return m, r.withKept(err)
}

// tree returns a kept generation.
func (r *Repo) tree(n int) (*generation.Tree, error) {
	t, err := r.store.Tree(n)
	return t, r.withKept(err)
}

// withKept adds a hint to the error for a generation that is not kept: the ones that
// are.
func (r *Repo) withKept(err error) error {
	if e := new(Error); errors.As(err, &e) && e.Kind == NotFound {
		return &Error{Kind: NotFound, Fact: e.Fact, Hint: r.keptHint()}
	}
	return err
}

type (
	// Revoked is one content that was revoked.
	Revoked = generation.Revoked
	// Named is a version that was revoked and had no content of its own.
	Named = generation.Named
)
