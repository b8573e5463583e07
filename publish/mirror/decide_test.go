package mirror

import (
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/publish/publish/fault"
)

func TestCancel(t *testing.T) {
	w := newWorld(t)
	pending := w.add("a")
	j, err := w.Cancel(ctx, pending.ID[:6], alice())
	must(t, err)
	if j.State != Cancelled || w.get(j.ID).State != Cancelled {
		t.Errorf("a pending job is %s", j.State)
	}
	if _, err := w.Cancel(ctx, j.ID, alice()); kindOf(err) != fault.Refused || !strings.Contains(err.Error(), "too late") {
		t.Errorf("cancelled again: %v", err)
	}
	if _, err := w.Cancel(ctx, "zzzz", alice()); kindOf(err) != fault.NotFound {
		t.Errorf("no such job: %v", err)
	}

	w.add("b")
	c := w.claim()
	if c.Cancelled() {
		t.Error("a job is cancelled that nobody cancelled")
	}
	j, err = w.again().Cancel(ctx, c.Job().ID, alice())
	must(t, err)
	if j.State != Running || !c.Cancelled() {
		t.Errorf("a running job is %s", j.State)
	}
	// Who asks now does not join a job that is being stopped.
	again := w.add("b")
	must(t, c.Release(Retry, w.clock.now().Add(time.Hour), nil))
	if j := w.get(again.ID); j.ID == c.Job().ID || j.State != Pending {
		t.Errorf("what was asked for after the cancel is %s", j.State)
	}
	_, err = w.Cancel(ctx, again.ID, alice())
	must(t, err)
	if j := w.get(j.ID); j.State != Cancelled {
		t.Errorf("what was to stop is %s", j.State)
	}

	// A runner dies that was to stop.
	w.add("c")
	c = w.claim()
	_, err = w.Cancel(ctx, c.Job().ID, alice())
	must(t, err)
	c.die()
	back, err := w.Recover(ctx)
	must(t, err)
	if len(back) != 1 || back[0].State != Cancelled {
		t.Errorf("recovery makes %+v", back)
	}

	// A runner died already.
	w.add("d")
	c = w.claim()
	c.die()
	if j, err := w.Cancel(ctx, c.Job().ID, alice()); err != nil || j.State != Cancelled {
		t.Errorf("without a runner: %s, %v", j.State, err)
	}
	left, err := os.ReadDir(w.path("running"))
	must(t, err)
	for _, e := range left {
		if !strings.HasSuffix(e.Name(), ".lock") {
			t.Errorf("%s is left", e.Name())
		}
	}
}

func TestRetry(t *testing.T) {
	w := newWorld(t)
	w.add("a")
	c := w.claim()
	if _, err := w.Retry(ctx, c.Job().ID, alice()); kindOf(err) != fault.Refused {
		t.Errorf("a running job: %v", err)
	}
	must(t, c.Release(Retry, w.clock.now().Add(time.Hour), nil))
	j, err := w.Retry(ctx, c.Job().ID, alice())
	must(t, err)
	if j.State != Pending || j.Attempts != 1 || j.Reason != "" || !j.Until.IsZero() {
		t.Errorf("a waiting job: %+v", j)
	}
	must(t, w.claim().Finish(Failed, func(j *Job) { j.Class, j.Error = "not-found", "404" }))
	w.add("a")
	if _, err := w.Retry(ctx, j.ID, alice()); kindOf(err) != fault.Refused {
		t.Errorf("while another wants the same: %v", err)
	}
	must(t, w.claim().Finish(Staged, nil))
	if j, err = w.Retry(ctx, j.ID, alice()); err != nil || j.State != Pending || j.Error != "" {
		t.Errorf("a failed job: %+v, %v", j, err)
	}
}

func TestReleaseCountsAttempts(t *testing.T) {
	w := newWorld(t)
	id := w.add("a").ID
	for _, c := range []struct {
		reason Reason
		want   int
	}{{"", 0}, {Window, 0}, {Retry, 1}, {RateLimit, 1}, {Disk, 1}, {Retry, 2}, {"", 2}} {
		must(t, w.claim().Release(c.reason, w.clock.now(), nil))
		if j := w.get(id); j.Attempts != c.want {
			t.Errorf("%q: %d attempts", c.reason, j.Attempts)
		}
	}
}

func TestGetByPrefix(t *testing.T) {
	w := newWorld(t)
	twice, seen := "", map[string]bool{} // 36 names begin with 32 characters
	for _, name := range strings.Split("abcdefghijklmnopqrstuvwxyz0123456789", "") {
		id := w.add(name).ID
		if seen[id[:1]] {
			twice = id[:1]
		}
		seen[id[:1]] = true
	}
	if _, err := w.Get(twice); kindOf(err) != fault.Usage || !strings.Contains(err.Error(), "several jobs: "+twice) {
		t.Errorf("several: %v", err)
	}
	if _, err := w.Get(""); kindOf(err) != fault.Usage {
		t.Errorf("nothing: %v", err)
	}
	if _, err := w.Get("!"); kindOf(err) != fault.NotFound {
		t.Errorf("none: %v", err)
	}
	if _, err := w.Get("0000000000"); kindOf(err) != fault.NotFound {
		t.Errorf("a whole ID that is not there: %v", err)
	}
}

func TestDeny(t *testing.T) {
	w := newWorld(t)
	nonsense := "\x1b[31mnonsense" + strings.Repeat("x", 5000)
	j, err := w.Deny(ctx, Request{Want: Want{Reference: nonsense}, By: alice()}, "no such")
	must(t, err)
	got := w.get(j.ID)
	if got.State != Denied || got.Error != "no such" || strings.Contains(got.Reference, "\x1b") {
		t.Errorf("it is %+v", got)
	}
}

func TestSweep(t *testing.T) {
	w := newWorld(t)
	w.add("staged")
	must(t, w.claim().Finish(Staged, nil))
	w.add("failed")
	must(t, w.claim().Finish(Failed, nil))
	w.add("pending")
	for _, c := range []struct {
		after time.Duration
		gone  int
	}{{KeptDone, 0}, {time.Second, 1}, {KeptFailed - KeptDone - time.Second, 0}, {time.Second, 1}, {KeptFailed, 0}} {
		w.clock.move(c.after)
		n, err := w.Sweep(ctx)
		must(t, err)
		if n != c.gone {
			t.Errorf("after %v %d are gone", c.after, n)
		}
	}
	if got := w.states(); len(got) != 1 || got["pending"] != Pending {
		t.Errorf("left are %v", got)
	}
}

// Many runners, each with its own Queue, take each job once, while others add and look.
func TestManyRunners(t *testing.T) {
	const jobs, runners = 24, 5
	w := newWorld(t)
	var names []Request
	for i := range jobs {
		names = append(names, want(string(rune('A'+i%26))+string(rune('a'+i/26))))
	}
	var taken sync.Map
	var done atomic.Int32
	var all sync.WaitGroup
	all.Go(func() {
		q := w.again()
		for _, r := range names {
			if _, _, err := q.Add(ctx, r); err != nil {
				t.Error(err)
			}
		}
	})
	for range runners {
		all.Go(func() {
			q := w.again()
			for int(done.Load()) < jobs && !t.Failed() {
				c, err := q.Claim(ctx, nil)
				if err != nil {
					t.Error(err)
					return
				}
				if c == nil {
					if _, err := q.Recover(ctx); err != nil {
						t.Error(err)
					}
					continue
				}
				if _, twice := taken.LoadOrStore(c.Job().ID, true); twice {
					t.Errorf("%s is claimed twice", c.Job().Reference)
				}
				c.Progress(1)
				if err := errorsOf(c.Update(func(j *Job) { j.Digest = "sha256:1" }), c.Finish(Staged, nil)); err != nil {
					t.Error(err)
				}
				done.Add(1)
			}
		})
	}
	all.Go(func() {
		q := w.again()
		for int(done.Load()) < jobs && !t.Failed() {
			before := int(done.Load())
			list, bad, err := q.List()
			if err != nil || len(bad) > 0 || len(list) < before {
				t.Errorf("of %d that are done %d are listed: %v, %v", before, len(list), bad, err)
			}
		}
	})
	all.Wait()
	states := w.states()
	for name, s := range states {
		if s != Staged {
			t.Errorf("%s is %s", name, s)
		}
	}
	if len(states) != jobs {
		t.Errorf("%d jobs", len(states))
	}
}

func errorsOf(list ...error) error {
	for _, err := range list {
		if err != nil {
			return err
		}
	}
	return nil
}
