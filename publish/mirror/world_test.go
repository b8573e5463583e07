package mirror

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"example.com/publish/publish/fault"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// clock is a clock that tests set.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// world is a queue with its clock.
type world struct {
	testing.TB
	*Queue
	clock *clock
}

func newWorld(t testing.TB) *world {
	t.Helper()
	c := newClock()
	return &world{t, Open(filepath.Join(t.TempDir(), "mirror", "queue"), c.now), c}
}

// again is another process with the same queue.
func (w *world) again() *world { return &world{w.TB, Open(w.dir, w.clock.now), w.clock} }

var ctx = context.Background()

func alice() Requester { return Requester{Who: "alice", Via: "add"} }

func want(name string) Request {
	return Request{Want: Want{Reference: name, Canonical: "docker.io/library/" + name}, By: alice()}
}

func (w *world) add(name string) Job {
	w.Helper()
	j, existed, err := w.Add(ctx, want(name))
	must(w, err)
	if existed {
		w.Fatalf("%s is there already", name)
	}
	return j
}

func (w *world) claim() *Claimed {
	w.Helper()
	c, err := w.Claim(ctx, nil)
	must(w, err)
	if c == nil {
		w.Fatal("there is nothing to claim")
	}
	return c
}

func (w *world) get(id string) Job {
	w.Helper()
	j, err := w.Get(id)
	must(w, err)
	return j
}

// states are the states of all jobs by reference.
func (w *world) states() map[string]State {
	w.Helper()
	jobs, bad, err := w.List()
	must(w, err)
	if len(bad) > 0 {
		w.Fatalf("problems: %v", bad)
	}
	all := map[string]State{}
	for _, j := range jobs {
		all[j.Reference] = j.State
	}
	return all
}

func kindOf(err error) fault.Kind {
	if f := (*fault.Error)(nil); errors.As(err, &f) {
		return f.Kind
	}
	return -1
}

// die gives the claim up as a kill does: the lock is free, and its file stays.
func (c *Claimed) die() {
	c.Abandon()
	if err := os.WriteFile(c.q.lockOf(c.id), nil, 0o600); err != nil {
		panic(err)
	}
}

// Deny is denyAll for one request.
func (q *Queue) Deny(ctx context.Context, r Request, why string) (Job, error) {
	jobs, err := q.denyAll(ctx, []denial{{r, why}})
	return jobs[0], err
}
