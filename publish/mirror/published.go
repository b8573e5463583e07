package mirror

import (
	"context"
	"os"
	"slices"
	"strconv"
	"time"

	"example.com/publish/stage/catalog"
)

// Settle brings a staged job up to date with production: see See.
func (m *Mirror) Settle(ctx context.Context, j Job) (Job, error) {
	if j.State != Staged {
		return j, nil
	}
	seen, err := m.See(ctx, j)
	if err != nil {
		return j, err
	}
	return seen[0].Job, nil
}

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
}

// SettleAll has all staged jobs brought up to date, durably. It is for those who run jobs:
// others call See for what they print. It is cheap if neither the queue nor production
// changed since it was called last.
func (m *Mirror) SettleAll(ctx context.Context) error {
	now := settledFor{}
	if fi, err := os.Stat(m.Queue.path(doneIn.String())); err == nil && time.Since(fi.ModTime()) > settled {
		now.done = fi.ModTime()
	}
	now.production, _ = os.Stat(m.Repo.Mark()) // nil before the first promote
	m.settling.Lock()
	defer m.settling.Unlock()
	if last := m.settledFor; !now.done.IsZero() && now.done.Equal(last.done) && sameFile(now.production, last.production) {
		return nil
	}
	list, _, err := m.Queue.List(Staged)
	if err != nil {
		return err
	}
	seen, err := m.See(ctx, list...)
	if err != nil {
		return err
	}
	for _, s := range seen {
		if s.State != Published {
			continue
		}
		j, err := m.Queue.Amend(ctx, s.ID, func(j *Job) error {
			j.State, j.Address, j.Generation = s.State, s.Address, s.Generation
			return nil
		})
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
