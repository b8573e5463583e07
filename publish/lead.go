package publish

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"path/filepath"
	"slices"

	"example.com/publish/publish/generation"
	"example.com/publish/publish/tombstone"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// Lead is what a leader offers its targets: production, and all that was revoked. It
// shows one moment, and may be used by several goroutines.
type Lead struct {
	ID      string // of the repository
	View    *generation.View
	Sealed  string // its manifest, as it is sealed
	Stones  []tombstone.Stone
	Revoked string // a digest of Stones; "" for none

	r *Repo
}

// Lead opens production for targets. It takes no lock, except for a moment in an old
// repository that has no id yet. Close it after use.
func (r *Repo) Lead(ctx context.Context) (*Lead, error) {
	l := &Lead{r: r}
	var err error
	if l.ID, err = r.leaderID(ctx); err != nil {
		return nil, err
	}
	if r.shared != nil { // other machines may have switched since this one looked
		if _, err := r.shared.pointer(ctx, 0); err != nil {
			return nil, err
		}
	}
	// The tombstones first. A stone is written after the switch away from its content: so
	// the view has none of what these stones are about.
	graves, err := r.graveyard()
	if err != nil {
		return nil, err
	}
	if l.View, err = r.view(ctx, "production"); err != nil {
		return nil, err
	}
	if l.Sealed, err = r.sealedText(l.View); err != nil {
		return nil, errors.Join(err, l.View.Close())
	}
	for _, s := range graves.Stones() {
		if !s.Done {
			l.Stones = append(l.Stones, s)
		}
	}
	// A revoke that was killed before it wrote the stone.
	if m := l.View.Manifest; len(m.Revoked)+len(m.Unnamed) > 0 {
		s := tombstone.Stone{Time: m.Time, Who: m.Who, Why: m.Message, Before: m.Generation, Revoked: m.Revoked,
			Unnamed: m.Unnamed}
		if graves.Lacks(s) {
			l.Stones = append(l.Stones, s)
		}
	}
	if l.Revoked, err = digestOf(l.Stones); err != nil {
		return nil, errors.Join(err, l.View.Close())
	}
	return l, nil
}

// leaderID returns the id of the repository, and makes it if there is none.
func (r *Repo) leaderID(ctx context.Context) (string, error) {
	if id, err := r.store.ID(); err != nil || id != "" {
		return id, err
	}
	unlock, err := r.lock(ctx, productionLock, "sync")
	if err != nil {
		return "", err
	}
	defer unlock()
	return r.ensureID()
}

// digestOf returns a digest of stones; "" for none. The time that a stone stands for is
// when it was written, so each revoke gives another one.
func digestOf(stones []tombstone.Stone) (string, error) {
	if len(stones) == 0 {
		return "", nil
	}
	sum := sha256.New()
	for _, s := range stones {
		text, err := s.Marshal()
		if err != nil {
			return "", err
		}
		sum.Write(append(text, '\n'))
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// Close releases what it has open.
func (l *Lead) Close() error { return l.View.Close() }

// Rows returns a row for each of these contents, in the order of their paths. ok is false
// if production does not have all of them: whoever asked for them is wrong.
func (l *Lead) Rows(contents []string) (rows []tree.Row, ok bool) {
	wanted := make(map[string]bool, len(contents))
	for _, key := range contents {
		wanted[key] = true
	}
	for _, row := range l.View.Own {
		if key := generation.ContentKey(row); wanted[key] {
			delete(wanted, key)
			rows = append(rows, row)
		}
	}
	return rows, len(wanted) == 0
}

// Write writes the contents of rows as a tar archive. progress may be nil.
func (l *Lead) Write(ctx context.Context, w io.Writer, rows []tree.Row, progress func(int64)) error {
	err := generation.WriteContents(ctx, w, l.View, rows, func(ctx context.Context, w io.Writer, row tree.Row) error {
		if server := catalog.ServingAt(l.r.format, row.Path); server != nil {
			return writeOwn(w, server, l.View, row)
		}
		return l.View.CopyOut(ctx, w, row, progress)
	})
	return l.explain(ctx, err)
}

// Setup is what the publish.yaml of a new target gets from its leader.
type Setup struct {
	Format        string   `json:"format"`
	Switch        string   `json:"switch"`
	Production    string   `json:"production"`
	GraceMS       int64    `json:"grace_ms"`
	Include       []string `json:"include,omitempty"`
	SparseIndexes bool     `json:"sparse_indexes,omitempty"`
	// Of a target in an object store, whose repository is on this machine: how the store is
	// reached, and whose target it is. Production is its address.
	S3     *S3Config `json:"-"`
	Leader *Leader   `json:"-"`
}

// Setup returns what a new target gets. A path outside the repository says nothing on
// another machine.
func (r *Repo) Setup() Setup {
	s := Setup{Format: r.Config.Format, Switch: r.Config.Switch, Production: r.Config.Production,
		GraceMS: r.grace().Milliseconds(), Include: slices.Clone(r.Config.Include), SparseIndexes: r.Config.SparseIndexes}
	if r.Config.InStore() || !filepath.IsLocal(s.Production) {
		s.Production = "production"
	}
	return s
}

// SetupInStore returns what the repository of a target in an object store gets, and the
// directory where it is on this machine. That has copies only: it may be deleted at any time.
func (r *Repo) SetupInStore(name string, leader string) (dir string, s Setup) {
	t := r.Config.Targets[name]
	s = r.Setup()
	s.Production, s.S3, s.Leader = t.To, t.s3(), &Leader{ID: leader, Target: name}
	return r.path(".publish", "stores", name), s
}
