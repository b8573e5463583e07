package mirror

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"syscall"
	"time"

	"example.com/publish/publish/fault"
	"example.com/publish/stage"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/lock"
)

// watchCancel is how often a runner asks whether its job is to stop.
const watchCancel = 200 * time.Millisecond

// spread is over how long the jobs of a host come back that wanted a pause.
const spread = 2 * time.Second

// noRoom is how long a job waits when the disk is full.
const noRoom = 5 * time.Minute

// errCancelled ends the work on a job that somebody does not want any more.
var errCancelled = errors.New("cancelled")

// outcome is an end of a job that is no failure.
type outcome struct {
	state State
	why   string
}

func (e *outcome) Error() string { return e.why }

// work runs a claimed job to an end, or gives it back.
func (r *runner) work(ctx context.Context, c *Claimed) {
	r.tell(c.Job())
	inner, stop := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			timer := time.NewTimer(watchCancel)
			select {
			case <-inner.Done():
				timer.Stop()
				return
			case <-timer.C:
			}
			if c.Cancelled() {
				stop(errCancelled)
				return
			}
		}
	}()
	err := r.bring(inner, c)
	cause := context.Cause(inner)
	stop(nil)
	<-done
	if err != nil && errors.Is(cause, errCancelled) {
		err = errCancelled
	}
	if err := r.settle(ctx, c, err); err != nil {
		c.Abandon() // Recover finds it
		r.fail(fmt.Errorf("job %s: %w", c.Job().ID, err))
		return
	}
	r.count(c.Job())
	r.tell(c.Job())
}

// bring does the work: resolve once, copy by digest, stage.
func (r *runner) bring(ctx context.Context, c *Claimed) error {
	j := c.Job()
	remote, err := r.Upstream.Parse(j.Canonical)
	if err != nil {
		return err
	}
	if why := r.Config.Allowed(remote.Name); why != "" { // the configuration may have changed
		return &outcome{Denied, "may not come: " + why}
	}
	pin, err := r.pin(ctx, c, remote)
	if err != nil {
		return err
	}
	j = c.Job()
	if there, err := r.there(ctx, j); err != nil || there {
		return err
	}
	if err := c.Update(func(j *Job) { j.Phase = Copying }); err != nil {
		return err
	}
	// Tries, for content that another job takes into staging after this one has looked.
	for try := 1; ; try++ {
		err := r.copy(ctx, c, remote, pin, try == maxLooks)
		if try == maxLooks || !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
}

// maxLooks is how often a job fetches what others take away before it is staged.
const maxLooks = 3

// copy fetches an image into the directory of contents, and stages it. If it is alone, no
// other job stages anything meanwhile, so nobody takes content away.
func (r *runner) copy(ctx context.Context, c *Claimed, remote catalog.Remote, pin catalog.Pin, alone bool) error {
	j := c.Job()
	if alone {
		unlock, err := r.turn(ctx)
		if err != nil {
			return err
		}
		defer unlock()
	}
	staged := r.Repo.Stage.Holders() // it is read once, and again after others may have staged something
	store := NewContent(ContentOptions{Dir: dir(r.Repo, "content"), Free: int64(r.Config.Limits.Free),
		Progress: c.Progress, Elsewhere: func(d catalog.Digest) (string, bool) {
			path := staged(d)
			return path, path != ""
		}})
	defer store.Close()
	got, err := r.Upstream.Fetch(ctx, remote, pin, j.Platforms, store)
	if err != nil {
		return err
	}
	if err := c.Update(func(j *Job) {
		j.Phase, j.BytesTotal, j.BytesDone = Verifying, got.Bytes, got.Bytes
		j.MissingPlatforms = got.Missing
		if got.Moved != (catalog.Digest{}) {
			j.Drift = &Moved{From: j.Digest, To: got.Moved.String()}
		}
	}); err != nil {
		return err
	}
	staged = r.Repo.Stage.Holders()
	if err := store.Sync(ctx); err != nil {
		return err
	}
	if err := c.Update(func(j *Job) { j.Phase = Staging }); err != nil {
		return err
	}
	// One at a time: another job may take the same name, or the same content.
	if !alone {
		unlock, err := r.turn(ctx)
		if err != nil {
			return err
		}
		defer unlock()
	}
	staged = r.Repo.Stage.Holders()
	return r.stage(ctx, c, got, store)
}

// turn keeps all other jobs from staging.
func (r *runner) turn(ctx context.Context) (unlock func(), err error) {
	path := dir(r.Repo, "staging.lock")
	if err := lock.Create(path, lock.Private()); err != nil {
		return nil, err
	}
	return lock.Acquire(ctx, path, lock.Options{Verb: "mirror run", Now: r.Now(), Wait: -1})
}

// pin finds out which image the job is about, once: when it is tried again it stays that.
func (r *runner) pin(ctx context.Context, c *Claimed, remote catalog.Remote) (catalog.Pin, error) {
	if err := c.Update(func(j *Job) { j.Phase = Resolving }); err != nil {
		return catalog.Pin{}, err
	}
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
		return old.Digest == j.Digest && old.key() == j.key() && len(old.MissingPlatforms) == 0
	}), nil
}

// stage takes what was fetched into staging. The caller keeps other jobs from that.
func (r *runner) stage(ctx context.Context, c *Claimed, got *catalog.Fetched, store *Content) error {
	j := c.Job()
	if c.Cancelled() {
		return errCancelled
	}
	if err := r.newest(j); err != nil {
		return err
	}
	in := &stage.Fetched{Name: j.Canonical, Documents: got.Documents, Contents: map[string]stage.FetchedFile{}}
	for name, d := range got.Contents {
		path, ok := store.Path(d)
		if !ok {
			return &fs.PathError{Op: "open", Path: d.String(), Err: fs.ErrNotExist}
		}
		in.Contents[name] = stage.FetchedFile{Path: path, Move: store.Own(path)}
	}
	// Those that the image lacks are told of; staging would refuse them.
	picked := slices.DeleteFunc(slices.Clone(j.Platforms), func(p string) bool {
		return slices.Contains(got.Missing, p)
	})
	_, err := r.Repo.Add(ctx, stage.AddRequest{Fetched: in, Verb: "mirror run", Addition: catalog.Addition{
		Name: r.NameOf(j.Canonical), Requested: j.Reference, Source: j.Canonical, Platforms: picked}}, false)
	return err
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
	for _, other := range list {
		if other.ID != j.ID && other.Kind == j.Kind && other.Digest != j.Digest &&
			r.NameOf(other.Canonical) == r.NameOf(j.Canonical) && other.PinnedAt.After(j.PinnedAt) &&
			!other.PinnedAt.After(latest) {
			return &outcome{Superseded, "the job " + other.ID + " staged " + other.Digest + " first"}
		}
	}
	return nil
}

// settle ends a job, or gives it back, by what came of the work.
func (r *runner) settle(ctx context.Context, c *Claimed, err error) error {
	end, remote := new(outcome), new(catalog.RemoteError)
	switch {
	case err == nil:
		return c.Finish(Staged, func(j *Job) { j.Address = r.at(r.NameOf(j.Canonical)) })
	case errors.Is(err, errCancelled):
		return c.Finish(Cancelled, nil)
	case errors.As(err, &end):
		return c.Finish(end.state, func(j *Job) { j.Error = end.why })
	case ctx.Err() != nil:
		return c.Release("", time.Time{}, nil)
	case errors.As(err, &remote):
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		remote = &catalog.RemoteError{Class: catalog.NoSpace, Again: true, Err: err}
	default:
		remote = &catalog.RemoteError{Class: classOf(err), Err: err, Hint: hintOf(err)}
	}
	note := func(j *Job) { j.Class, j.Error, j.Hint = remote.Class, remote.Error(), remote.Hint }
	j, now := c.Job(), r.Now()
	switch {
	case !remote.Again && remote.Until.IsZero():
		return c.Finish(Failed, note)
	case remote.Class == catalog.NoSpace:
		return c.Release(Disk, now.Add(noRoom), note)
	case !remote.Until.IsZero() && remote.Until.Sub(now) > time.Duration(r.Config.Retry.MaxWait):
		return c.Finish(Failed, note)
	case !remote.Until.IsZero():
		// Jobs that waited for the same host do not come back at the same moment.
		return c.Release(RateLimit, remote.Until.Add(rand.N(spread)), note)
	case j.Attempts >= r.Config.Retry.Times:
		return c.Finish(Failed, note)
	}
	return c.Release(Retry, now.Add(r.pause(j.Attempts)), note)
}

// pause is how long to wait after an attempt that failed, by its number. A little chance
// keeps jobs that failed together from coming back together.
func (r *runner) pause(attempt int) time.Duration {
	most := time.Duration(r.Config.Retry.Most)
	d := time.Duration(r.Config.Retry.First)
	for range attempt - 1 {
		if d *= 2; d >= most {
			d = most
			break
		}
	}
	return d + rand.N(d/4+1)
}

// classOf says what kind of failure an error is that came of this side.
func classOf(err error) catalog.Failure {
	switch e := new(fault.Error); {
	case errors.Is(err, catalog.ErrDigest):
		return catalog.WrongDigest
	case errors.As(err, &e) && e.Kind == fault.Refused:
		return catalog.Conflict // revoked content
	case errors.As(err, new(*catalog.InputError)), errors.As(err, new(*catalog.DocumentError)),
		errors.As(err, new(*publishFindings)):
		return catalog.WrongType
	}
	return catalog.Internal
}

// publishFindings is what staging says of an image that is not valid.
type publishFindings = stage.FindingsError

// hintOf is the remedy that an error has.
func hintOf(err error) string {
	usage, input, e := new(catalog.UsageError), new(catalog.InputError), new(fault.Error)
	switch {
	case errors.As(err, &usage):
		return usage.Hint
	case errors.As(err, &input):
		return input.Hint
	case errors.As(err, &e):
		return e.Hint
	}
	return ""
}
