package publish

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"example.com/publish/publish/journal"
	"example.com/publish/publish/site/bucket"
	"example.com/publish/publish/tombstone"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// What was revoked is one document in the store, which the pointer names: so all machines
// refuse it from the commit on. A switch away from content commits its tombstone in the same
// step.

// tombstones is Repo.readTombstones.
func (b *shared) tombstones(ctx context.Context, age time.Duration) (*tombstone.Graveyard, journal.Sealed, error) {
	p, err := b.pointer(ctx, age)
	if err != nil {
		return nil, journal.Sealed{}, err
	}
	data, err := b.graveText(ctx, p)
	if err != nil {
		return nil, journal.Sealed{}, err
	}
	g, file := tombstone.Parse(data)
	switch {
	case len(file.Bad) > 0:
		err = &Error{Path: b.r.Production(), Fact: fmt.Sprintf("line %d of the tombstones is damaged", file.Bad[0])}
	case file.Newer > 0:
		err = newer(b.r.Production())
	}
	return g, file, err
}

func (b *shared) graveText(ctx context.Context, p *bucket.Pointer) ([]byte, error) {
	if p.Graves == "" {
		return nil, nil
	}
	data, err := b.site.File(ctx, tree.Row{Path: "tombstones", SHA256: p.Graves})
	return data, b.explain(err)
}

// graves uploads the tombstones with one more, and returns their digest.
func (b *shared) graves(ctx context.Context, on *bucket.Pointer, more tombstone.Stone) (string, error) {
	data, err := b.graveText(ctx, on)
	if err != nil {
		return "", err
	}
	text, err := more.Marshal()
	if err != nil {
		return "", err
	}
	data = append(slices.Clone(data), durable.Line(text)...)
	row := tree.Row{Path: "tombstones", Size: int64(len(data)), SHA256: fmt.Sprintf("%x", sha256.Sum256(data))}
	return row.SHA256, b.upload(ctx, on, []bucket.Upload{bucket.FileUpload(row, data)})
}

// bury is Repo.bury.
func (b *shared) bury(ctx context.Context, stone tombstone.Stone) error {
	return b.again(ctx, func() error {
		p, err := b.pointer(ctx, time.Hour)
		if err != nil {
			return err
		}
		sum, err := b.graves(ctx, p, stone)
		if err != nil {
			return err
		}
		_, err = b.commit(ctx, p, bucket.Commit{Nonce: bucket.NewNonce(), Graves: sum})
		return err
	})
}

// eraseObjects deletes contents from the store: from all generations that are kept, in
// every version that the store has.
func (b *shared) eraseObjects(ctx context.Context, s *state, want sought, did *redaction) error {
	keys, contents := []string{}, map[string]bool{} // by path
	served := map[string]bool{}                     // what production names now stays
	if s.current != nil {
		for row := range s.current.All() {
			served[row.Path] = true
		}
	}
	for _, n := range b.kept(b.at) {
		m, err := b.r.store.Manifest(n)
		if err != nil {
			return err
		}
		var paths []string
		for row := range m.All() {
			if row.Role == catalog.Content && want.Sums[row.SHA256] && !want.done.Redacted(n, row) {
				paths = append(paths, row.Path)
				if !served[row.Path] && !contents[row.Path] {
					contents[row.Path] = true
					keys, did.Bytes = append(keys, b.keys(row)...), did.Bytes+row.Size
				}
			}
		}
		if len(paths) > 0 && n != b.at.Generation {
			did.note(place{generation: n, paths: paths})
		}
	}
	if _, err := b.finishBeside(ctx); err != nil { // tags that stood for it
		return err
	}
	if len(b.at.Left) > 0 {
		return &Error{Kind: Switched, Path: b.r.Production(), Fact: "names of revoked content beside the index are not " +
			"deleted yet: another gc is at work, or another machine has switched", Hint: "run publish recover"}
	}
	if err := b.eraseKeys(ctx, keys); err != nil {
		return err
	}
	did.Files += len(contents)
	return nil
}

// eraseKeys deletes objects with revoked content.
func (b *shared) eraseKeys(ctx context.Context, keys []string) error {
	stay, err := b.site.Erase(ctx, keys)
	if err != nil {
		return b.explain(err)
	}
	if now, err := b.site.Read(ctx); err == nil {
		b.move(now)
	}
	if len(stay) > 0 {
		return &Error{Kind: Switched, Path: stay[0].Key, Fact: "was revoked, and cannot be deleted from the object store",
			Err: stay[0].Err, Hint: "look at who may delete, and at locks of objects; then run publish recover"}
	}
	if len(keys) > 0 {
		b.r.opt.Warn("copies in a CDN must be purged there: what it has of the revoked content stays until then")
	}
	return nil
}

// takeOut is Repo.takeOut.
func (b *shared) takeOut(ctx context.Context, s *state, sums map[string]bool) (int, error) {
	own := tree.NewRows(s.current.Own)
	var keys []string
	n := 0
	for _, c := range s.current.Carried {
		if c.Role == catalog.Content && sums[c.SHA256] && own.Find(c.Path) < 0 {
			keys, n = append(keys, b.keys(c.Row)...), n+1
		}
	}
	return n, b.eraseKeys(ctx, keys)
}
