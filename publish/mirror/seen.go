package mirror

import (
	"context"

	"example.com/publish/stage/catalog"
)

// Seen is a job as it is now, with what its file does not say.
type Seen struct {
	Job
	// Orphaned: it is running, and its runner is gone. The next run goes on with it.
	Orphaned bool `json:"orphaned,omitempty"`
	// Gone: it was staged, and neither staging nor production has that digest under its
	// name any more. Nothing publishes it.
	Gone bool `json:"gone,omitempty"`
}

// See returns jobs as they are now: those that were staged are published once production
// has the name with that digest, by whichever promote. Many at once cost little more than
// one. It changes nothing: see SettleAll.
func (m *Mirror) See(ctx context.Context, jobs ...Job) ([]Seen, error) {
	out := make([]Seen, len(jobs))
	var staged []int
	for i, j := range jobs {
		out[i] = Seen{Job: j}
		switch j.State {
		case Running:
			out[i].Orphaned = m.Queue.orphan(j.ID)
		case Staged:
			staged = append(staged, i)
		}
	}
	left, err := m.seePublished(ctx, out, staged)
	if err != nil {
		return nil, err
	}
	// Staging last: what a promote takes meanwhile stays there.
	return out, m.seeGone(ctx, out, left)
}

// seePublished is See for what production says of some jobs that were staged. It returns
// those that are not published.
func (m *Mirror) seePublished(ctx context.Context, jobs []Seen, staged []int) (left []int, err error) {
	if m.selects() {
		return m.seeSelectedPublished(ctx, jobs, staged)
	}
	there, err := m.in(ctx, "production", jobs, staged)
	if err != nil {
		return nil, err
	}
	generation := ""
	for n, i := range staged {
		j := &jobs[i].Job
		if there[n] == nil || there[n].Digest != j.Digest || !covers(there[n], *j) {
			left = append(left, i)
			continue
		}
		if generation == "" {
			generation = m.generation()
		}
		j.State, j.Address, j.Generation = Published, m.at(there[n].Ref), generation
	}
	return left, nil
}

// seeGone is See for what staging says of some jobs that are not published.
func (m *Mirror) seeGone(ctx context.Context, jobs []Seen, left []int) error {
	if m.selects() {
		return m.seeSelectedGone(ctx, jobs, left)
	}
	there, err := m.in(ctx, "staging", jobs, left)
	if err != nil {
		return err
	}
	for n, i := range left {
		jobs[i].Gone = there[n] == nil || there[n].Digest != jobs[i].Digest
	}
	return nil
}

// in returns what the names of some jobs stand for in a tree.
func (m *Mirror) in(ctx context.Context, tree string, jobs []Seen, some []int) ([]*catalog.Resolved, error) {
	if len(some) == 0 {
		return nil, nil
	}
	names := make([]string, len(some))
	for n, i := range some {
		names[n] = m.NameOf(jobs[i].Canonical)
	}
	return m.Repo.ResolveMany(ctx, tree, names)
}

// orphan reports whether the runner of a job that was seen to run is gone. The job may
// end, or be taken by another runner, while this looks.
func (q *Queue) orphan(id string) bool {
	if q.Held(id) {
		return false
	}
	j, err := q.look(id)
	return err == nil && j.State == Running && !q.Held(id)
}
