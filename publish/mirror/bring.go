package mirror

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"example.com/publish/publish/fault"
	"example.com/publish/stage/catalog"
)

// bring does the work: resolve once, copy by digest, stage.
func (r *runner) bring(ctx context.Context, c *Claimed) error {
	remote, err := r.Upstream.Parse(c.Job().Canonical)
	if err != nil {
		return err
	}
	if why := r.Config.Allowed(remote.Name); why != "" { // the configuration may have changed
		return &outcome{Denied, "may not come: " + why}
	}
	if r.selects() {
		return r.bringSelected(ctx, c, remote)
	}
	held, err := r.heldTo(ctx, c, remote) // what the lock file says
	if err != nil {
		return err
	}
	if held.digest != "" {
		remote.Pinned = held.pinned
		if there, err := r.staged(ctx, c); err != nil || there {
			return err
		}
	}
	pin, err := r.pin(ctx, c, remote)
	if err = r.orHere(ctx, c, &pin, held, err); err != nil {
		return err
	}
	if held.digest == "" {
		if err := r.followed(c, held); err != nil {
			return err
		}
		if there, err := r.staged(ctx, c); err != nil || there {
			return err
		}
	}
	c.Step(Copying)
	return held.lost(c.Job(), r.copyAgain(ctx, c, remote, pin, held))
}

// bringSelected is bring for a name that selects.
func (r *runner) bringSelected(ctx context.Context, c *Claimed, remote catalog.Remote) error {
	set, err := r.lockFile()
	if err != nil {
		return err
	}
	if err := r.admitted(set, c.Job(), remote); err != nil {
		return err
	}
	c.Step(Resolving)
	return r.copyAgain(ctx, c, remote, catalog.Pin{}, &held{}) // what it selects is told by its Fetch
}

// copyAgain is copy, again for content that another job takes into staging after this one
// has looked.
func (r *runner) copyAgain(ctx context.Context, c *Claimed, remote catalog.Remote, pin catalog.Pin, h *held) error {
	for try := 1; ; try++ {
		err := r.copy(ctx, c, remote, pin, h, try >= maxLooks)
		if h.borrowed.Load() && !h.distrust && !h.gone && damaged(err) {
			h.distrust = true
			continue
		}
		if try >= maxLooks || !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
}

// damaged reports whether an error may be of a content that a tree has, and that is not
// what its name says.
func damaged(err error) bool {
	return errors.Is(err, catalog.ErrDigest) || classIs(err, catalog.WrongDigest) || classIs(err, catalog.WrongType)
}

// maxLooks is how often a job fetches what others take away before it is staged.
const maxLooks = 3

// copy fetches an image into the directory of contents, and stages it. If it is alone, no
// other job stages anything meanwhile, so nobody takes content away.
func (r *runner) copy(ctx context.Context, c *Claimed, remote catalog.Remote, pin catalog.Pin, h *held,
	alone bool) error {
	j := c.Job()
	if alone {
		unlock, err := r.turn(ctx)
		if err != nil {
			return err
		}
		defer unlock()
	}
	here := r.inTrees(j)
	far, err := r.farOf(ctx, j)
	if err != nil {
		return err
	}
	h.borrowed.Store(false)
	staged := r.Repo.Stage.Holders() // it is read once, and again after others may have staged something
	store := NewContent(ContentOptions{Dir: dir(r.Repo, "content"), Free: int64(r.Config.Limits.Free),
		Largest: r.largest, Progress: c.Progress, Total: c.Total, Elsewhere: func(d catalog.Digest) (string, bool) {
			path := staged(d)
			if path != "" || h.distrust {
				return path, path != ""
			}
			path, ok := here(d)
			if ok {
				h.borrowed.Store(true)
			}
			return path, ok
		}, Far: far.open})
	defer store.Close()
	got, err := r.Upstream.Fetch(ctx, r.request(c, remote, pin), store)
	if err != nil {
		if none := new(catalog.DeniedError); errors.As(err, &none) {
			return &outcome{Denied, none.Why}
		}
		return err
	}
	c.Step(Verifying)
	c.Total(got.Bytes)
	c.Progress(got.Bytes)
	if err := c.found(got); err != nil {
		return err
	}
	staged = r.Repo.Stage.Holders()
	if err := store.Sync(ctx); err != nil {
		return err
	}
	c.Step(Staging)
	// One at a time: another job may take the same name, or the same content.
	if !alone {
		unlock, err := r.turn(ctx)
		if err != nil {
			return err
		}
		defer unlock()
	}
	staged = r.Repo.Stage.Holders()
	return r.stage(ctx, c, got, store, far, h.borrowed.Load())
}

// found notes what people are to know of what came.
func (c *Claimed) found(got *catalog.Fetched) error {
	j := c.Job()
	moved := got.Moved != (catalog.Digest{})
	if !moved && len(got.Missing)+len(got.LeftOut)+len(j.MissingPlatforms)+len(j.LeftOut) == 0 {
		return nil // nothing: to write it would take longer than a small image
	}
	return c.Update(func(j *Job) {
		j.MissingPlatforms, j.LeftOut = got.Missing, leftOut(got.LeftOut)
		if moved {
			j.Drift = &Moved{From: j.Digest, To: got.Moved.String()}
		}
	})
}

// pin finds out which image the job is about, once: when it is tried again it stays that.
func (r *runner) pin(ctx context.Context, c *Claimed, remote catalog.Remote) (catalog.Pin, error) {
	c.Step(Resolving)
	if text := c.Job().Digest; text != "" {
		d, err := catalog.ParseDigest(text)
		if err != nil {
			return catalog.Pin{}, fmt.Errorf("the digest %s %w", text, err)
		}
		remote.Pinned = d
	}
	pin, err := r.Upstream.Pin(ctx, remote)
	if err != nil {
		return pin, err
	}
	return pin, c.Update(func(j *Job) {
		if j.Digest == "" {
			j.PinnedAt = r.Now()
		}
		j.Digest, j.MediaType = pin.Digest.String(), pin.MediaType
	})
}

// there reports whether staging has what the job wants already: a former job brought it,
// and the name still stands for that digest.
func (r *runner) there(ctx context.Context, j Job) (bool, error) {
	found, err := r.Repo.Resolve(ctx, "staging", r.NameOf(j.Canonical), "")
	if e := new(fault.Error); errors.As(err, &e) {
		return false, nil
	}
	if err != nil || found.Digest != j.Digest || !covers(found, j) {
		return false, err
	}
	list, _, err := r.Queue.List(Staged, Published)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(list, func(old Job) bool {
		return old.Digest == j.Digest && old.image() == j.image() && len(old.MissingPlatforms) == 0
	}), nil
}
