package mirror

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/publish/publish"
	"example.com/publish/publish/fault"
	"example.com/publish/stage/catalog"
)

// Tags makes a hub list its tags, in no order; h.listing may end it.
func (h *hub) Tags(_ context.Context, r catalog.Remote) (out []string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lists++
	if h.listing != nil {
		if err := h.listing(r); err != nil {
			return nil, err
		}
	}
	for name := range h.tags {
		if tag, ok := strings.CutPrefix(name, r.Name+":"); ok {
			out = append(out, tag)
		}
	}
	return out, nil
}

func (h *hub) Tagged(r catalog.Remote, tag string) (catalog.Remote, error) {
	return h.Parse(r.Name + ":" + tag)
}

// hears collects the warnings of a mirror.
func (p *place) hears() (said func() []string) {
	var mu sync.Mutex
	var list []string
	p.Warn = func(text string) {
		mu.Lock()
		defer mu.Unlock()
		list = append(list, text)
	}
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(list)
	}
}

// events counts the lines of the queue's history.
func (p *place) counted(kind string) (n int) {
	p.Helper()
	for e, err := range p.Queue.History("") {
		must(p, err)
		if e.Event == kind {
			n++
		}
	}
	return n
}

// daily is at 18:00 UTC; the clock of the tests begins at 12:00.
const daily = `mirror: {schedules: [{name: app, from: "hub.example.com/acme/app:v1", schedule: "0 2 * * *", zone: Asia/Shanghai}]}`

// A new schedule does not fire for the past. A tick makes a job of it, and ticks that were
// missed make one together. What is asked for already is joined.
func TestSchedule(t *testing.T) {
	p := newPlace(t, daily)
	p.hub.image(app, "layer")
	if got := p.once(); len(got) > 0 {
		t.Fatalf("for the past: %v", got)
	}
	p.clock.move(6*time.Hour - time.Second)
	if got := p.once(); len(got) > 0 {
		t.Fatalf("before the tick: %v", got)
	}
	p.clock.move(time.Second)
	if got := p.once(); got[app] != "staged" {
		t.Fatalf("at the tick: %v", got)
	}
	list, _, err := p.Queue.List()
	must(t, err)
	if by := list[0].Requesters[0]; by.Who != "app" || by.Via != "schedule" {
		t.Errorf("%+v", by)
	}
	p.clock.move(time.Hour)
	p.once()
	if n := p.counted(Added); n != 1 {
		t.Errorf("%d jobs an hour later", n)
	}
	p.clock.move(5 * 24 * time.Hour) // the machine was off
	p.once()
	p.once()
	if n := p.counted(Added); n != 2 {
		t.Errorf("%d jobs after five days", n)
	}
	// The tick at 18:00 joins what alice asks for.
	p.hub.before = func(context.Context, catalog.Digest) error {
		return &catalog.RemoteError{Class: catalog.Unreachable, Again: true, Err: errors.New("down")}
	}
	p.hub.image(app, "other")
	must(t, os.Remove(p.Pins.Path())) // else nothing is fetched
	id := p.ask(app)[0]
	p.once()
	p.clock.move(24 * time.Hour)
	p.once()
	if j := p.job(id); p.counted(Joined) != 1 || len(j.Requesters) != 2 {
		t.Errorf("%d joined: %+v", p.counted(Joined), j.Requesters)
	}
}

// A kill after the jobs were added and before that was noted loses no tick, and makes no
// second job.
func TestScheduleKilled(t *testing.T) {
	p := newPlace(t, daily)
	p.hub.image(app, "layer")
	p.once()
	p.clock.move(6 * time.Hour)
	s, err := (&runner{Mirror: p.Mirror}).newScheduler()
	must(t, err)
	must(t, s.ask(ctx, s.list[0]))
	if got := p.once(); got[app] != "staged" || p.counted(Added) != 1 || p.counted(Joined) != 1 {
		t.Errorf("%v, %d added, %d joined", got, p.counted(Added), p.counted(Joined))
	}
	if p.once(); p.counted(Joined) != 1 {
		t.Error("the tick is made again")
	}
}

// A tick whose jobs cannot be added is not lost: it is noted after them.
func TestScheduleQueueFails(t *testing.T) {
	p := newPlace(t, daily)
	p.hub.image(app, "layer")
	p.once()
	p.clock.move(6 * time.Hour)
	said := p.hears()
	s, err := (&runner{Mirror: p.Mirror}).newScheduler()
	must(t, err)
	for _, step := range []string{"write history", "wrote history", "write pending"} {
		p.Queue.step = func(at string) error {
			if at == step {
				return errors.New("no space left on device")
			}
			return nil
		}
		must(t, s.once(ctx))
		p.clock.move(time.Minute)
	}
	p.Queue.step = nil
	must(t, s.once(ctx))
	if got := p.states(); got[app] != "pending" || len(said()) != 1 {
		t.Errorf("%v, %q", got, said())
	}
}

// A file of ticks that is damaged has schedules begin anew.
func TestScheduleDamaged(t *testing.T) {
	p := newPlace(t, daily)
	p.hub.image(app, "layer")
	p.once()
	for i, text := range []string{"", "{", "null", "[]", `{"x": 1}`, strings.Repeat("x", maxTicks+1)} {
		must(t, os.WriteFile(dir(p.Repo, "schedules.json"), []byte(text), 0o644))
		p.clock.move(24 * time.Hour)
		p.once()
		p.clock.move(24 * time.Hour)
		p.once()
		if n := p.counted(Added); n != i+1 {
			t.Errorf("%.20q: %d jobs", text, n)
		}
	}
}

// A rule that was changed begins anew; a schedule that is gone is forgotten.
func TestScheduleChanged(t *testing.T) {
	p := newPlace(t, daily)
	p.hub.image(app, "layer")
	p.once()
	p.clock.move(5 * time.Hour) // 17:00
	p.Config.Schedules[0].Schedule = "30 0 * * *"
	if got := p.once(); len(got) > 0 {
		t.Errorf("for the past of another rule: %v", got)
	}
	p.clock.move(24 * time.Hour)
	if got := p.once(); got[app] != "staged" {
		t.Error(got)
	}
	p.Config.Schedules = nil
	p.once()
	data, err := os.ReadFile(dir(p.Repo, "schedules.json"))
	if err != nil || strings.TrimSpace(string(data)) != "{}" {
		t.Errorf("%s %v", data, err)
	}
}

// Of tags the newest that match come, each as a job of its own.
func TestScheduleTags(t *testing.T) {
	p := newPlace(t, `mirror: {schedules: [{name: tags, from: "hub.example.com/acme/app:latest", tags: "3\\.[0-9]+", newest: 2,
  platforms: [linux/amd64], drift: follow, schedule: "0 18 * * *"}]}`)
	for _, tag := range []string{"3.9", "3.10", "3.8", "3.10-rc1", "13.11", "latest"} {
		p.hub.image("hub.example.com/acme/app:"+tag, tag)
	}
	p.once()
	p.clock.move(6 * time.Hour)
	want := map[string]string{"hub.example.com/acme/app:3.9": "staged", "hub.example.com/acme/app:3.10": "staged"}
	if got := p.once(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v", got)
	}
	list, _, err := p.Queue.List()
	must(t, err)
	if w := list[0].Want; !w.AcceptDrift || !slices.Equal(w.Platforms, []string{"linux/amd64"}) {
		t.Errorf("%+v", w)
	}
	said := p.hears()
	p.Config.Schedules[0].Tags = "4.*"
	p.clock.move(24 * time.Hour)
	p.once()
	p.once()
	if got := said(); len(got) != 1 || !strings.Contains(got[0], "no tag of hub.example.com/acme/app matches") {
		t.Errorf("%q", got)
	}
}

// A clock that was set back has no tick come twice, and no schedule stand still.
func TestScheduleClockSetBack(t *testing.T) {
	for name, c := range map[string]struct {
		rule  string
		steps []time.Duration
		added []int // after each step
	}{
		// 18:00 fires; the clock goes back to 17:10; it is 18:00 again, and the next day.
		"a little": {"0 18 * * *", []time.Duration{6*time.Hour + 10*time.Minute, -time.Hour, time.Hour, 24 * time.Hour},
			[]int{1, 1, 1, 2}},
		// It was a year ahead: the next tick may be left out, the one after that not.
		"a year": {"0 18 * * *", []time.Duration{365 * 24 * time.Hour, -365 * 24 * time.Hour, 6 * time.Hour,
			24 * time.Hour, 24 * time.Hour}, []int{1, 1, 1, 2, 3}},
		"often": {"*/10 * * * *", []time.Duration{time.Hour, -50 * time.Minute, 10 * time.Minute, 10 * time.Minute},
			[]int{1, 1, 1, 2}},
		"within the slack": {"0 18 * * *", []time.Duration{6 * time.Hour, -30 * time.Second, time.Minute, 24 * time.Hour},
			[]int{1, 1, 1, 2}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t, fmt.Sprintf(`mirror: {schedules: [{name: app, from: %q, schedule: %q}]}`, app, c.rule))
			p.hub.image(app, "layer")
			p.once()
			for i, d := range c.steps {
				p.clock.move(d)
				p.once()
				if n := p.counted(Added); n != c.added[i] {
					t.Errorf("step %d, at %s: %d jobs, want %d", i, p.clock.now(), n, c.added[i])
				}
			}
		})
	}
}

// A server that fails stops no other schedule. What may pass is tried again, later and
// later, and in the end given up until the next tick; a pause is no try.
func TestScheduleFails(t *testing.T) {
	const config = `mirror: {retry: {times: 3}, schedules: [
  {name: bad, from: "bad.example.com/acme/app:x", tags: ".*", schedule: "0 18 * * *"},
  {name: good, from: "hub.example.com/acme/app:x", tags: ".*", schedule: "0 18 * * *"}]}`
	passing := &catalog.RemoteError{Class: catalog.Unreachable, Host: "bad.example.com", Again: true, Err: errors.New("down")}
	final := catalog.Failed(catalog.NotFound, "bad.example.com", "gone")
	setup := func(t *testing.T, fail error) (p *place, said func() []string) {
		p = newPlace(t, config)
		p.hub.image(app, "layer")
		p.hub.listing = func(r catalog.Remote) error {
			if r.Host == "bad.example.com" {
				return fail
			}
			return nil
		}
		p.once()
		p.clock.move(6 * time.Hour)
		return p, p.hears()
	}
	t.Run("for good", func(t *testing.T) {
		p, said := setup(t, final)
		sum, err := p.Run(ctx, RunOptions{Once: true})
		must(t, err)
		if got := p.states(); got[app] != "staged" || sum.Unscheduled != 1 {
			t.Errorf("%v, %+v", got, sum)
		}
		p.once()
		if got := said(); len(got) != 1 || !strings.Contains(got[0], "schedule bad: no jobs were made") || p.hub.lists != 2 ||
			p.counted(Unscheduled) != 1 {
			t.Errorf("%q, %d lists", got, p.hub.lists)
		}
		p.clock.move(24 * time.Hour)
		if p.once(); p.counted(Unscheduled) != 2 {
			t.Error("the next tick is not tried")
		}
	})
	t.Run("for now", func(t *testing.T) { // a run each time: each tries again
		p, said := setup(t, passing)
		for range 3 {
			p.once()
		}
		if len(said()) != 3 || p.hub.lists != 4 || p.counted(Unscheduled) != 0 {
			t.Errorf("%q, %d lists", said(), p.hub.lists)
		}
		p.hub.listing = nil
		p.hub.image("bad.example.com/acme/app:v1", "another layer")
		if got := p.once(); got["bad.example.com/acme/app:v1"] != "staged" {
			t.Error(got)
		}
	})
	t.Run("in one run", func(t *testing.T) {
		p, said := setup(t, passing)
		s, err := (&runner{Mirror: p.Mirror}).newScheduler()
		must(t, err)
		lists := []int{}
		for range 12 {
			must(t, s.once(ctx))
			lists = append(lists, p.hub.lists-1)
			p.clock.move(500 * time.Millisecond) // the pauses are at least 1 s, 2 s
		}
		if p.hub.lists-1 != 3 || lists[1] != 1 || p.counted(Unscheduled) != 1 || len(said()) != 2 {
			t.Errorf("%d lists, %q", p.hub.lists-1, said())
		}
	})
	t.Run("a pause", func(t *testing.T) {
		until := newClock().now().Add(8 * time.Hour)
		p, said := setup(t, nil)
		p.hub.listing = func(r catalog.Remote) error {
			if r.Host != "bad.example.com" || !p.clock.now().Before(until) {
				return nil
			}
			return &catalog.RemoteError{Class: catalog.RateLimit, Host: r.Host, Again: true, Until: until,
				Err: errors.New("too many requests")}
		}
		s, err := (&runner{Mirror: p.Mirror}).newScheduler()
		must(t, err)
		for range 7 {
			must(t, s.once(ctx))
			p.clock.move(20 * time.Minute)
		}
		// Once more at 20:00, when no tag matches.
		if got := said(); p.hub.lists != 2+1 || len(got) != 2 || !strings.Contains(got[1], "no tag") {
			t.Errorf("%d lists, %q", p.hub.lists, said())
		}
	})
}

// What publish.yaml does not allow is noted and told once a tick; nobody asks the server.
func TestScheduleDenied(t *testing.T) {
	p := newPlace(t, `mirror: {deny: ["hub.example.com/**"], schedules: [
  {name: denied, from: "hub.example.com/acme/app:x", tags: ".*", schedule: "0 18 * * *"}]}`)
	p.hub.image(app, "layer")
	said := p.hears()
	p.once()
	for range 2 {
		p.clock.move(24 * time.Hour)
		p.once()
		p.once()
	}
	if got := said(); len(got) != 2 || !strings.Contains(got[0], `schedule denied: hub.example.com/acme/app: may not come`) ||
		p.counted(string(Denied)) != 2 || p.hub.lists != 0 || len(p.states()) > 0 {
		t.Errorf("%q, %d events, %d lists", got, p.counted(string(Denied)), p.hub.lists)
	}
}

// Of several runners one makes the jobs of a tick.
func TestScheduleRunners(t *testing.T) {
	p := newPlace(t, `mirror: {schedules: [{name: tags, from: "hub.example.com/acme/app:x", tags: ".*", schedule: "0 18 * * *"}]}`)
	p.hub.image(app, "layer")
	p.once()
	p.clock.move(6 * time.Hour)
	var all sync.WaitGroup
	for range 3 {
		m := p.open(p.Repo.Dir)
		all.Go(func() {
			if _, err := m.Run(ctx, RunOptions{Once: true}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if p.hub.lists != 1 || p.counted(Added) != 1 || p.counted(Joined) != 0 {
		t.Errorf("%d lists, %d jobs, %d joined", p.hub.lists, p.counted(Added), p.counted(Joined))
	}
}

// A runner that goes on makes jobs when it is time.
func TestScheduleGoesOn(t *testing.T) {
	p := newPlace(t, daily)
	p.hub.image(app, "layer")
	inner, stop := context.WithCancel(ctx)
	defer stop()
	end := make(chan error)
	go func() {
		_, err := p.Run(inner, RunOptions{})
		end <- err
	}()
	for { // until the schedule is known
		if _, err := os.Stat(dir(p.Repo, "schedules.json")); err == nil {
			break
		}
		time.Sleep(time.Millisecond)
	}
	p.clock.move(6 * time.Hour)
	for p.states()[app] != "staged" {
		time.Sleep(10 * time.Millisecond)
	}
	stop()
	must(t, <-end)
}

// What no server could answer is an error of the configuration.
func TestScheduleMisused(t *testing.T) {
	for _, c := range []publish.MirrorSchedule{
		{Name: "x", From: "no tag", Schedule: "0 0 * * *"},
		{Name: "x", From: app, Schedule: "0 0 31 2 *"},
	} {
		p := newPlace(t, "")
		p.Config.Schedules = []publish.MirrorSchedule{c}
		_, err := p.Run(ctx, RunOptions{Once: true})
		if kindOf(err) != fault.Usage || !strings.HasPrefix(err.Error(), filepath.Join(p.Repo.Dir, "publish.yaml")+`: mirror.schedules: "x": `) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// A lock file that is damaged costs no tick, however long it takes to mend it.
func TestScheduleWaitsForLockFile(t *testing.T) {
	p := newPlace(t, daily)
	p.hub.image(app, "layer")
	p.once()
	p.clock.move(6 * time.Hour)
	p.hears()
	s, err := (&runner{Mirror: p.Mirror}).newScheduler()
	must(t, err)
	must(t, os.WriteFile(p.Pins.Path(), []byte("<<<<<<< HEAD\n"), 0o644))
	for range 2 * p.Config.Retry.Times {
		must(t, s.once(ctx))
		p.clock.move(10 * time.Minute)
	}
	must(t, os.Remove(p.Pins.Path()))
	must(t, s.once(ctx))
	if got := p.once(); got[app] != "staged" || p.counted(Unscheduled) != 0 {
		t.Errorf("%v, given up %d times", got, p.counted(Unscheduled))
	}
}
