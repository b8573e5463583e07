package mirror

import (
	"context"
	"errors"
	"math/rand/v2"
	"syscall"
	"time"

	"example.com/publish/publish/fault"
	"example.com/publish/stage"
	"example.com/publish/stage/catalog"
)

// spread is over how long the jobs of a host come back that wanted a pause.
const spread = 2 * time.Second

// noRoom is how long a job waits when the disk is full.
const noRoom = 5 * time.Minute

// settle ends a job, or gives it back, by what came of the work.
func (r *runner) settle(ctx context.Context, c *Claimed, err error) error {
	end, remote, ofQueue := new(outcome), new(catalog.RemoteError), new(queueError)
	trouble, shut := new(lockFileError), new(shutError)
	switch {
	case err == nil:
		return c.Finish(Staged, func(j *Job) { j.Address = r.addressOf(*j) })
	case errors.Is(err, errCancelled):
		return c.Finish(Cancelled, nil)
	case errors.As(err, &end):
		return c.Finish(end.state, func(j *Job) { j.Error = end.why })
	case errors.As(err, &trouble):
		if r.opt.Once || !trouble.unreadable {
			r.fail(trouble.error) // no job can be staged
		}
		return c.Release("", time.Time{}, nil)
	case ctx.Err() != nil, errors.Is(err, errRelocked):
		return c.Release("", time.Time{}, nil)
	case errors.As(err, &shut):
		return c.Release(Window, shut.until, func(j *Job) { j.Error = shut.Error() })
	case errors.As(err, &remote):
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), errors.As(err, &ofQueue) && passes(err):
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
