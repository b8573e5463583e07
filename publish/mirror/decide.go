package mirror

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"example.com/publish/publish/fault"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/lock"
)

// Cancel ends a job that waits, at once. Of one that runs it only marks that somebody
// wants it to stop: its runner sees that, see Claimed.Cancelled. A failed one is not
// wanted any more. The job is returned as it is then. prefix names it, as for Get; a job
// that has ended otherwise is refused.
func (q *Queue) Cancel(ctx context.Context, prefix string, by Requester) (Job, error) {
	return q.decide(ctx, prefix, func(j *Job, at folder) error {
		switch at {
		case runningIn:
			if _, state := lock.Look(q.lockOf(j.ID)); state != lock.Free {
				return q.mark(*j, by)
			}
			fallthrough // nobody runs it: its runner died
		case pendingIn, failedIn:
			j.State, j.Finished = Cancelled, q.time()
			return q.move(at, j, Event{}.by(by))
		}
		return &fault.Error{Kind: fault.Refused, Path: j.ID, Fact: "too late: the job is " + string(j.State)}
	})
}

// mark notes durably that a running job is to stop.
func (q *Queue) mark(j Job, by Requester) error {
	e := Event{Event: AskedToStop}.by(by).of(j)
	e.Time = q.time()
	if err := q.record(e); err != nil {
		return err
	}
	if err := q.at("write mark"); err != nil {
		return err
	}
	if err := durable.WriteFile(q.markOf(j.ID), []byte(by.bounded().Who+"\n"), 0o644); err != nil {
		return err
	}
	return q.at("wrote mark")
}

// Retry brings a failed job back to pending, with all its attempts, and makes one that
// waits due at once. Others are refused, and a failed one if the same is asked for by
// another job that has not ended.
func (q *Queue) Retry(ctx context.Context, prefix string, by Requester) (Job, error) {
	return q.decide(ctx, prefix, func(j *Job, at folder) error {
		switch j.State {
		case Pending:
			return nil
		case Waiting:
		case Failed:
			there, err := q.unfinished()
			if err != nil {
				return err
			}
			if other, ok := there[j.key()]; ok {
				return &fault.Error{Kind: fault.Refused, Path: j.ID, Fact: "the job " + other.ID + " wants the same"}
			}
			j.Attempts, j.Crashes, j.Class, j.Error, j.Hint = 0, 0, "", "", ""
		default:
			return &fault.Error{Kind: fault.Refused, Path: j.ID, Fact: "the job is " + string(j.State) + ", not failed",
				Hint: "publish mirror add asks for it again"}
		}
		j.State = Pending
		return q.move(at, j, Event{Event: Retried}.by(by))
	})
}

// Amend changes a job that has ended, such as a staged one that is published now. f may
// return an error to leave it as it is; the state must be one that is an end.
func (q *Queue) Amend(ctx context.Context, id string, f func(*Job) error) (Job, error) {
	return q.decide(ctx, id, func(j *Job, at folder) error {
		if at < failedIn {
			return fmt.Errorf("job %s has not ended: it is %s", j.ID, j.State)
		}
		before := *j
		if err := f(j); err != nil {
			return err
		}
		j.ID, j.Want, j.Created = before.ID, before.Want, before.Created
		if !j.State.Ended() {
			return fmt.Errorf("job %s has ended and cannot be %s", j.ID, j.State)
		}
		e := Event{}
		if j.State == before.State {
			e.Event = Amended
		}
		return q.move(at, j, e)
	})
}

// decide calls f for a job under the lock of the queue.
func (q *Queue) decide(ctx context.Context, prefix string, f func(*Job, folder) error) (Job, error) {
	id, err := q.resolve(prefix)
	if err != nil {
		return Job{}, err
	}
	var j Job
	err = q.change(ctx, func() error {
		var at folder
		if j, at, err = q.load(id); err != nil {
			return err
		}
		return f(&j, at)
	})
	return j, err
}

// Kept is how long jobs that have ended stay.
const (
	KeptDone   = 30 * 24 * time.Hour
	KeptFailed = 90 * 24 * time.Hour
)

// Sweep removes jobs that ended long ago, and returns how many. Their history stays.
func (q *Queue) Sweep(ctx context.Context) (int, error) {
	jobs, _, err := q.List(Failed, Staged, Published, Cancelled, Superseded, Denied)
	jobs = slices.DeleteFunc(jobs, func(j Job) bool { return !q.old(j) })
	if err != nil || len(jobs) == 0 {
		return 0, err
	}
	n := 0
	err = q.change(ctx, func() error {
		for _, j := range jobs {
			j, at, err := q.load(j.ID)
			if err != nil || !q.old(j) {
				continue // it was retried, or swept by another process
			}
			if err := os.Remove(q.file(at, j.ID)); err != nil {
				return err
			}
			n++
		}
		return errors.Join(durable.SyncDir(q.path(failedIn.String())), durable.SyncDir(q.path(doneIn.String())))
	})
	return n, err
}

// old reports whether a job ended long ago.
func (q *Queue) old(j Job) bool {
	kept := KeptDone
	if j.State == Failed {
		kept = KeptFailed
	}
	end := j.Finished
	if end.IsZero() {
		end = j.Updated
	}
	return j.State.Ended() && q.time().Sub(end) > kept
}
