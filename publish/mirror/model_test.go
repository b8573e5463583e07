package mirror

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"example.com/publish/publish"
	"example.com/publish/stage/catalog"
)

// The model test runs random sequences of what people and servers do to a mirror: jobs are
// added, run, killed, cancelled and tried again, names move, the clock jumps. After each
// of them it compares the queue and staging with a small model: which jobs there are, how
// each of them may have gone on, and that staging has nothing but whole images that a
// name stood for.

var modelTime = flag.Duration("model", 0, "run the model test for this long, not -rapid.checks sequences once")

func TestModel(t *testing.T) {
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "rapid.checks" })
	if !given && *modelTime == 0 {
		must(t, flag.Lookup("rapid.checks").Value.Set("15"))
	}
	sequences, commands := 0, 0
	defer func() { t.Logf("%d sequences, %d commands", sequences, commands) }()
	for end := time.Now().Add(*modelTime); ; {
		t.Run("", func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				sequences++
				m := &model{place: newPlace(t, ""), rt: rt, jobs: map[string]State{}, stood: map[string][]string{}}
				m.Warn = func(string) {}
				for _, name := range modelNames {
					m.move(name)
				}
				rt.Repeat(map[string]func(*rapid.T){
					"add": m.add, "run": m.run, "run, killed": m.runKilled, "runs": m.runTwice, "cancel": m.cancel,
					"retry": m.retry, "clock": m.jump, "move": func(rt *rapid.T) { m.move(m.name(rt)) }, "promote": m.publish,
					"remove": m.remove, "server": m.server,
					"": func(rt *rapid.T) { commands++; m.check(rt) },
				})
				m.end()
			})
		})
		if t.Failed() || !time.Now().Before(end) {
			return
		}
	}
}

// modelNames share a layer, so that jobs wait for one another's content.
var modelNames = []string{"hub.example.com/a/one:v1", "hub.example.com/a/two:v1", "hub.example.com/b/three:v1"}

type model struct {
	*place
	rt    *rapid.T
	jobs  map[string]State    // by ID, as they were last
	stood map[string][]string // the digests that each name ever stood for, the newest last
	moves int
	fault func() error // of the server, for a content; nil: none
}

func (m *model) name(rt *rapid.T) string { return rapid.SampledFrom(modelNames).Draw(rt, "name") }

func (m *model) job(rt *rapid.T) (id string, ok bool) {
	list := []string{}
	for id := range m.jobs {
		list = append(list, id)
	}
	if len(list) == 0 {
		return "", false
	}
	slices.SortFunc(list, func(a, b string) int { return m.place.job(a).Created.Compare(m.place.job(b).Created) })
	return rapid.SampledFrom(list).Draw(rt, "job"), true
}

// move lets a name stand for another image, which may be one that another name has.
func (m *model) move(name string) {
	m.moves++
	d := m.hub.image(name, fmt.Sprint("layer ", m.moves/2))
	m.stood[name] = append(m.stood[name], d.String())
}

func (m *model) add(rt *rapid.T) {
	added, err := m.Add(ctx, Wish{References: []string{m.name(rt)}, By: alice(),
		AcceptDrift: rapid.Bool().Draw(rt, "accept drift")})
	must(m, err)
	for _, a := range added {
		if was, ok := m.jobs[a.Job.ID]; ok != a.Existed || ok && was.Ended() {
			m.rt.Errorf("%s is added (%t), and was %q", a.Job.ID, a.Existed, was)
		}
		m.jobs[a.Job.ID] = a.Job.State
	}
}

// server lets contents fail from now on, or not any more.
func (m *model) server(rt *rapid.T) {
	m.fault = rapid.SampledFrom([]func() error{nil, nil,
		func() error {
			return &catalog.RemoteError{Class: catalog.Unreachable, Again: true, Err: errors.New("is away")}
		},
		func() error { return catalog.Failed(catalog.NotFound, "", "is gone") },
		func() error {
			return &catalog.RemoteError{Class: catalog.RateLimit, Again: true, Until: m.clock.now().Add(time.Minute),
				Err: errors.New("wants a pause")}
		},
	}).Draw(rt, "fault")
	fault := m.fault
	m.hub.mu.Lock()
	defer m.hub.mu.Unlock()
	m.hub.before = func(context.Context, catalog.Digest) error {
		if fault == nil {
			return nil
		}
		return fault()
	}
}

func (m *model) run(*rapid.T) {
	_, err := m.Run(ctx, RunOptions{Once: true})
	must(m, err)
}

// runKilled ends a run at a step of the queue: nothing after it is done.
func (m *model) runKilled(rt *rapid.T) {
	dead := m.open(m.Repo.Dir)
	dead.Warn = func(string) {}
	at, n := atomic.Int64{}, int64(rapid.IntRange(0, 60).Draw(rt, "step"))
	dead.Queue.step = func(string) error {
		if at.Add(1) > n {
			return errKilled
		}
		return nil
	}
	limited, stop := context.WithCancel(ctx)
	defer stop()
	dead.Told = func(Job) {
		if at.Load() > n {
			stop()
		}
	}
	if _, err := dead.Run(limited, RunOptions{Once: true}); err != nil && !errors.Is(err, errKilled) {
		m.rt.Errorf("a run that is killed at step %d: %v", n, err)
	}
}

// runTwice has two processes run jobs at once.
func (m *model) runTwice(*rapid.T) {
	done := make(chan error, 2)
	for range 2 {
		r := m.open(m.Repo.Dir)
		r.Warn = func(string) {}
		go func() { _, err := r.Run(ctx, RunOptions{Once: true}); done <- err }()
	}
	for range 2 {
		must(m, <-done)
	}
}

func (m *model) cancel(rt *rapid.T) {
	if id, ok := m.job(rt); ok {
		_, err := m.Queue.Cancel(ctx, id, alice())
		if late := m.jobs[id].Ended() && m.jobs[id] != Failed; late != (err != nil) {
			m.rt.Errorf("cancel of a job that was %s: %v", m.jobs[id], err)
		}
		if err == nil {
			m.jobs[id] = Cancelled
		}
	}
}

func (m *model) retry(rt *rapid.T) {
	if id, ok := m.job(rt); ok {
		if j, err := m.Queue.Retry(ctx, id, alice()); err == nil {
			m.jobs[id] = j.State
		}
	}
}

func (m *model) jump(rt *rapid.T) {
	m.clock.move(time.Duration(rapid.IntRange(-90, 300).Draw(rt, "minutes")) * time.Minute)
}

func (m *model) publish(*rapid.T) {
	_, err := m.Repo.Promote(ctx, publish.PromoteOptions{Message: "m"})
	_ = err // an empty staging is refused; check looks at the rest
}

func (m *model) remove(rt *rapid.T) {
	_, _ = m.Repo.Remove(ctx, m.name(rt)) // it need not be there
}

// check compares the mirror with the model.
func (m *model) check(*rapid.T) {
	list, bad, err := m.Queue.List()
	must(m, err)
	if len(bad) > 0 {
		m.rt.Errorf("problems: %v", bad)
	}
	now := map[string]Job{}
	for _, j := range list {
		if _, ok := now[j.ID]; ok {
			m.rt.Errorf("%s is there twice", j.ID)
		}
		now[j.ID] = j
		was, ok := m.jobs[j.ID]
		if !ok {
			m.rt.Errorf("%s came from nowhere", j.ID)
		}
		if was.Ended() && j.State != was && (was != Staged || j.State != Published) {
			m.rt.Errorf("%s was %s, and is %s", j.ID, was, j.State)
		}
		if j.Digest != "" && !slices.Contains(m.stood[j.Canonical], j.Digest) {
			m.rt.Errorf("%s is pinned to %s, for which its name never stood", j.ID, j.Digest)
		}
		if j.State == Waiting && j.Until.After(m.clock.now().Add(MaxHold+clockSlack)) {
			m.rt.Errorf("%s waits until %s, and it is %s", j.ID, j.Until, m.clock.now())
		}
		m.jobs[j.ID] = j.State
	}
	for id, was := range m.jobs {
		if _, ok := now[id]; !ok {
			m.rt.Errorf("%s is lost; it was %s", id, was)
		}
	}
	for _, name := range modelNames {
		if d := m.staged(name); d != "" && !slices.Contains(m.stood[name], d) {
			m.rt.Errorf("%s is staged as %s, for which it never stood", name, d)
		}
		if d := m.locked(name).Digest; d != "" && !slices.Contains(m.stood[name], d) {
			m.rt.Errorf("%s is locked to %s, for which it never stood", name, d)
		}
	}
	report, err := m.Repo.Validate(ctx, "staging", false)
	must(m, err)
	for _, f := range report.Findings {
		if f.Severity == catalog.Error && f.Code != "empty-tree" {
			m.rt.Errorf("staging: %+v", f)
		}
	}
}

// end lets everything come right: then every job has an end, what is locked is staged, also
// what names stand for now once that is followed, and nothing of it lies elsewhere.
func (m *model) end() {
	m.hub.before = nil
	for range 3 {
		m.clock.move(25 * time.Hour)
		m.run(nil)
	}
	m.check(nil)
	for id, s := range m.jobs {
		if !s.Ended() {
			m.rt.Errorf("%s is %s in the end", id, s)
		}
	}
	locked := map[string]string{}
	for _, name := range modelNames {
		locked[name] = m.locked(name).Digest
		m.ask(name)
	}
	m.run(nil)
	for _, name := range modelNames {
		got, want := m.staged(name), m.locked(name).Digest
		if got == "" || got != want || locked[name] != "" && want != locked[name] {
			m.rt.Errorf("%s is staged as %q, locked to %q, and was locked to %q", name, got, want, locked[name])
		}
	}
	m.wish(Wish{AcceptDrift: true}, modelNames...)
	m.run(nil)
	for _, name := range modelNames {
		if got := m.locked(name).Digest; got != m.staged(name) {
			m.rt.Errorf("%s is locked to %q, and staged as %q", name, got, m.staged(name))
		}
		if got, want := m.staged(name), m.stood[name]; got != want[len(want)-1] {
			m.rt.Errorf("%s is staged as %q in the end, and it stood for %q", name, got, want)
		}
	}
	for _, s := range m.jobs {
		if s == Failed {
			return // its content waits for a retry
		}
	}
	left, err := filepath.Glob(filepath.Join(m.Repo.Dir, ".publish/mirror/content/*/*"))
	if err != nil || len(left) > 0 {
		m.rt.Errorf("content is left: %v, %v", left, err)
	}
}
