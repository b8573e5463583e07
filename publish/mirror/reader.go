package mirror

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"example.com/publish/publish"
)

// Reader looks at the mirror of a repository, for a server. It takes no lock, writes
// nothing, and asks no other server.
type Reader struct {
	repo  *publish.Repo
	now   func() time.Time
	queue *Queue
}

// NewReader returns the reader of a repository.
func NewReader(r *publish.Repo, now func() time.Time) *Reader {
	return &Reader{r, now, Open(dir(r, "queue"), now)}
}

// View is a queue as it is at a moment.
type View struct {
	// Jobs are those at work first, then those to do, then those that failed, then those
	// that ended otherwise, the newest first.
	Jobs  []Seen
	Bad   []Problem
	Hosts map[string]Hold
}

// There reports whether the repository has a queue.
func (r *Reader) There() bool {
	_, err := os.Lstat(dir(r.repo, "queue"))
	return !errors.Is(err, fs.ErrNotExist)
}

// View returns the queue as it is now.
func (r *Reader) View(ctx context.Context) (*View, error) {
	m := &Mirror{Repo: r.repo, Config: &r.repo.Config.Mirror, Now: r.now, Queue: r.queue}
	jobs, bad, err := m.Queue.List()
	if err != nil {
		return nil, err
	}
	seen, err := m.See(ctx, jobs...)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(seen, func(a, b Seen) int {
		return cmp.Or(rank(a.State)-rank(b.State), a.order(b))
	})
	return &View{Jobs: seen, Bad: bad, Hosts: OpenHosts(dir(r.repo, "hosts.json"), r.now).Peek()}, nil
}

// rank is which jobs come first.
func rank(s State) int {
	switch s {
	case Running:
		return 0
	case Pending:
		return 1
	case Waiting:
		return 2
	case Failed:
		return 3
	}
	return 4
}

// order is that of jobs of one rank: as they are begun, and those that ended by their end,
// the newest first.
func (s Seen) order(b Seen) int {
	if s.State.Ended() {
		return cmp.Or(b.Finished.Compare(s.Finished), strings.Compare(s.ID, b.ID))
	}
	return cmp.Or(b.Priority-s.Priority, older(s.Job, b.Job))
}
