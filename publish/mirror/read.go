package mirror

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"example.com/publish/publish/fault"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/lock"
)

// read reads the file of a job.
func (q *Queue) read(f folder, id string) (Job, error) {
	path := q.file(f, id)
	data, err := durable.ReadSmall(path, maxJob)
	if err != nil {
		return Job{}, err
	}
	j, err := decode(data, id, f)
	if err != nil {
		return Job{}, &fault.Error{Kind: fault.Failed, Path: path, Fact: err.Error(),
			Hint: "repair the file, or move it away"}
	}
	if f == runningIn {
		done, total, phase := q.readCount(id)
		j.Phase = phase
		j.BytesDone, j.BytesTotal = max(j.BytesDone, done), max(j.BytesTotal, total)
	}
	return j, nil
}

// names returns the jobs in a folder, and calls foreign for names that do not belong
// there.
func (q *Queue) names(f folder, foreign func(path string)) ([]string, error) {
	dir, err := durable.OpenDir(q.path(f.String()))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	list, err := dir.Readdirnames(-1)
	if err := errors.Join(err, dir.Close()); err != nil {
		return nil, err
	}
	ids := make([]string, 0, len(list))
	for _, name := range list {
		if id, ok := jobID(name); ok {
			ids = append(ids, id)
		} else if foreign != nil && !ours(f, name) {
			foreign(q.path(f.String(), name))
		}
	}
	return ids, nil
}

// ours reports whether a name that is no job's belongs into a folder: a file that is
// being written begins with a dot.
func ours(f folder, name string) bool {
	id, suffix, _ := strings.Cut(name, ".")
	return id == "" || f == runningIn && isID(id) && (suffix == "lock" || suffix == "cancel" || suffix == "bytes")
}

// where returns the folder that counts for each job that has a file in the folder first or in a
// further one. A job that moves on meanwhile is not missed: it is written to the further folder
// before it leaves the other one, and the folders are read in that order.
func (q *Queue) where(first folder, foreign func(path string)) (map[string]folder, error) {
	all := map[string]folder{}
	for _, f := range folders[first:] {
		ids, err := q.names(f, foreign)
		if err != nil {
			return nil, err
		}
		for _, id := range ids {
			all[id] = f
		}
	}
	return all, nil
}

// List returns the jobs of some states, or all, the oldest first. It takes no lock. bad
// are files that are not jobs, or cannot be read, where it looked for those jobs: in the
// first folder of their states, and in further ones.
func (q *Queue) List(states ...State) (jobs []Job, bad []Problem, err error) {
	wanted := func(s State) bool { return len(states) == 0 || slices.Contains(states, s) }
	in := func(f folder) bool {
		return len(states) == 0 || slices.ContainsFunc(states, func(s State) bool { return folderOf(s) == f })
	}
	first := pendingIn
	for !in(first) {
		first++
	}
	all, err := q.where(first, func(path string) {
		bad = append(bad, Problem{path, errors.New("does not belong here")})
	})
	if err != nil {
		return nil, nil, err
	}
	ids := make([]string, 0, len(all))
	for id, f := range all {
		if in(f) {
			ids = append(ids, id)
		}
	}
	found := make([]Job, len(ids))
	errs := make([]error, len(ids))
	q.past.listed(first, all)
	abreast(len(ids), func(i int) { found[i], errs[i] = q.readListed(all[ids[i]], ids[i]) })
	again := []string{}
	for i, err := range errs {
		switch {
		case err == nil:
			jobs = append(jobs, found[i])
		case errors.Is(err, fs.ErrNotExist):
			again = append(again, ids[i])
		default:
			bad = append(bad, Problem{q.file(all[ids[i]], ids[i]), err})
		}
	}
	// A job that went back meanwhile, to pending, was read in no folder, or vanished.
	now, err := q.where(first, nil)
	if err != nil {
		return nil, nil, err
	}
	for id := range now {
		if _, seen := all[id]; !seen {
			again = append(again, id)
		}
	}
	for _, id := range again {
		switch j, err := q.look(id); {
		case err == nil:
			jobs = append(jobs, j)
		case !errors.Is(err, fs.ErrNotExist):
			bad = append(bad, Problem{q.path(id), err})
		}
	}
	jobs = slices.DeleteFunc(jobs, func(j Job) bool { return !wanted(j.State) })
	slices.SortFunc(jobs, older)
	slices.SortFunc(bad, func(a, b Problem) int { return strings.Compare(a.Path, b.Path) })
	return jobs, bad, nil
}

func older(a, b Job) int { return cmp.Or(a.Created.Compare(b.Created), strings.Compare(a.ID, b.ID)) }

// looks is how often a job is looked for that moves between the folders at the time.
const looks = 8

// look reads a job in the folder that counts, without a lock. The error wraps
// fs.ErrNotExist if there is none.
func (q *Queue) look(id string) (j Job, err error) {
	for range looks {
		found := false
		for _, f := range folders {
			next, e := q.read(f, id)
			switch {
			case e == nil:
				j, err, found = next, nil, true
			case !errors.Is(e, fs.ErrNotExist):
				err, found = e, true
			}
		}
		if found {
			return j, err
		}
	}
	return Job{}, fmt.Errorf("%s: %w", id, fs.ErrNotExist)
}

// Get returns the job whose ID begins with prefix. It takes no lock. The error is a
// *fault.Error of kind NotFound if there is none, and Usage if there are several.
func (q *Queue) Get(prefix string) (Job, error) {
	id, err := q.resolve(prefix)
	if err != nil {
		return Job{}, err
	}
	j, err := q.look(id)
	if errors.Is(err, fs.ErrNotExist) {
		return Job{}, noJob(prefix)
	}
	return j, err
}

// resolve returns the ID that begins with prefix.
func (q *Queue) resolve(prefix string) (string, error) {
	if isID(prefix) {
		return prefix, nil
	}
	if prefix == "" { // the variable of a script that is not set
		return "", &fault.Error{Kind: fault.Usage, Fact: "an empty text names no job",
			Hint: "publish mirror list shows the jobs"}
	}
	all, err := q.where(pendingIn, nil)
	if err != nil {
		return "", err
	}
	var match []string
	for id := range all {
		if strings.HasPrefix(id, prefix) {
			match = append(match, id)
		}
	}
	slices.Sort(match)
	switch {
	case len(match) == 0:
		return "", noJob(prefix)
	case len(match) > 1:
		more := ""
		if len(match) > 5 {
			match, more = match[:5], fmt.Sprintf(" and %d more", len(match)-5)
		}
		return "", &fault.Error{Kind: fault.Usage, Fact: fmt.Sprintf("%q begins the names of several jobs: %s%s",
			cut(prefix, maxText), strings.Join(match, ", "), more), Hint: "write more of the name"}
	}
	return match[0], nil
}

// Held reports whether a runner works on a job. A job that is running and not held
// waits for Recover.
func (q *Queue) Held(id string) bool {
	_, state := lock.Look(q.lockOf(id))
	return state != lock.Free
}

// abreast calls f for 0 to n-1, on all processors.
func abreast(n int, f func(i int)) {
	const share = 64 // so many in a row: fewer would cost more to hand out than to read
	var next sync.Mutex
	at := 0
	var all sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), n/share+1) {
		all.Go(func() {
			for {
				next.Lock()
				from := at
				at += share
				next.Unlock()
				if from >= n {
					return
				}
				for i := from; i < min(from+share, n); i++ {
					f(i)
				}
			}
		})
	}
	all.Wait()
}

// cached is a pending job as it was read.
type cached struct {
	Job
	modified time.Time
	size     int64
	info     fs.FileInfo
}

// settled is how old a file must be so that its state tells whether it changed since.
const settled = time.Second

// pending returns the jobs in the folder pending, which are read again only if their
// files changed. The caller holds the lock of the queue.
func (q *Queue) pending() (map[string]cached, error) {
	ids, err := q.names(pendingIn, nil)
	if err != nil {
		return nil, err
	}
	all := make(map[string]cached, len(ids))
	var mu sync.Mutex
	abreast(len(ids), func(i int) {
		id := ids[i]
		fi, err := os.Lstat(q.file(pendingIn, id))
		if err != nil {
			return
		}
		old, ok := q.cache[id]
		if !ok || !old.same(fi) {
			j, err := q.read(pendingIn, id)
			if err != nil {
				return // List reports it
			}
			old = cached{j, fi.ModTime(), fi.Size(), fi}
		}
		mu.Lock()
		all[id] = old
		mu.Unlock()
	})
	q.cache = all
	return all, nil
}
