package mirror

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"example.com/publish/stage/catalog"
)

// full lets the queue of a place have no room, while it is set: until it has been asked
// for so often, or with 0 for good.
func (p *place) full(e error, times int32) *atomic.Bool {
	full, tries := new(atomic.Bool), new(atomic.Int32)
	p.Queue.step = func(step string) error {
		if full.Load() {
			if tries.Load()+1 == times {
				full.Store(false)
			}
			return &os.PathError{Op: "write", Path: fmt.Sprint(step, tries.Add(1)), Err: e}
		}
		return nil
	}
	return full
}

// A disk that is full where the queue lies costs no job anything: its runner keeps it and
// tries again, and says so once.
func TestQueueFull(t *testing.T) {
	for _, e := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EIO} {
		p := newPlace(t, "")
		p.hub.image(app, "layer")
		full := p.full(e, 4)
		var mu sync.Mutex
		var warnings []string
		p.Warn = func(text string) {
			mu.Lock()
			defer mu.Unlock()
			warnings = append(warnings, text)
		}
		p.Told = func(j Job) {
			if j.State == Waiting { // for room
				p.clock.move(time.Hour)
			}
		}
		p.hub.before = func(context.Context, catalog.Digest) error { full.Store(true); p.hub.before = nil; return nil }
		id := p.ask(app)[0]
		sum, err := p.Run(ctx, RunOptions{Once: true, Patience: 10 * time.Hour})
		if err != nil || sum != (Summary{Staged: 1}) {
			t.Errorf("%v: %+v, %v", e, sum, err)
		}
		if j := p.job(id); j.State != Staged || j.Crashes != 0 || len(warnings) != 1 {
			t.Errorf("%v: the job is %+v, warned of %q", e, j, warnings)
		}
	}
}

// A runner that has to end while the disk is full leaves its job to the next one, and
// that is no crash.
func TestQueueFullForGood(t *testing.T) {
	for _, signal := range []bool{false, true} {
		p := newPlace(t, "")
		p.hub.image(app, "layer")
		full := p.full(syscall.ENOSPC, 0)
		id := p.ask(app)[0]
		opt := RunOptions{Once: !signal}
		for range maxCrashes {
			inner, stop := context.WithCancel(ctx)
			p.Warn = func(string) {
				if signal {
					stop()
				}
			}
			p.hub.before = func(context.Context, catalog.Digest) error { full.Store(true); p.hub.before = nil; return nil }
			if _, err := p.Run(inner, opt); !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("signal %t: %v", signal, err)
			}
			if j := p.job(id); j.State != Running || p.Queue.Held(id) {
				t.Fatalf("signal %t: the job is %+v", signal, j)
			}
			full.Store(false)
			back, err := p.Queue.Recover(ctx)
			if must(t, err); len(back) != 1 || back[0].Crashes != 0 || back[0].State != Pending {
				t.Errorf("signal %t: %+v", signal, back)
			}
			stop()
			for _, have := range []string{dir(p.Repo, "content"), filepath.Join(p.Repo.Stage.Dir, "hub.example.com")} {
				must(t, os.RemoveAll(have)) // so that it is fetched again
			}
		}
		p.Warn = func(text string) { t.Error(text) }
		p.once()
		if j := p.job(id); j.State != Staged {
			t.Errorf("signal %t: then %+v", signal, j)
		}
	}
}

// What can only be repaired is no reason to wait.
func TestKeepAtEnds(t *testing.T) {
	p := newPlace(t, "")
	warned := 0
	p.Warn = func(string) { warned++ }
	r := &runner{Mirror: p.Mirror, opt: RunOptions{Once: true, Patience: time.Hour}}
	broken := errors.New("broken")
	if err := r.keepAt(ctx, "x", func() error { return broken }); !errors.Is(err, broken) || warned != 1 {
		t.Errorf("%v, %d warnings", err, warned)
	}
	must(t, r.keepAt(ctx, "x", func() error { return nil }))
	ended, stop := context.WithCancel(ctx)
	stop()
	if err := r.keepAt(ended, "x", func() error { return ended.Err() }); !errors.Is(err, context.Canceled) || warned != 1 {
		t.Errorf("a signal: %v, %d warnings", err, warned)
	}
	r.told.warn(p.Mirror, "x", broken)
	if r.told.warn(p.Mirror, "x", broken); warned != 2 {
		t.Errorf("what comes again is warned of %d times", warned)
	}
	r.told.problems(p.Mirror, []Problem{{"a", broken}, {"b", broken}})
	if r.told.problems(p.Mirror, []Problem{{"a", broken}, {"b", broken}}); warned != 4 {
		t.Errorf("damaged files are warned of %d times", warned-2)
	}
}

// A job whose end was written counts as that, also if what comes after it failed at first.
func TestQueueFullAfterEnd(t *testing.T) {
	p := newPlace(t, "")
	p.hub.image(app, "layer")
	p.hub.before = func(context.Context, catalog.Digest) error {
		return catalog.Failed(catalog.Unauthorized, "hub.example.com", "no")
	}
	failed := new(atomic.Bool)
	p.Queue.step = func(step string) error {
		if step == "remove running" && !failed.Swap(true) {
			return syscall.ENOSPC
		}
		return nil
	}
	p.Warn = func(string) {}
	p.ask(app)
	sum, err := p.Run(ctx, RunOptions{Once: true, Patience: time.Hour})
	if last := p.told[len(p.told)-1]; err != nil || sum != (Summary{Failed: 1}) || last != app+" failed" {
		t.Errorf("%+v, %v; told last: %s", sum, err, last)
	}
}

// A run that does not end by itself removes what is old meanwhile, and a signal is no
// warning.
func TestRunTidies(t *testing.T) {
	p := newPlace(t, "")
	p.hub.image(app, "layer")
	p.ask(app)
	inner, stop := context.WithCancel(ctx)
	defer stop()
	end := make(chan error)
	go func() {
		_, err := p.Run(inner, RunOptions{})
		end <- err
	}()
	for p.states()[app] != "staged" {
		time.Sleep(time.Millisecond)
	}
	p.clock.move(KeptDone + time.Hour)
	for len(p.states()) > 0 {
		time.Sleep(10 * time.Millisecond)
	}
	stop()
	must(t, <-end)
}

// Between two glances jobs are handed out without a look at all of the queue, and before a
// run ends there is one.
func TestRunLooksSeldom(t *testing.T) {
	const other = "hub.example.com/acme/other:v1"
	p := newPlace(t, "")
	p.hub.image(app, "layer")
	p.hub.image(other, "other layer")
	p.ask(app)
	c, err := p.Queue.Claim(ctx, nil)
	must(t, err)
	c.die()
	p.ask(other)
	r := &runner{Mirror: p.Mirror, opt: RunOptions{Once: true}, tidied: p.Now(), prepared: time.Now().Add(time.Hour)}
	var all sync.WaitGroup
	must(t, r.loop(ctx, make(chan struct{}, 1), make(chan struct{}, 1), &all))
	all.Wait()
	want := []string{other + " running", other + " staged", app + " pending", app + " running", app + " staged"}
	if !slices.Equal(p.told, want) {
		t.Errorf("told %q", p.told)
	}
}

// The summary has jobs, however often they were postponed.
func TestSummaryCountsJobs(t *testing.T) {
	const other = "hub.example.com/acme/other:v1"
	p := newPlace(t, "mirror: {jobs: 1, retry: {times: 5}}")
	p.hub.image(app, "layer")
	p.hub.image(other, "other layer")
	fails := map[string]int{digestOf("layer").Hex: 3, digestOf("other layer").Hex: 1 << 30}
	p.hub.before = func(_ context.Context, d catalog.Digest) error {
		if fails[d.Hex]--; fails[d.Hex] >= 0 {
			return &catalog.RemoteError{Class: catalog.Unreachable, Again: true, Err: errors.New("cut")}
		}
		return nil
	}
	waits := 0
	told := p.Told
	p.Told = func(j Job) {
		if told(j); j.State == Waiting && j.Reference == app {
			waits++
			p.clock.move(time.Hour)
		}
	}
	p.ask(app)
	p.ask(other)
	sum, err := p.Run(ctx, RunOptions{Once: true})
	if err != nil || sum != (Summary{Staged: 1, Postponed: 1}) || waits != 3 {
		t.Errorf("%+v after %d waits, %v", sum, waits, err)
	}
	p.clock.move(time.Hour)
	p.Told = func(j Job) { p.clock.move(time.Hour) }
	if sum, err = p.Run(ctx, RunOptions{Once: true}); err != nil || sum != (Summary{Failed: 1}) {
		t.Errorf("%+v, %v", sum, err)
	}
}

// Damaged files of the queue are warned of, each once.
func TestRunWarnsOfDamage(t *testing.T) {
	p := newPlace(t, "")
	p.hub.image(app, "layer")
	bad := p.ask("hub.example.com/acme/bad:v1")[0]
	must(t, os.WriteFile(p.Queue.file(pendingIn, bad), []byte("{"), 0o644))
	must(t, os.WriteFile(p.Queue.path("done", "notes.txt"), nil, 0o644))
	n := 0
	p.hub.before = func(context.Context, catalog.Digest) error {
		if n++; n == 1 {
			return &catalog.RemoteError{Class: catalog.Unreachable, Again: true, Err: errors.New("cut")}
		}
		return nil
	}
	var mu sync.Mutex
	var warnings []string
	p.Warn = func(text string) { mu.Lock(); warnings = append(warnings, text); mu.Unlock() }
	p.Told = func(j Job) { p.clock.move(time.Minute) }
	p.ask(app)
	sum, err := p.Run(ctx, RunOptions{Once: true})
	if err != nil || sum.Staged != 1 {
		t.Errorf("%+v, %v", sum, err)
	}
	slices.Sort(warnings)
	want := []string{p.Queue.path("done", "notes.txt") + ": does not belong here",
		p.Queue.file(pendingIn, bad) + ": is no job: unexpected end of JSON input"}
	if fmt.Sprint(warnings) != fmt.Sprint(want) {
		t.Errorf("warned of %q, not of %q", warnings, want)
	}
}

// Who looks sees which jobs have lost their runner, and which images left staging.
func TestSee(t *testing.T) {
	const second = "hub.example.com/acme/app:v2"
	p := newPlace(t, "")
	p.hub.image(app, "layer")
	p.hub.image(second, "layer 2")
	see := func(id string) Seen {
		t.Helper()
		seen, err := p.See(ctx, p.job(id))
		must(t, err)
		return seen[0]
	}
	one, two := p.ask(app)[0], p.ask(second)[0]
	p.once()
	if s := see(one); s.State != Staged || s.Gone {
		t.Errorf("it is staged as %+v", s)
	}
	p.promote()
	if s := see(one); s.State != Published || s.Address == "" {
		t.Errorf("it is published as %+v", s)
	}
	must(t, p.SettleAll(ctx))
	third := "hub.example.com/acme/app:v3"
	p.hub.image(third, "layer 3")
	three := p.ask(third)[0]
	p.once()
	_, _, err := p.Repo.Reset(ctx)
	must(t, err)
	if s := see(three); s.State != Staged || !s.Gone {
		t.Errorf("what left staging is %+v", s)
	}
	all, err := p.See(ctx, p.job(two), p.job(three), p.job(one))
	if must(t, err); len(all) != 3 || all[0].ID != two || all[0].State != Published || !all[1].Gone || all[2].Gone {
		t.Errorf("together they are %+v", all)
	}
	four := p.ask("hub.example.com/acme/app:v4")[0]
	c, err := p.Queue.Claim(ctx, nil)
	must(t, err)
	if s := see(four); s.State != Running || s.Orphaned {
		t.Errorf("it runs as %+v", s)
	}
	c.die()
	if s := see(four); s.State != Running || !s.Orphaned {
		t.Errorf("without its runner it is %+v", s)
	}
}

// SettleAll looks again after a promote, and after a job was staged, and not otherwise.
func TestSettleAllIsCheap(t *testing.T) {
	p := newPlace(t, "")
	p.hub.image(app, "layer")
	id := p.ask(app)[0]
	p.once()
	long := time.Now().Add(-time.Hour)
	rest := func() { // as after a while
		must(t, os.Chtimes(p.Queue.path("done"), long, long))
	}
	rest()
	must(t, p.SettleAll(ctx))
	must(t, os.Rename(p.Queue.file(doneIn, id), p.Queue.path("hidden")))
	rest()
	p.promote()
	must(t, p.SettleAll(ctx)) // finds nothing
	must(t, os.Rename(p.Queue.path("hidden"), p.Queue.file(doneIn, id)))
	rest()
	must(t, p.SettleAll(ctx)) // need not look
	if j := p.job(id); j.State != Staged {
		t.Error("it looks though nothing changed")
	}
	must(t, os.Chtimes(p.Queue.path("done"), time.Now(), time.Now()))
	must(t, p.SettleAll(ctx))
	if j := p.job(id); j.State != Published {
		t.Errorf("the job is %s", j.State)
	}
	const second = "hub.example.com/acme/app:v2"
	p.hub.image(second, "layer 2")
	id = p.ask(second)[0]
	p.once()
	rest()
	must(t, p.SettleAll(ctx))
	p.promote() // alone
	must(t, p.SettleAll(ctx))
	if j := p.job(id); j.State != Published {
		t.Errorf("after a promote the job is %s", j.State)
	}
}

// Of jobs that production lacked, none is looked at again before there is another production.
func TestSettleAllLooksOnce(t *testing.T) {
	p := newPlace(t, "")
	p.hub.image(app, "layer")
	p.ask(app)
	p.once()
	p.promote()
	must(t, p.SettleAll(ctx))
	other := p.open(p.Repo.Dir)
	id := p.ask(app)[0]
	c, err := other.Queue.Claim(ctx, nil)
	must(t, err)
	digest := p.staged(app)
	must(t, c.Finish(Staged, func(j *Job) { j.Digest = digest }))
	p.settledFor.waiting[id] = true
	must(t, p.SettleAll(ctx))
	if j := p.job(id); j.State != Staged || !p.settledFor.waiting[id] {
		t.Errorf("it is looked at again: %s", j.State)
	}
	const second = "hub.example.com/acme/app:v2"
	p.hub.image(second, "layer 2")
	p.ask(second)
	_, err = other.Run(ctx, RunOptions{Once: true})
	must(t, err)
	p.promote()
	must(t, p.SettleAll(ctx))
	if j := p.job(id); j.State != Published || len(p.settledFor.waiting) > 0 {
		t.Errorf("after a promote it is %s; %v wait", j.State, p.settledFor.waiting)
	}
}

// While a job runs, this process and others see how much of it is done.
func TestWorking(t *testing.T) {
	p := newPlace(t, "")
	layer := string(bytesOf(5000))
	p.hub.image(app, layer)
	id := p.ask(app)[0]
	seen := 0
	p.hub.before = func(_ context.Context, d catalog.Digest) error {
		if d != digestOf(layer) {
			return nil
		}
		seen++
		for who, j := range map[string]Job{"this process": p.Working()[0], "another": p.job(id)} {
			if j.ID != id || j.BytesTotal < 5000 || j.BytesDone > j.BytesTotal-5000 || j.Phase != Copying {
				t.Errorf("%s sees %+v", who, j)
			}
		}
		return nil
	}
	p.once()
	if seen != 1 || len(p.Working()) > 0 {
		t.Errorf("looked %d times; then %v is at work", seen, p.Working())
	}
	if j := p.job(id); j.BytesTotal < 5000 || j.BytesDone != j.BytesTotal {
		t.Errorf("in the end it is %+v", j)
	}
}

// Several runners see a promote at once: each job is published once.
func TestSettleAllOnce(t *testing.T) {
	p := newPlace(t, "")
	var names []string
	for i := range 8 {
		names = append(names, fmt.Sprintf("hub.example.com/acme/app%d:v1", i))
		p.hub.image(names[i], "layer")
	}
	p.ask(names...)
	p.once()
	p.promote()
	var all sync.WaitGroup
	for range 4 {
		m := p.open(p.Repo.Dir)
		all.Go(func() {
			if err := m.SettleAll(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	count := map[string]int{}
	for e, err := range p.Queue.History("") {
		must(t, err)
		count[e.Event]++
	}
	if count[string(Published)] != len(names) || count[Amended] != 0 {
		t.Errorf("the history has %v", count)
	}
}
