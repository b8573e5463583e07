package mirror

import (
	"context"
	"io/fs"
	"slices"

	"example.com/publish/stage"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/lock"
)

// turn keeps all other jobs from staging.
func (r *runner) turn(ctx context.Context) (unlock func(), err error) {
	path := dir(r.Repo, "staging.lock")
	if err := lock.Create(path, lock.Private()); err != nil {
		return nil, err
	}
	return lock.Acquire(ctx, path, lock.Options{Verb: "mirror run", Now: r.Now(), Wait: -1})
}

// stage takes what was fetched into staging. The caller keeps other jobs from that. unproven
// says that nobody has looked at all bytes.
func (r *runner) stage(ctx context.Context, c *Claimed, got *catalog.Fetched, store *Content, far *far,
	unproven bool) error {
	j := c.Job()
	if c.Cancelled() {
		return errCancelled
	}
	if err := r.lockedStill(j); err != nil {
		return err
	}
	in := &stage.Fetched{Name: j.Canonical, Documents: got.Documents, Contents: map[string]stage.FetchedFile{}}
	for name, d := range got.Contents {
		path, ok := store.Path(d)
		if file, there := far.file(name, d); !ok && there {
			in.Contents[name] = file
			continue
		}
		if !ok {
			return &fs.PathError{Op: "open", Path: d.String(), Err: fs.ErrNotExist}
		}
		file := stage.FetchedFile{Path: path, Move: store.Own(path)}
		// It was hashed when it came, or staging was when it looked at the file.
		if d.Algorithm == catalog.SHA256 && !unproven {
			file.SHA256 = d.Hex
		}
		in.Contents[name] = file
	}
	if got.Tree {
		if err := r.unite(ctx, in); err != nil {
			return err
		}
		return r.lock(ctx, j, versionsOf(got))
	}
	// Those that the image lacks are told of; staging would refuse them.
	picked := slices.DeleteFunc(slices.Clone(j.Platforms), func(p string) bool {
		return slices.Contains(got.Missing, p)
	})
	_, err := r.Repo.Add(ctx, stage.AddRequest{Fetched: in, Verb: "mirror run", Addition: catalog.Addition{
		Name: r.NameOf(j.Canonical), Requested: j.Reference, Source: j.Canonical, Platforms: picked}}, false)
	if err != nil {
		return err
	}
	return r.lock(ctx, j, nil)
}

// newest returns an error if a job was staged that was pinned to another digest of the
// name after this one. One that was pinned later than now was so before the clock was set
// back.
func (r *runner) newest(j Job) error {
	list, _, err := r.Queue.List(Staged, Published)
	if err != nil {
		return err
	}
	latest := r.Now().Add(clockSlack)
	name := r.NameOf(j.Canonical)
	same := func(other Job) bool { return r.NameOf(other.Canonical) == name }
	if r.selects() {
		same = func(other Job) bool { return sameSelection(other.Want, j.Want) }
	}
	for _, other := range list {
		if other.ID != j.ID && other.Kind == j.Kind && other.Digest != j.Digest &&
			other.PinnedAt.After(j.PinnedAt) && !other.PinnedAt.After(latest) && same(other) { // few come so far
			return &outcome{Superseded, "the job " + other.ID + " staged " + other.Digest + " first"}
		}
	}
	return nil
}
