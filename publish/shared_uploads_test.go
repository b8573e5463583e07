package publish

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"example.com/publish/publish/site/bucket"
)

// resuming is a store that has begun uploads in parts.
type resuming struct {
	bucket.Store
	list []bucket.Abandoned
	err  error
}

func (r *resuming) Abandoned() ([]bucket.Abandoned, error) { return slices.Clone(r.list), nil }

func (r *resuming) Abort(_ context.Context, a bucket.Abandoned) error {
	if r.err == nil {
		r.list = slices.DeleteFunc(r.list, func(b bucket.Abandoned) bool { return a == b })
	}
	return r.err
}

// gc --orphans ends uploads that nobody goes on with, and no others.
func TestSharedUploadsEnd(t *testing.T) {
	memory := newStore()
	m := newMachine(t, memory, "ada")
	m.put(map[string]string{"a/1": "one"})
	m.promote()
	memory.Advance(30 * time.Hour)
	now := memory.Now()
	store := &resuming{Store: memory, list: []bucket.Abandoned{{Key: "old", Last: now.Add(-25 * time.Hour)},
		{Key: "at work", Last: now.Add(-time.Hour)}}}
	gc := func(dryRun bool, want, left int) {
		t.Helper()
		r := m.repo()
		r.shared.site.Store = store
		if got, err := r.GCStrays(ctx, dryRun); err != nil || got.Uploads != want || len(store.list) != left {
			t.Fatalf("%+v, %v, left %+v", got, err, store.list)
		}
	}
	gc(true, 1, 2)
	store.err = errors.New("no") // a warning
	gc(false, 0, 2)
	store.err = nil
	gc(false, 1, 1)
	gc(false, 0, 1)
}
