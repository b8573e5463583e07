package mirror

import (
	"context"
	"errors"
	"os"
	"slices"
	"strconv"
	"time"

	"example.com/publish/stage/catalog"
)

// generation is the number of production; "" if it cannot be read.
func (m *Mirror) generation() string {
	v, err := m.Repo.OpenProduction()
	if err != nil {
		return ""
	}
	defer v.Close()
	return strconv.Itoa(v.Generation)
}

// covers reports whether an image in the tree has the platforms that a job is about: an
// index has the same digest with fewer of them.
func covers(there *catalog.Resolved, j Job) bool {
	if len(there.Platforms) == 0 {
		return true
	}
	return len(j.Platforms) > 0 && !slices.ContainsFunc(j.Platforms, func(p string) bool {
		return !slices.Contains(there.Platforms, p) && !slices.Contains(j.MissingPlatforms, p)
	})
}

// settledFor is what SettleAll looked at the last time: nothing changes unless this does.
type settledFor struct {
	done       time.Time // of the folder
	production os.FileInfo
	commits    int             // of production in an object store
	waiting    map[string]bool // the staged jobs that production lacked
}

// errSettled leaves a job as it is: another process brought it up to date meanwhile.
var errSettled = errors.New("not staged any more")

// SettleAll has all staged jobs brought up to date, durably. It is for those who run jobs:
// others call See for what they print. It is cheap if neither the queue nor production
// changed since it was called last, and as long as production does not change, only jobs
// that were staged since are looked at.
func (m *Mirror) SettleAll(ctx context.Context) error {
	now := settledFor{}
	if fi, err := os.Stat(m.Queue.path(doneIn.String())); err == nil && time.Since(fi.ModTime()) > settled {
		now.done = fi.ModTime()
	}
	now.production, _ = os.Stat(m.Repo.Mark()) // nil before the first promote
	now.commits = m.Repo.Commits(ctx, lookAgain)
	m.settling.Lock()
	defer m.settling.Unlock()
	last := m.settledFor
	same := sameFile(now.production, last.production) && now.commits == last.commits
	if !now.done.IsZero() && now.done.Equal(last.done) && same {
		return nil
	}
	list, _, err := m.Queue.List(Staged)
	if err != nil {
		return err
	}
	now.waiting = map[string]bool{}
	var seen []Seen
	var staged []int
	for _, j := range list {
		if same && last.waiting[j.ID] {
			now.waiting[j.ID] = true
			continue
		}
		staged = append(staged, len(seen))
		seen = append(seen, Seen{Job: j})
	}
	if _, err := m.seePublished(ctx, seen, staged); err != nil {
		return err
	}
	for _, s := range seen {
		if s.State != Published {
			now.waiting[s.ID] = true
			continue
		}
		j, err := m.Queue.Amend(ctx, s.ID, func(j *Job) error {
			if j.State != Staged {
				return errSettled
			}
			j.State, j.Address, j.Generation = s.State, s.Address, s.Generation
			return nil
		})
		if errors.Is(err, errSettled) {
			continue
		}
		if err != nil {
			return err
		}
		m.tell(j)
	}
	m.settledFor = now
	return nil
}

// sameFile reports whether two infos are of one file in one state, or both are of none.
func sameFile(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}
