package mirror

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

var errKilled = errors.New("killed")

// kill lets the n-th step of a change end it, as a kill would: nothing after it is done.
// It reports whether there was such a step.
func (w *world) kill(n int) (reached func() bool) {
	at := 0
	w.Queue.step = func(string) error {
		if at++; at > n {
			return errKilled
		}
		return nil
	}
	return func() bool { w.Queue.step = nil; return at > n }
}

// TestKilledAnywhere kills each kind of change at each of its steps, and then checks what
// readers see, what another runner makes of it, and that nothing is lost or there twice.
func TestKilledAnywhere(t *testing.T) {
	type situation struct {
		*world
		id string
		c  *Claimed // nil unless the job runs
	}
	claimed := func(s *situation) { s.c = s.claim() }
	failed := func(s *situation) { claimed(s); must(s, s.c.Finish(Failed, nil)); s.c = nil }
	for _, c := range []struct {
		name   string
		before func(*situation) // nil: a job is pending
		change func(*situation) error
		ends   string // all states that the job may have after recovery
	}{
		{"add", nil, func(s *situation) error {
			_, _, err := s.Add(ctx, want("other"))
			return err
		}, "pending"},
		{"add all", nil, func(s *situation) error {
			_, err := s.AddAll(ctx, []Request{want("other"), want("third"), want("job")})
			return err
		}, "pending"},
		{"join", nil, func(s *situation) error {
			_, _, err := s.Add(ctx, want("job"))
			return err
		}, "pending"},
		{"deny", nil, func(s *situation) error {
			_, err := s.Deny(ctx, want("other"), "no")
			return err
		}, "pending"},
		{"claim", nil, func(s *situation) (err error) {
			s.c, err = s.Claim(ctx, nil)
			return err
		}, "pending"},
		{"update", claimed, func(s *situation) error {
			return s.c.Update(func(j *Job) { j.Digest = "sha256:1" })
		}, "pending"},
		{"finish", claimed, func(s *situation) error { return s.c.Finish(Staged, nil) }, "pending staged"},
		{"fail", claimed, func(s *situation) error { return s.c.Finish(Failed, nil) }, "pending failed"},
		{"release", claimed, func(s *situation) error { return s.c.Release("", time.Time{}, nil) }, "pending"},
		{"wait", claimed, func(s *situation) error {
			return s.c.Release(Retry, s.clock.now().Add(time.Hour), nil)
		}, "pending waiting"},
		{"cancel pending", nil, func(s *situation) error {
			_, err := s.Cancel(ctx, s.id, alice())
			return err
		}, "pending cancelled"},
		{"cancel running", claimed, func(s *situation) error {
			_, err := s.Cancel(ctx, s.id, alice())
			return err
		}, "pending cancelled"},
		{"retry", failed, func(s *situation) error {
			_, err := s.Retry(ctx, s.id, alice())
			return err
		}, "pending failed"},
		{"amend", func(s *situation) { claimed(s); must(s, s.c.Finish(Staged, nil)); s.c = nil },
			func(s *situation) error {
				_, err := s.Amend(ctx, s.id, func(j *Job) error { j.State = Published; return nil })
				return err
			}, "staged published"},
		{"recover", func(s *situation) { claimed(s); s.c.die(); s.c = nil }, func(s *situation) error {
			_, err := s.Recover(ctx)
			return err
		}, "pending"},
		{"recover the third time", func(s *situation) {
			for range maxCrashes - 1 {
				s.claim().die()
				_, err := s.Recover(ctx)
				must(s, err)
			}
			s.claim().die()
		}, func(s *situation) error {
			_, err := s.Recover(ctx)
			return err
		}, "failed"},
		{"clock set back", func(s *situation) {
			claimed(s)
			must(s, s.c.Release(Retry, s.clock.now().Add(time.Hour), nil))
			s.c = nil
			s.clock.move(-24 * time.Hour)
		}, func(s *situation) error {
			_, err := s.Claim(ctx, nil)
			return err
		}, "waiting"},
	} {
		t.Run(c.name, func(t *testing.T) {
			steps := 0
			for n := 0; ; n++ {
				w := newWorld(t)
				s := &situation{world: w, id: w.add("job").ID}
				if c.before != nil {
					c.before(s)
				}
				reached := w.kill(n)
				err := c.change(s)
				if !reached() {
					must(t, err)
					break
				}
				steps++
				if !errors.Is(err, errKilled) {
					t.Fatalf("step %d: %v", n, err)
				}
				if s.c != nil {
					s.c.die() // the kernel does that
				}
				where := fmt.Sprintf("killed at step %d", n)
				w.again().consistent(where+", before recovery", s.id)
				// Recovery is killed too, at each of its steps.
				for k := 0; ; k++ {
					r := w.again()
					reached := r.kill(k)
					_, err := r.Recover(ctx)
					if !reached() {
						must(t, err)
						break
					}
					w.again().consistent(fmt.Sprintf("%s, recovery at %d", where, k), s.id)
				}
				w.again().recovered(where, s.id, c.ends)
			}
			if steps < 2 {
				t.Errorf("only %d steps", steps)
			}
		})
	}
}

// consistent checks what must be true at any time: each job is there once.
func (w *world) consistent(where, id string) {
	w.Helper()
	jobs, bad, err := w.List()
	must(w, err)
	seen := map[string]bool{}
	for _, j := range jobs {
		if seen[j.ID] {
			w.Errorf("%s: %s is there twice", where, j.ID)
		}
		seen[j.ID] = true
	}
	if !seen[id] || len(bad) > 0 {
		w.Errorf("%s: the job is lost: %v, %v", where, jobs, bad)
	}
	if _, err := w.Get(id); err != nil {
		w.Errorf("%s: %v", where, err)
	}
}

// recovered checks what must be true after recovery.
func (w *world) recovered(where, id, ends string) {
	w.Helper()
	w.consistent(where, id)
	j := w.get(id)
	if !strings.Contains(" "+ends+" ", " "+string(j.State)+" ") {
		w.Errorf("%s: the job is %s, not %s", where, j.State, ends)
	}
	files := map[string]int{}
	for _, f := range folders {
		list, err := os.ReadDir(w.path(f.String()))
		must(w, err)
		for _, e := range list {
			files[e.Name()]++
			if _, ok := jobID(e.Name()); !ok {
				w.Errorf("%s: %s is left in %s", where, e.Name(), f)
			}
		}
	}
	for name, n := range files {
		if n != 1 {
			w.Errorf("%s: %s is in %d folders", where, name, n)
		}
	}
	// Each state that a job has was told.
	jobs, _, err := w.List()
	must(w, err)
	for _, j := range jobs {
		if len(w.events(j.ID)) == 0 {
			w.Errorf("%s: %s has no history", where, j.Reference)
		}
	}
	// The queue goes on: what is due can be claimed, once.
	due := 0
	for _, j := range jobs {
		if j.State == Pending {
			due++
		}
	}
	for range due {
		must(w, w.claim().Finish(Staged, nil))
	}
	if c, err := w.Claim(ctx, nil); c != nil || err != nil {
		w.Errorf("%s: one more is claimed: %v, %v", where, c, err)
	}
}

// A runner whose Finish fails can try it again.
func TestFinishAgain(t *testing.T) {
	for n := 0; ; n++ {
		w := newWorld(t)
		id := w.add("job").ID
		c := w.claim()
		reached := w.kill(n)
		err := c.Finish(Staged, nil)
		if !reached() {
			must(t, err)
			return
		}
		must(t, c.Finish(Staged, nil))
		if j := w.get(id); j.State != Staged || w.Held(id) {
			t.Errorf("step %d: the job is %s", n, j.State)
		}
		w.recovered(fmt.Sprint("step ", n), id, "staged")
	}
}

func TestThreeCrashes(t *testing.T) {
	w := newWorld(t)
	id := w.add("job").ID
	for n := 1; n <= maxCrashes; n++ {
		c := w.claim()
		if back, err := w.again().Recover(ctx); len(back) > 0 || err != nil {
			t.Fatalf("a job that runs is taken away: %v, %v", back, err)
		}
		c.die()
		back, err := w.Recover(ctx)
		must(t, err)
		if len(back) != 1 || back[0].ID != id || back[0].Crashes != n {
			t.Fatalf("crash %d: %+v", n, back)
		}
	}
	if j := w.get(id); j.State != Failed || j.Class != "crashed" || j.Finished.IsZero() {
		t.Errorf("the job is %+v", j)
	}
	j, err := w.Retry(ctx, id, alice())
	must(t, err)
	if j.State != Pending || j.Crashes != 0 || j.Attempts != 0 || j.Class != "" || !j.Finished.IsZero() {
		t.Errorf("after retry it is %+v", j)
	}
}
