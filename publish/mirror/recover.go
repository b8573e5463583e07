package mirror

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/lock"
)

// maxCrashes is how many runners of a job may die before it is the job's fault.
const maxCrashes = 3

// Recover undoes what kills left, and returns the jobs whose runners died or gave up, as
// they are now: pending; cancelled, if somebody wanted them to stop; failed after three
// crashes.
// It is quick when there is nothing to do. A runner calls it when it begins, and again
// from time to time, for what other runners leave.
func (q *Queue) Recover(ctx context.Context) ([]Job, error) {
	if _, err := os.Lstat(q.dir); err != nil {
		return nil, ignoreMissing(err)
	}
	var back []Job
	err := q.change(ctx, func() error {
		if err := q.sweepTemporary(); err != nil {
			return err
		}
		if err := q.settleAll(); err != nil {
			return err
		}
		ids, err := q.names(runningIn, nil)
		if err != nil {
			return err
		}
		for _, id := range ids {
			j, ok, err := q.resume(ctx, id)
			if err != nil {
				return err
			}
			if ok {
				back = append(back, j)
			}
		}
		return q.sweepMarks(ctx)
	})
	return back, err
}

// settleAll removes the files of jobs that lie in several folders, except the one that
// counts.
func (q *Queue) settleAll() error {
	seen := map[string]bool{}
	for _, f := range folders {
		ids, err := q.names(f, nil)
		if err != nil {
			return err
		}
		for _, id := range ids {
			if seen[id] {
				if _, _, err := q.settle(id); err != nil {
					return err
				}
			}
			seen[id] = true
		}
	}
	return nil
}

// resume brings a job back whose runner died; ok is false if it runs, or if its file
// cannot be read.
func (q *Queue) resume(ctx context.Context, id string) (j Job, ok bool, err error) {
	// A runner that gives up removes the file of its lock; one that dies leaves it.
	_, died := os.Lstat(q.lockOf(id))
	unlock, ok, err := q.orphaned(ctx, id)
	if err != nil || !ok {
		return Job{}, false, err
	}
	defer func() {
		unlock()
		if err != nil && died == nil { // the next one must see that it died
			if f, err := durable.Create(q.lockOf(id)); err == nil {
				_ = f.Close()
			}
		}
	}()
	if j, err = q.read(runningIn, id); err != nil {
		return Job{}, false, nil // List reports it
	}
	e := Event{Event: Resumed, Detail: "its runner gave up"}
	if died == nil {
		j.Crashes++
		e.Detail = fmt.Sprintf("its runner died (%d of %d)", j.Crashes, maxCrashes)
	}
	_, marked := os.Lstat(q.markOf(id))
	switch {
	case marked == nil:
		j.State, j.Finished, e = Cancelled, q.time(), Event{}
	case j.Crashes >= maxCrashes:
		j.State, j.Finished, e = Failed, q.time(), Event{}
		j.Class, j.Error = catalog.Crashed, fmt.Sprintf("its runner died %d times", j.Crashes)
	default:
		j.State = Pending
	}
	err = q.move(runningIn, &j, e)
	return j, true, err
}

// orphaned takes the lock of a job that nobody runs.
func (q *Queue) orphaned(ctx context.Context, id string) (unlock func(), ok bool, err error) {
	if q.Held(id) {
		return nil, false, nil
	}
	unlock, err = lock.Temporary(ctx, q.lockOf(id), lock.Options{Now: q.time()})
	if held := (*lock.HeldError)(nil); errors.As(err, &held) {
		return nil, false, nil
	}
	return unlock, err == nil, err
}

// sweepTemporary removes files that a killed write left. All writers hold the lock of the
// queue.
func (q *Queue) sweepTemporary() error {
	for _, f := range folders {
		err := q.each(f, func(name string) error {
			if rest, ok := strings.CutPrefix(name, "."); ok && len(rest) > idLength && isID(rest[:idLength]) {
				return ignoreMissing(os.Remove(q.path(f.String(), name)))
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// sweepMarks removes what running jobs have beside them, of jobs that do not run.
func (q *Queue) sweepMarks(ctx context.Context) error {
	return q.each(runningIn, func(name string) error {
		id, suffix, _ := strings.Cut(name, ".")
		if !ours(runningIn, name) || !isID(id) || suffix == "json" {
			return nil
		}
		if _, err := os.Lstat(q.file(runningIn, id)); err == nil {
			return nil
		}
		unlock, ok, err := q.orphaned(ctx, id)
		if err != nil || !ok {
			return err
		}
		defer unlock() // removes the lock's file
		if suffix == "lock" {
			return nil
		}
		return ignoreMissing(os.Remove(q.path(runningIn.String(), name)))
	})
}

// each calls f for each name in a folder.
func (q *Queue) each(f folder, do func(name string) error) error {
	dir, err := durable.OpenDir(q.path(f.String()))
	if err != nil {
		return ignoreMissing(err)
	}
	list, err := dir.Readdirnames(-1)
	if err := errors.Join(err, dir.Close()); err != nil {
		return err
	}
	for _, name := range list {
		if err := do(filepath.Base(name)); err != nil {
			return err
		}
	}
	return nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
