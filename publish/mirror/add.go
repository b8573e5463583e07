package mirror

import (
	"context"
	"os"
	"slices"
	"time"

	"example.com/publish/publish/fault"
	"example.com/publish/stage/durable"
)

// Request asks for a job.
type Request struct {
	Want
	Priority int
	By       Requester // its time is set when it is added
}

// Addition is what became of a request.
type Addition struct {
	Job     Job
	Existed bool // a job that wants the same was there, and has not ended
}

// Add adds a job, unless one that wants the same is there and has not ended: then the
// requester is added to that one, and the higher priority counts.
func (q *Queue) Add(ctx context.Context, r Request) (j Job, existed bool, err error) {
	added, err := q.AddAll(ctx, []Request{r})
	if err != nil {
		return Job{}, false, err
	}
	return added[0].Job, added[0].Existed, nil
}

// AddAll adds jobs as Add does, all of them or, after an error, maybe some. Many at once
// cost little more than one.
func (q *Queue) AddAll(ctx context.Context, list []Request) ([]Addition, error) {
	for _, r := range list {
		if err := r.check(); err != nil {
			return nil, &fault.Error{Kind: fault.Usage, Path: cut(r.Reference, maxText), Fact: err.Error()}
		}
		if r.Canonical == "" {
			return nil, &fault.Error{Kind: fault.Usage, Path: cut(r.Reference, maxText), Fact: "names no image"}
		}
	}
	var out []Addition
	err := q.change(ctx, func() error {
		there, err := q.unfinished()
		if err != nil {
			return err
		}
		out, err = q.add(list, there)
		return err
	})
	return out, err
}

// unfinished returns the jobs that have not ended, by what they want. One that is being
// stopped is not among them: it brings nothing to those who ask now.
func (q *Queue) unfinished() (map[string]Job, error) {
	pending, err := q.pending()
	if err != nil {
		return nil, err
	}
	there := make(map[string]Job, len(pending))
	for _, c := range pending {
		there[c.key()] = c.Job
	}
	running, err := q.names(runningIn, nil)
	if err != nil {
		return nil, err
	}
	for _, id := range running {
		if _, err := os.Lstat(q.markOf(id)); err == nil {
			continue
		}
		if j, err := q.read(runningIn, id); err == nil { // else List reports it
			there[j.key()] = j
		}
	}
	return there, nil
}

// add makes or joins jobs. there is what has not ended.
func (q *Queue) add(list []Request, there map[string]Job) ([]Addition, error) {
	now := q.time()
	lines := make([]Event, len(list))
	out := make([]Addition, len(list))
	keys := make([]string, len(list))
	touched := map[string]bool{}
	for i, r := range list {
		r.By.At = now
		key := r.key()
		j, ok := there[key]
		if ok && !touched[key] {
			// What a kill left in two folders may have ended.
			f, found, err := q.settle(j.ID)
			if err != nil {
				return nil, err
			}
			ok = found && f <= runningIn
		}
		if ok {
			j = j.join(r)
			lines[i] = Event{Event: Joined}.by(r.By).of(j)
			lines[i].Time = now
		} else {
			id, err := q.freeID()
			if err != nil {
				return nil, err
			}
			j = Job{ID: id, Want: r.Want, State: Pending, Priority: r.Priority, Requesters: []Requester{r.By.bounded()},
				// Jobs that are added together keep their order.
				Created: now.Add(time.Duration(i) * time.Microsecond), Updated: now}
			lines[i] = Event{Event: Added}.by(r.By).of(j)
		}
		keys[i], out[i].Existed, touched[key], there[key] = key, ok, true, j
	}
	if err := q.record(lines...); err != nil {
		return nil, err
	}
	jobs := make([]Job, 0, len(touched))
	for key := range touched {
		jobs = append(jobs, there[key])
	}
	for i, key := range keys {
		out[i].Job = there[key]
	}
	return out, q.putAll(jobs)
}

// join adds the requester of r. Its Updated stays: from it on a wait is counted.
func (j Job) join(r Request) Job {
	j.Priority = max(j.Priority, r.Priority)
	same := func(old Requester) bool { return old.Who == r.By.Who && old.Via == r.By.Via }
	if by := r.By.bounded(); !slices.ContainsFunc(j.Requesters, same) && len(j.Requesters) < maxRequesters {
		j.Requesters = append(slices.Clone(j.Requesters), by)
	}
	return j
}

// freeID returns an ID that no job has.
func (q *Queue) freeID() (string, error) {
	for {
		id := newID()
		if _, ok, err := q.settle(id); err != nil || !ok {
			return id, err
		}
	}
}

// putAll writes jobs to the folders of their states. Those of one folder are synced at
// once: temporary files, sync, renames, sync of the folder.
func (q *Queue) putAll(jobs []Job) error {
	if len(jobs) == 1 {
		return q.put(jobs[0])
	}
	for _, f := range folders {
		in := slices.DeleteFunc(slices.Clone(jobs), func(j Job) bool { return folderOf(j.State) != f })
		if err := q.putIn(f, in); err != nil {
			return err
		}
	}
	return nil
}

func (q *Queue) putIn(f folder, jobs []Job) error {
	if len(jobs) == 0 {
		return nil
	}
	dir := q.path(f.String())
	batch, err := durable.NewBatch(dir)
	if err != nil {
		return err
	}
	defer batch.Close()
	batch.Expect(len(jobs))
	temporary := func(j Job) string { return q.path(f.String(), "."+j.ID+".json0") } // Recover knows it
	for _, j := range jobs {
		data, err := j.encode()
		if err != nil {
			return err
		}
		_ = os.Remove(temporary(j)) // of a killed one
		if err := batch.WriteFile(temporary(j), data, 0o644); err != nil {
			return err
		}
	}
	if err := batch.Flush(); err != nil {
		return err
	}
	for _, j := range jobs {
		if err := q.at("write " + f.String()); err != nil {
			return err
		}
		delete(q.cache, j.ID)
		if err := os.Rename(temporary(j), q.file(f, j.ID)); err != nil {
			return err
		}
	}
	if err := durable.SyncDir(dir); err != nil {
		return err
	}
	return q.at("wrote " + f.String())
}
