package mirror

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"example.com/publish/publish/fault"
	"example.com/publish/publish/mirror/pins"
	"example.com/publish/stage/catalog"
)

// A name that the lock file has gets the locked digest, whatever its server says now. The
// server is asked what the name stands for as well, once a job, so that a difference is
// known. A job that follows drift gets what the name stands for, and then the lock file is
// changed. A name that was written with a digest is a name of its own there: it cannot
// drift, and it does not change what the tag is locked to.
//
// What is staged is locked after Repo.Add and before the job ends. A kill between the two
// leaves a job that is begun again: it finds its image in staging, and locks it.

// lockFileError is a lock file that cannot be read or written. It is the fault of no job,
// and of nobody who asks, and no job can be staged while it lasts.
type lockFileError struct {
	error
	unreadable bool // people may be at it, or git; else it could not be written
}

func (e *lockFileError) Unwrap() error { return e.error }

func isLockFileError(err error) bool { return errors.As(err, new(*lockFileError)) }

// errRelocked gives a job back whose name was locked to another digest since the job was
// pinned: by another job, or by somebody who edited the file.
var errRelocked = errors.New("the lock file has another digest by now")

// held is what the lock file says about a job.
type held struct {
	locked string // the digest; "" if the file does not have the name
	digest string // that the job must have, also when its server says something else; "": any
	pinned catalog.Digest
	gone   bool // the server does not have it any more, but this side does

	borrowed atomic.Bool // a content comes from a tree, and nobody has looked at all its bytes
	distrust bool        // such a content was not what it should be: all others are fetched
}

// lockFile reads the lock file.
func (m *Mirror) lockFile() (*pins.Set, error) {
	set, err := m.Pins.Load()
	if err != nil {
		return nil, &lockFileError{err, true}
	}
	return set, nil
}

// unlocked reports whether jobs may be begun: not while the lock file cannot be read. A run
// with Once ends then, when it has a job. Another one waits until the file is mended.
func (r *runner) unlocked() bool {
	if r.opt.Once {
		return true
	}
	_, err := r.lockFile()
	r.told.warn(r.Mirror, "no job is begun", err)
	return err == nil
}

// baseOf is the canonical name of an image without a digest that was written with it.
func baseOf(r catalog.Remote) string {
	if r.Pinned == (catalog.Digest{}) {
		return r.Canonical
	}
	return strings.TrimSuffix(r.Canonical, "@"+r.Pinned.String())
}

// inLock returns the entry that decides about an image: that of its name, or that of its
// tag if it was written with the same digest.
func inLock(set *pins.Set, r catalog.Remote) (pins.Entry, bool) {
	if e, ok := set.Find(r.Canonical); ok {
		return e, true
	}
	e, ok := set.Find(baseOf(r))
	return e, ok && e.Digest != "" && e.Digest == r.Pinned.String()
}

// placeOf is where the image of an entry lies in the tree: its tag, which another name must
// not have. "" for an image without one, and where names do not tell that.
func (m *Mirror) placeOf(e pins.Entry) string {
	base, byDigest := e.Base()
	if byDigest {
		if r, err := m.Upstream.Parse(base); err != nil || r.Canonical != base {
			return "" // it has no tag
		}
	}
	return m.tagPlace(base)
}

func (m *Mirror) tagPlace(base string) string {
	if _, ok := catalog.As[catalog.Speller](m.Repo.Stage.Format); !ok {
		return ""
	}
	return m.NameOf(base)
}

// taken returns the name that the lock file has at the place of an image, if that is
// another one.
func (m *Mirror) taken(set *pins.Set, r catalog.Remote) (place, other string) {
	e := pins.Entry{Canonical: r.Canonical}
	if r.Pinned != (catalog.Digest{}) {
		e.Digest = r.Pinned.String()
	}
	place = m.placeOf(e)
	if other = set.At(place); place == "" || other == baseOf(r) {
		return place, ""
	}
	return place, other
}

// mayBeAsked returns an error for an image that the lock file keeps from coming. places are
// those of what is asked for together with it, by place; it is added.
func (m *Mirror) mayBeAsked(set *pins.Set, r catalog.Remote, locked bool, places map[string]string) error {
	if _, ok := inLock(set, r); locked && !ok {
		return &fault.Error{Kind: fault.Refused, Path: r.Canonical, Fact: "is not in the lock file",
			Hint: "without --locked it may come, and is locked then; nothing was added"}
	}
	place, other := m.taken(set, r)
	if beside := places[place]; other == "" && beside != baseOf(r) {
		other = beside
	}
	if other == "" {
		if place != "" {
			places[place] = baseOf(r)
		}
		return nil
	}
	return &fault.Error{Kind: fault.Usage, Path: r.Canonical, Fact: takenFact(place, other),
		Hint: takenHint + "; nothing was added"}
}

func takenFact(place, other string) string {
	return fmt.Sprintf("would be %s in the tree, which is %s", place, other)
}

const takenHint = "the key map under mirror in publish.yaml has to give each name a place of its own"

// ownPlace returns an error of kind NotFound if the image that has the place of a name in
// the tree is that of another name.
func (m *Mirror) ownPlace(r catalog.Remote) error {
	set, err := m.Pins.Load()
	if err != nil {
		return err
	}
	place, other := m.taken(set, r)
	if other == "" {
		return nil
	}
	return &fault.Error{Kind: fault.NotFound, Path: r.Canonical,
		Fact: fmt.Sprintf("is not published: %s in the tree is %s", place, other), Hint: takenHint}
}

// heldTo finds out what the lock file says about a job, and pins the job to that. The
// server is only asked whether the name has moved.
func (r *runner) heldTo(ctx context.Context, c *Claimed, remote catalog.Remote) (*held, error) {
	set, err := r.lockFile()
	if err != nil {
		return nil, err
	}
	j := c.Job()
	if err := r.admitted(set, j, remote); err != nil {
		return nil, err
	}
	h := &held{pinned: remote.Pinned}
	if e, ok := inLock(set, remote); ok {
		h.locked = e.Digest
	}
	switch {
	case remote.Pinned != (catalog.Digest{}):
		h.digest = remote.Pinned.String()
	case h.locked == "" || j.AcceptDrift:
		return h, nil
	default:
		h.digest = h.locked
		if h.pinned, err = catalog.ParseDigest(h.locked); err != nil {
			return nil, err
		}
		if err := r.drift(ctx, c, remote, h); err != nil {
			return nil, err
		}
	}
	if j.Digest == h.digest {
		return h, nil
	}
	return h, c.Update(func(j *Job) {
		// A job that the lock file pins does not say what its name stands for now: it must
		// not supersede one that does.
		j.Digest, j.MediaType, j.PinnedAt = h.digest, "", time.Time{}
		if remote.Pinned != (catalog.Digest{}) {
			j.PinnedAt = r.Now()
		}
	})
}

// drift notes what the name of a job stands for, if that is not what it is locked to.
func (r *runner) drift(ctx context.Context, c *Claimed, remote catalog.Remote, h *held) error {
	j := c.Job()
	if j.Digest == h.locked {
		return nil // it was asked for before, and noted
	}
	if j.Digest != "" {
		if err := r.newest(j); err != nil {
			return err
		}
	}
	now := j.Digest
	if j.PinnedAt.IsZero() { // else it was asked for before
		c.Step(Resolving)
		d, err := r.standsFor(ctx, remote, h.pinned)
		if classIs(err, catalog.NotFound) {
			return nil // the tag is gone; the digest may be there
		}
		if err != nil {
			return err
		}
		now = d.String()
	}
	if now == h.locked && j.Drift == nil {
		return nil
	}
	return c.Update(func(j *Job) {
		if j.Drift = nil; now != h.locked {
			j.Drift = &Moved{From: h.locked, To: now}
		}
	})
}

// standsFor asks what a name stands for now. was is what it stood for.
func (m *Mirror) standsFor(ctx context.Context, r catalog.Remote, was catalog.Digest) (catalog.Digest, error) {
	if l, ok := m.Upstream.(catalog.Looker); ok {
		return l.Look(ctx, r, was)
	}
	pin, err := m.Upstream.Pin(ctx, r)
	return pin.Digest, err
}

func classIs(err error, class catalog.Failure) bool {
	remote := new(catalog.RemoteError)
	return errors.As(err, &remote) && remote.Class == class
}

// admitted returns an error for a job that the lock file does not let come.
func (r *runner) admitted(set *pins.Set, j Job, remote catalog.Remote) error {
	if _, ok := inLock(set, remote); j.Locked && !ok {
		return &outcome{Denied, "is not in the lock file"}
	}
	if place, other := r.taken(set, remote); other != "" {
		return conflict(remote, place, other)
	}
	return nil
}

func conflict(r catalog.Remote, place, other string) error {
	err := catalog.Failed(catalog.Conflict, r.Host, "%s: %s", r.Canonical, takenFact(place, other))
	err.Hint = takenHint
	return err
}

// followed notes that a job which follows drift has another digest than the lock file.
func (r *runner) followed(c *Claimed, h *held) error {
	j := c.Job()
	if !j.AcceptDrift || h.locked == "" || h.digest != "" || j.Digest == h.locked || j.Drift != nil {
		return nil
	}
	return c.Update(func(j *Job) { j.Drift = &Moved{From: h.locked, To: j.Digest} })
}

// staged reports whether the job has nothing to do: staging has its image. It refuses what
// could not be promoted.
func (r *runner) staged(ctx context.Context, c *Claimed) (bool, error) {
	j := c.Job()
	if tag := r.placeOf(pins.Entry{Canonical: j.Canonical, Digest: j.Digest}); tag != "" {
		if err := r.Repo.MayStandFor(ctx, tag, j.Digest); err != nil {
			return false, err
		}
	}
	there, err := r.there(ctx, j)
	if err != nil || !there {
		return false, err
	}
	set, err := r.lockFile()
	if err != nil {
		return false, err
	}
	if e, ok := set.Find(j.Canonical); ok && e.Digest == j.Digest && coversAll(e.Platforms, j.Platforms) {
		return true, nil
	}
	// Its lock is missing. Nothing else must be staged under the name meanwhile.
	unlock, err := r.turn(ctx)
	if err != nil {
		return false, err
	}
	defer unlock()
	if there, err = r.there(ctx, j); err != nil || !there {
		return false, err
	}
	if err := r.lockedStill(j); err != nil {
		return false, err
	}
	return true, r.lock(ctx, j, nil)
}

// coversAll reports whether platforms, none for all, have all that are wanted.
func coversAll(platforms, wanted []string) bool {
	return len(platforms) == 0 || len(wanted) > 0 && !slices.ContainsFunc(wanted, func(p string) bool {
		return !slices.Contains(platforms, p)
	})
}

// lockedStill returns an error if the job must not be staged any more: the lock file may
// have changed since the job was pinned. The caller keeps other jobs from staging.
func (r *runner) lockedStill(j Job) error {
	set, err := r.lockFile()
	if err != nil {
		return err
	}
	remote, err := r.Upstream.Parse(j.Canonical)
	if err != nil {
		return err
	}
	if err := r.admitted(set, j, remote); err != nil {
		return err
	}
	e, ok := set.Find(j.Canonical)
	if ok && e.Digest == j.Digest {
		return nil // the lock file decides, whatever was staged last
	}
	if err := r.newest(j); err != nil {
		return err
	}
	if ok && e.Digest != "" && !j.AcceptDrift {
		return errRelocked
	}
	return nil
}

// lock notes in the lock file what a job has staged. versions are those that came of an
// image that has some. A signal does not interrupt it.
func (r *runner) lock(ctx context.Context, j Job, versions []pins.Version) error {
	e := pins.Entry{Canonical: j.Canonical, Requested: j.Reference, Digest: j.Digest}
	for _, p := range j.Platforms {
		if !slices.Contains(j.MissingPlatforms, p) {
			e.Platforms = append(e.Platforms, p)
		}
	}
	if len(versions) > 0 {
		e.Digest, e.Platforms, e.Newest, e.Filters = "", nil, j.Versions, j.Filters
		e.Products = map[string]pins.Versions{}
	}
	for _, v := range versions {
		if e.Products[v.Product] == nil {
			e.Products[v.Product] = pins.Versions{}
		}
		e.Products[v.Product][v.Version] = v.Files
	}
	err := r.Pins.Put(context.WithoutCancel(ctx), e, j.AcceptDrift)
	place := new(pins.PlaceError)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, pins.ErrDrift):
		return errRelocked
	case errors.As(err, &place):
		return &catalog.RemoteError{Class: catalog.Conflict, Err: err, Hint: takenHint}
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return err // the job waits for room
	}
	return &lockFileError{err, false}
}

// versionsOf are the versions that came of products, to be locked; nil for an image that
// has a digest.
func versionsOf(got *catalog.Fetched) (out []pins.Version) {
	for _, v := range got.Versions {
		out = append(out, pins.Version(v))
	}
	return out
}

// lockCheck returns the function that refuses versions which the lock file keeps from
// coming: those with other bytes than locked ones, unless the job follows drift, and for a
// job of what is locked all others. Those that it cannot have are refused before anything
// is staged: else the file could not be written then, which ends the run.
func (r *runner) lockCheck(c *Claimed) func(catalog.FetchedVersion) error {
	return func(v catalog.FetchedVersion) error {
		if fact := pins.Version(v).Problem(); fact != "" {
			return &catalog.RemoteError{Class: catalog.WrongCatalog,
				Err: fmt.Errorf("%s: the lock file cannot have a version: %s", c.Job().Canonical, fact)}
		}
		set, err := r.lockFile()
		if err != nil {
			return err
		}
		j, now := c.Job(), pins.Version(v)
		e, _ := set.Find(j.Canonical)
		was, ok := e.Has(v.Product, v.Version)
		name := v.Product + "/" + v.Version
		switch {
		case !ok && j.Locked:
			return &outcome{Denied, name + " is not in the lock file"}
		case !ok || !was.Moved(now):
			return nil
		}
		if j.Drift == nil || !j.AcceptDrift { // of several, a job that goes on notes the first one
			err := c.Update(func(j *Job) { j.Drift = &Moved{From: was.Digest(), To: now.Digest()} })
			if err != nil {
				return err
			}
		}
		if j.AcceptDrift {
			return nil
		}
		return &catalog.RemoteError{Class: catalog.Drift,
			Err:  fmt.Errorf("%s: %s has other bytes than the lock file", j.Canonical, name),
			Hint: followHint(j)}
	}
}

func followHint(j Job) string {
	return "publish mirror update " + j.Canonical + " --accept-drift follows what the name stands for now"
}
