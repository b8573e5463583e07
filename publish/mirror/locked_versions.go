package mirror

import (
	"context"
	"fmt"

	"example.com/publish/publish/mirror/pins"
	"example.com/publish/stage/catalog"
)

// Of a name that selects versions of products, each version is locked by itself: a new one
// may come, and one that is locked must have the bytes that it had.

// bringSelected is bring for a name that selects.
func (r *runner) bringSelected(ctx context.Context, c *Claimed, remote catalog.Remote) error {
	set, err := r.lockFile()
	if err != nil {
		return err
	}
	if err := r.admitted(set, c.Job(), remote); err != nil {
		return err
	}
	if err := c.Update(func(j *Job) { j.Phase = Resolving }); err != nil {
		return err
	}
	return r.copyAgain(ctx, c, remote, catalog.Pin{}, &held{}) // what it selects is told by its Fetch
}

// checkVersion compares a version that is to come with the lock file. The job notes what
// moved: it fails for that, unless it follows.
func (r *runner) checkVersion(c *Claimed, v catalog.FetchedVersion) error {
	set, err := r.lockFile()
	if err != nil {
		return err
	}
	j := c.Job()
	e, _ := set.Find(j.Canonical)
	was, ok := e.Has(v.Product, v.Version)
	now := lockedAs(v)
	name := catalog.Show(v.Product + "/" + v.Version)
	switch {
	case !ok && j.Locked:
		return &outcome{Denied, name + " is not in the lock file"}
	case !ok || !was.Moved(now):
		return nil
	}
	if err := c.Update(func(j *Job) { j.Drift = &Moved{From: was.Digest(), To: now.Digest()} }); err != nil || j.AcceptDrift {
		return err
	}
	drift := catalog.Failed(catalog.Drift, "", "%s: has other files now than the lock file says", name)
	drift.Hint = fmt.Sprintf("publish mirror update '%s' --accept-drift follows it", j.Canonical)
	return drift
}

func lockedAs(v catalog.FetchedVersion) pins.Version {
	return pins.Version{Product: v.Product, Version: v.Version, Files: v.Files}
}

// versionsOf are the versions that came of products, to be locked; nil for an image that
// has a digest.
func versionsOf(got *catalog.Fetched) (list []pins.Version) {
	for _, v := range got.Versions {
		list = append(list, lockedAs(v))
	}
	return list
}
