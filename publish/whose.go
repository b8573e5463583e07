package publish

import (
	"errors"
	"io/fs"

	"example.com/publish/publish/generation"
	"example.com/publish/publish/journal"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

const (
	identityName = generation.IdentityName
	treeName     = generation.MarkName
)

// newStore returns where the generations of the repository are.
func (r *Repo) newStore() *generation.Store {
	return &generation.Store{Trees: r.path("generations"), Manifests: r.path(".publish", "manifests"), IDFile: idPath(r.Dir),
		Recorded: r.recorded, Erased: r.redactedOf,
		Remove: func(path string) error { return r.remove(path) }, At: r.at}
}

// recorded is what the history says of a generation. Damaged lines are passed
// over: whoever needs them reports them.
func (r *Repo) recorded(n int) (generation.Recorded, error) {
	data, err := durable.ReadFile(r.historyPath(), maxRecord)
	if errors.Is(err, fs.ErrNotExist) {
		return generation.Recorded{Lost: true}, nil
	}
	if err != nil {
		return generation.Recorded{}, err
	}
	e, known := journal.Parse(data).Made(n)
	return generation.Recorded{Known: known, Seal: e.Seal}, nil
}

// redactedOf returns which rows of a generation tombstones name.
func (r *Repo) redactedOf(n int) (func(tree.Row) bool, error) {
	graves, err := r.graveyard()
	if err != nil {
		return nil, err
	}
	return func(row tree.Row) bool { return graves.Redacted(n, row) }, nil
}

// identity reads which generation the tree at dir says that it is; 0 when it is
// none of publish's.
func identity(dir string) (int, error) { return generation.Identity(dir) }

// whose returns which generation of this repository the tree at dir is; 0 when
// it is none of publish's.
func (r *Repo) whose(dir string) (int, error) { return r.store.Whose(dir) }

// claimed reports whether a tree says that it is another repository's.
func (r *Repo) claimed(dir string) bool { return r.store.Claimed(dir) }
