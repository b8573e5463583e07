package mirror

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"example.com/publish/stage/lock"
)

// Claimed is a job that this process runs. It ends with Finish, Release or Abandon.
type Claimed struct {
	q      *Queue
	id     string
	unlock func() // gives back what shows that the job has a runner

	mu    sync.Mutex
	job   Job
	count *os.File // see Progress
	phase Phase    // in this attempt
	done  int64    // bytes, in this attempt
	total int64
	noted time.Time // when others could see that last
	over  bool
}

// errOver is returned for a claim that has ended.
var errOver = errors.New("this job is not claimed any more")

// Claim takes the job that is due, with the highest priority, and of those the oldest.
// ok, which may be nil, can refuse jobs, such as those of a host that waits; it must be
// quick, and must not use the queue. The result is nil if there is no such job.
func (q *Queue) Claim(ctx context.Context, ok func(Job) bool) (*Claimed, error) {
	return q.ClaimEarly(ctx, ok, nil)
}

// ClaimEarly is Claim for a runner for which some jobs are due that wait for others: those
// that early accepts. It may be nil; what ok must not do, it must not either.
func (q *Queue) ClaimEarly(ctx context.Context, ok, early func(Job) bool) (*Claimed, error) {
	due := func(j Job) bool { return j.due(q.time()) || j.State == Waiting && early != nil && early(j) }
	var c *Claimed
	err := q.change(ctx, func() error {
		pending, err := q.pending()
		if err != nil {
			return err
		}
		ready, err := q.due(pending, due)
		if err != nil {
			return err
		}
		for _, j := range ready {
			if ok != nil && !ok(j) {
				continue
			}
			if c, err = q.claim(ctx, j.ID, due); c != nil || err != nil {
				return err
			}
		}
		return nil
	})
	return c, err
}

// due returns the jobs that are due, the first one first. A wait that a clock which was
// set back would make longer begins anew.
func (q *Queue) due(pending map[string]cached, isDue func(Job) bool) ([]Job, error) {
	now := q.time()
	due := make([]Job, 0, len(pending))
	for _, c := range pending {
		j := c.Job
		if until, back := reanchor(j.Updated, j.Until, now); j.State == Waiting && back {
			j.Until = until
			f, ok, err := q.settle(j.ID)
			if err != nil {
				return nil, err
			}
			if !ok || f != pendingIn {
				continue
			}
			if err := q.move(pendingIn, &j, Event{Detail: fmt.Sprintf("the clock was set back; %s until %s", j.Reason,
				until.Format(time.RFC3339))}); err != nil {
				return nil, err
			}
		}
		if isDue(j) {
			due = append(due, j)
		}
	}
	slices.SortFunc(due, func(a, b Job) int {
		return cmp.Or(b.Priority-a.Priority, a.Created.Compare(b.Created), strings.Compare(a.ID, b.ID))
	})
	return due, nil
}

// claim takes a job, if it is still due and nobody has it. The caller holds the lock of
// the queue.
func (q *Queue) claim(ctx context.Context, id string, due func(Job) bool) (*Claimed, error) {
	f, ok, err := q.settle(id)
	if err != nil || !ok || f != pendingIn {
		return nil, err
	}
	j, err := q.read(pendingIn, id)
	if err != nil || !due(j) {
		return nil, nil // List reports a damaged file
	}
	unlock, err := lock.Temporary(ctx, q.lockOf(id), lock.Options{Now: q.time()})
	if held := (*lock.HeldError)(nil); errors.As(err, &held) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	j.State, j.Started = Running, q.time()
	j.Attempts++
	j.Class, j.Error, j.Hint = "", "", ""
	if err := q.move(pendingIn, &j, Event{}); err != nil {
		unlock()
		return nil, err
	}
	return &Claimed{q: q, id: id, unlock: unlock, job: j}, nil
}

// Job returns the job as it was last read or written.
func (c *Claimed) Job() Job {
	c.mu.Lock()
	defer c.mu.Unlock()
	j := c.job
	j.Phase, j.BytesDone, j.BytesTotal = c.phase, max(j.BytesDone, c.done), max(j.BytesTotal, c.total)
	return j
}

// Cancelled reports whether somebody wants the job to stop. It is cheap.
func (c *Claimed) Cancelled() bool {
	_, err := os.Lstat(c.q.markOf(c.id))
	return err == nil
}

// Update changes the job while it runs: what f does to the state, to who asked for it or
// to its priority is ignored. f sees what others added meanwhile.
func (c *Claimed) Update(f func(*Job)) error {
	return c.end(false, func(j *Job) (Event, bool) {
		before := *j
		f(j)
		j.State = Running
		switch {
		case j.Digest != before.Digest:
			return Event{Event: Pinned}, true
		case j.Drift != nil && (before.Drift == nil || *before.Drift != *j.Drift):
			return Event{Event: Drifted, Detail: j.Drift.From + " to " + j.Drift.To}, true
		}
		return Event{}, false
	})
}

// Finish ends the job in a state. f, which may be nil, changes more of it.
func (c *Claimed) Finish(state State, f func(*Job)) error {
	if !state.Ended() {
		return fmt.Errorf("a job does not end as %s", state)
	}
	return c.end(true, func(j *Job) (Event, bool) {
		if f != nil {
			f(j)
		}
		j.State, j.Finished = state, c.q.time()
		return Event{}, true
	})
}

// Release gives the job back: to pending if the reason is "", else to wait until a time.
// f, which may be nil, changes more of it. A job that somebody wants to stop is
// cancelled instead. What was no attempt is not counted as one: an orderly stop, and to
// wait for a window, for a host that wants a pause, or for room on the disk.
func (c *Claimed) Release(reason Reason, until time.Time, f func(*Job)) error {
	return c.end(true, func(j *Job) (Event, bool) {
		if f != nil {
			f(j)
		}
		if c.Cancelled() {
			j.State, j.Finished = Cancelled, c.q.time()
			return Event{}, true
		}
		j.State = Pending
		if reason != "" {
			j.State, j.Reason, j.Until = Waiting, reason, until.UTC()
		}
		if reason != Retry {
			j.Attempts = max(0, j.Attempts-1)
		}
		return Event{}, true
	})
}

// Abandon gives up the claim and writes nothing. Recover brings the job back to pending:
// that is no crash of the job. It is for a runner whose Finish and Release failed.
func (c *Claimed) Abandon() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.giveUp()
}

func (c *Claimed) giveUp() {
	if c.over {
		return
	}
	c.over = true
	if c.count != nil {
		_ = c.count.Close()
	}
	c.unlock()
}

// end changes the job under the lock of the queue, and gives the claim up if it is over
// and all went well. After an error it can be tried again. A signal does not interrupt it:
// it is what a runner does then.
func (c *Claimed) end(over bool, f func(*Job) (Event, bool)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return errOver
	}
	q := c.q
	err := q.change(context.Background(), func() error {
		j, at, err := q.load(c.id)
		if err == nil && at != runningIn && !over {
			err = fmt.Errorf("job %s: %s: %w", j.ID, at, fs.ErrNotExist)
		}
		if err != nil {
			return err
		}
		if at != runningIn {
			c.job = j
			return nil // a former try failed after the job was written
		}
		j.BytesDone, j.BytesTotal = max(j.BytesDone, c.done), max(j.BytesTotal, c.total)
		kept := j
		e, tell := f(&j)
		j.ID, j.Want, j.Requesters, j.Priority, j.Created, j.Crashes =
			kept.ID, kept.Want, kept.Requesters, kept.Priority, kept.Created, kept.Crashes
		if tell {
			err = q.move(runningIn, &j, e)
		} else {
			j.Updated = q.time()
			err = q.put(j)
		}
		if err == nil {
			c.job = j
		}
		return err
	})
	if err == nil && over {
		c.giveUp()
	}
	if err != nil {
		err = &queueError{err}
	}
	return err
}
