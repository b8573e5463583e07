package mirror

import (
	"os"
	"sync"
	"time"
)

// pastJobs has the jobs that ended as they were read, for a process that lists them again and
// again, as a runner does: thousands of them lie there, and hardly any changes.
type pastJobs struct {
	mu    sync.Mutex
	lists int // how often List was called: one call needs no memory
	jobs  map[endedKey]cached
}

type endedKey struct {
	in folder
	id string
}

// listed is told which jobs are in the folder first and in further ones, each time before they
// are read.
func (e *pastJobs) listed(first folder, all map[string]folder) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.lists++; e.jobs == nil {
		e.jobs = map[endedKey]cached{}
	}
	for key := range e.jobs {
		if f, ok := all[key.id]; key.in >= first && (!ok || f != key.in) {
			delete(e.jobs, key)
		}
	}
}

// readListed is read, without reading a job again that ended and whose file did not change.
func (q *Queue) readListed(f folder, id string) (Job, error) {
	q.past.mu.Lock()
	old, ok := q.past.jobs[endedKey{f, id}]
	again := q.past.lists > 1
	q.past.mu.Unlock()
	if f < failedIn || !again {
		return q.read(f, id)
	}
	fi, err := os.Lstat(q.file(f, id))
	if err != nil {
		return Job{}, err
	}
	if ok && old.same(fi) {
		return old.Job, nil
	}
	j, err := q.read(f, id)
	if err == nil {
		q.past.mu.Lock()
		defer q.past.mu.Unlock()
		q.past.jobs[endedKey{f, id}] = cached{j, fi.ModTime(), fi.Size(), fi}
	}
	return j, err
}

// same reports whether a file is as it was when the job was read.
func (c *cached) same(fi os.FileInfo) bool {
	return os.SameFile(c.info, fi) && c.size == fi.Size() && c.modified.Equal(fi.ModTime()) &&
		time.Since(fi.ModTime()) >= settled
}
