package mirror

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"example.com/publish/publish/fault"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/lock"
)

// Queue is the jobs of a mirror. Any number of processes, and of goroutines, may use
// the same directory.
type Queue struct {
	dir  string
	now  func() time.Time
	step func(name string) error // tests stop a change at a point of it; nil otherwise

	partSize int64 // from which the next file of the history is begun

	turn  chan struct{}     // one change at a time in this process; guards cache
	cache map[string]cached // what is pending, by ID
	past  pastJobs
}

// Open returns the queue in a directory, such as .publish/mirror/queue. It touches
// nothing: the first change makes the directory, and a missing one is an empty queue.
func Open(dir string, now func() time.Time) *Queue {
	return &Queue{dir: dir, now: now, partSize: partBytes, turn: make(chan struct{}, 1), cache: map[string]cached{}}
}

func (q *Queue) path(parts ...string) string {
	return filepath.Join(append([]string{q.dir}, parts...)...)
}

func (q *Queue) file(f folder, id string) string { return q.path(f.String(), id+".json") }

// The files that a running job has beside its own.
func (q *Queue) lockOf(id string) string  { return q.path(runningIn.String(), id+".lock") }
func (q *Queue) markOf(id string) string  { return q.path(runningIn.String(), id+".cancel") }
func (q *Queue) countOf(id string) string { return q.path(runningIn.String(), id+".bytes") }
func (q *Queue) time() time.Time          { return q.now().UTC() }
func (q *Queue) at(step string) (err error) {
	if q.step != nil {
		err = q.step(step)
	}
	return err
}

// change calls f under the lock of the queue.
func (q *Queue) change(ctx context.Context, f func() error) error {
	select {
	case q.turn <- struct{}{}:
		defer func() { <-q.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := q.create(); err != nil {
		return err
	}
	unlock, err := lock.Acquire(ctx, q.path("lock"), lock.Options{Verb: "mirror", Now: q.time(), Wait: -1})
	if err != nil {
		return err
	}
	defer unlock()
	return f()
}

// create makes what is missing of the queue's directory.
func (q *Queue) create() error {
	if _, err := os.Lstat(q.path("lock")); err == nil {
		return nil
	}
	for _, f := range folders {
		if err := durable.MkdirAll(q.path(f.String()), 0o755); err != nil {
			return err
		}
	}
	// All names must be durable before the first job is: also those of the parents.
	for dir, n := q.dir, 0; n < 3; dir, n = filepath.Dir(dir), n+1 {
		if err := durable.SyncDir(dir); err != nil {
			return err
		}
	}
	return lock.Create(q.path("lock"), lock.Private())
}

// put writes the file of a job in the folder of its state.
func (q *Queue) put(j Job) error {
	f := folderOf(j.State)
	data, err := j.encode()
	if err == nil {
		err = q.at("write " + f.String())
	}
	if err == nil {
		err = durable.WriteFile(q.file(f, j.ID), data, 0o644)
	}
	if err == nil {
		err = q.at("wrote " + f.String())
	}
	delete(q.cache, j.ID)
	return err
}

// drop removes the file of a job from a folder, if it is there.
func (q *Queue) drop(f folder, id string) error {
	if err := q.remove(f, id); err != nil {
		return err
	}
	return durable.SyncDir(q.path(f.String()))
}

// remove is drop, which a power cut may undo.
func (q *Queue) remove(f folder, id string) error {
	if err := q.at("remove " + f.String()); err != nil {
		return err
	}
	delete(q.cache, id)
	err := os.Remove(q.file(f, id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = q.at("removed " + f.String())
	}
	return err
}

// move writes a job, which lay in the folder from, to the folder of its state. Its line
// of the history is written first: see the package comment for the order.
func (q *Queue) move(from folder, j *Job, e Event) error {
	j.Updated = q.time()
	j.fit(folderOf(j.State))
	if err := q.record(e.of(*j)); err != nil {
		return err
	}
	if err := q.put(*j); err != nil {
		return err
	}
	to := folderOf(j.State)
	if to == from {
		return nil
	}
	if from == runningIn {
		// Before the job's file: without that file nobody would look for them.
		for _, path := range []string{q.markOf(j.ID), q.countOf(j.ID)} {
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	if to > from { // it counts in any case
		return q.remove(from, j.ID)
	}
	return q.drop(from, j.ID)
}

// settle returns the folder that counts for a job, and removes its file from the others,
// where a kill left it. The caller holds the lock of the queue.
func (q *Queue) settle(id string) (at folder, ok bool, err error) {
	for _, f := range slices.Backward(folders) {
		_, err := os.Lstat(q.file(f, id))
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return 0, false, err
		case !ok:
			at, ok = f, true
		default:
			if err := q.drop(f, id); err != nil {
				return 0, false, err
			}
		}
	}
	return at, ok, nil
}

// load settles a job and reads it. The caller holds the lock of the queue.
func (q *Queue) load(id string) (Job, folder, error) {
	f, ok, err := q.settle(id)
	if err != nil {
		return Job{}, 0, err
	}
	if !ok {
		return Job{}, 0, noJob(id)
	}
	j, err := q.read(f, id)
	return j, f, err
}

func noJob(id string) error {
	return &fault.Error{Kind: fault.NotFound, Fact: fmt.Sprintf("no job %q", cut(id, maxText)),
		Hint: "publish mirror list shows the jobs"}
}
