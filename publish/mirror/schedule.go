package mirror

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"example.com/publish/publish"
	"example.com/publish/publish/fault"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/lock"
)

// Unscheduled is the event of a tick of which no jobs were made.
const Unscheduled = "unscheduled"

// maxAtOnce is how many jobs one tick may make: a queue can have so many.
const maxAtOnce = 10_000

// manySchedules is how many schedules ask their servers at once.
const manySchedules = 4

// scheduler makes jobs by the schedules of the configuration. A schedule that fails stops
// no other one.
type scheduler struct {
	*runner
	ticks ticks
	list  []schedule
	slots chan struct{}
	all   sync.WaitGroup // of ticks that are being made

	mu    sync.Mutex
	tries map[string]tried // by name
}

// tried is what became of a tick so far.
type tried struct {
	busy         bool // it is being made
	times        int
	since, until time.Time // not again before until
}

// newScheduler reads the schedules. The error is of kind Usage for one that the servers
// could never answer.
func (r *runner) newScheduler() (*scheduler, error) {
	s := &scheduler{runner: r, ticks: ticks{path: dir(r.Repo, "schedules.json"), now: r.Now},
		slots: make(chan struct{}, manySchedules), tries: map[string]tried{}}
	for _, c := range r.Config.Schedules {
		bad := func(err error) error {
			return &fault.Error{Kind: fault.Usage, Path: filepath.Join(r.Repo.Dir, publish.ConfigName),
				Fact: fmt.Sprintf("mirror.schedules: %q", c.Name), Err: err, Hint: hintOf(err)}
		}
		rule, err := c.Rule()
		if err != nil {
			return nil, bad(err)
		}
		remote, err := r.Upstream.Parse(c.From)
		if err != nil {
			return nil, bad(err)
		}
		if err := r.checkSelecting(Wish{Versions: c.Versions, Filters: c.Filters}); err != nil {
			return nil, bad(err)
		}
		if c.Tags != "" {
			if _, ok := r.Upstream.(catalog.TagLister); !ok {
				return nil, bad(errors.New("tags: its servers have none"))
			}
			if remote.Pinned != (catalog.Digest{}) {
				return nil, bad(fmt.Errorf("from: %s has a digest, and tags too", c.From))
			}
		}
		s.list = append(s.list, schedule{c, rule})
	}
	return s, nil
}

// begin settles what the file of ticks has of other schedules than there are now.
func (s *scheduler) begin(ctx context.Context) {
	if err := s.ticks.forget(ctx, s.list); err != nil && ctx.Err() == nil {
		s.warn("schedules: %s", err)
	}
}

// run makes jobs until ctx ends.
func (s *scheduler) run(ctx context.Context) {
	if len(s.list) == 0 {
		return
	}
	defer s.all.Wait()
	said := "" // the same is not said every second
	for ctx.Err() == nil {
		now := ""
		if err := s.round(ctx); err != nil && ctx.Err() == nil {
			now = err.Error()
		}
		if now != "" && now != said {
			s.warn("schedules: %s", now)
		}
		said = now
		timer := time.NewTimer(glance)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// once makes the jobs of all ticks that are due, and returns when that is done.
func (s *scheduler) once(ctx context.Context) error {
	err := s.round(ctx)
	s.all.Wait()
	return err
}

// round begins to make the jobs of ticks that are due.
func (s *scheduler) round(ctx context.Context) error {
	if len(s.list) == 0 {
		return nil
	}
	if err := s.ticks.settle(ctx, s.list); err != nil {
		return err
	}
	now, done := s.Now(), s.ticks.read()
	for _, c := range s.list {
		d, ok := done[c.key()]
		if !ok || !c.due(d, now) || !s.take(c.Name, now) {
			continue
		}
		s.all.Go(func() {
			s.slots <- struct{}{}
			t := s.tick(ctx, c)
			<-s.slots
			s.give(c.Name, t)
		})
	}
	return nil
}

// take reports whether a schedule may be tried now, and then keeps others from it.
func (s *scheduler) take(name string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tries[name]
	if until, back := reanchor(t.since, t.until, now); back {
		t.since, t.until = now, until
	}
	if t.busy || t.until.After(now) {
		s.tries[name] = t
		return false
	}
	t.busy = true
	s.tries[name] = t
	return true
}

func (s *scheduler) tried(name string) tried {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tries[name]
}

func (s *scheduler) give(name string, t tried) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t.busy = false
	s.tries[name] = t
}

// tick makes the jobs of a schedule, unless another runner does it, and notes that. It
// returns what became of it.
func (s *scheduler) tick(ctx context.Context, c schedule) tried {
	t := s.tried(c.Name)
	unlock, err := lock.Temporary(ctx, dir(s.Repo, "schedule."+c.Name+".lock"), lock.Options{Now: s.Now()})
	if held := (*lock.HeldError)(nil); errors.As(err, &held) || ctx.Err() != nil {
		return t
	}
	begun := s.Now()
	if err == nil {
		defer unlock()
		if d, ok := s.ticks.read()[c.key()]; !ok || !c.due(d, begun) {
			return tried{} // another runner did it
		}
		err = s.ask(ctx, c)
	}
	var final bool
	switch {
	case ctx.Err() != nil:
		return t
	case err == nil:
		final = true
	default:
		t, final = s.failed(ctx, c, t, err)
	}
	if final {
		if err := s.ticks.set(ctx, c, begun); err != nil {
			if ctx.Err() == nil {
				s.warn("schedule %s: %s", c.Name, err)
			}
			return s.later(t) // its jobs are asked for again, and are there then
		}
		return tried{}
	}
	return t
}

// failed says what is done about a tick that failed: it is final if nothing is.
func (s *scheduler) failed(ctx context.Context, c schedule, t tried, err error) (_ tried, final bool) {
	remote, now := new(catalog.RemoteError), s.Now()
	isRemote := errors.As(err, &remote)
	if isRemote && remote.Until.After(now) { // that is no try
		if t.until.IsZero() {
			s.warn("schedule %s: %s", c.Name, err)
		}
		return tried{times: t.times, since: now, until: remote.Until}, false
	}
	t = s.later(t)
	switch {
	case isLockFileError(err), !isRemote && passes(err): // of this side: the tick waits until that is mended
	default:
		final = isRemote && !remote.Again || errors.As(err, new(*catalog.UsageError)) || t.times >= s.Config.Retry.Times
	}
	if final || s.opt.Once {
		s.unscheduled()
	}
	switch {
	case final:
		e := Event{Event: Unscheduled, Reference: c.From, Canonical: c.From, Detail: err.Error()}.by(s.by(c))
		if err := s.Queue.Note(ctx, e); err != nil && ctx.Err() == nil {
			s.warn("schedule %s: %s", c.Name, err)
		}
		s.warn("schedule %s: no jobs were made; it is tried again at the next time of its rule: %s", c.Name, err)
	case t.times == 1:
		s.warn("schedule %s: is tried again: %s", c.Name, err)
	}
	return t, final
}

// later counts a try that failed.
func (s *scheduler) later(t tried) tried {
	now := s.Now()
	return tried{times: t.times + 1, since: now, until: now.Add(s.pause(t.times + 1))}
}

// unscheduled counts a tick without jobs, for the summary.
func (s *scheduler) unscheduled() {
	s.runner.mu.Lock()
	defer s.runner.mu.Unlock()
	s.sum.Unscheduled++
}

func (s *scheduler) by(c schedule) Requester { return Requester{Who: c.Name, Via: "schedule"} }

// ask adds the jobs of a schedule.
func (s *scheduler) ask(ctx context.Context, c schedule) error {
	remote, err := s.Upstream.Parse(c.From)
	if err != nil {
		return err
	}
	if why := s.Config.Allowed(remote.Name); why != "" { // the server need not be asked
		return s.denied(ctx, c, remote.Name, why)
	}
	names := []string{c.From}
	if c.Tags != "" {
		if names, err = s.tagged(ctx, c, remote); err != nil {
			return err
		}
		if len(names) == 0 {
			s.warn("schedule %s: no tag of %s matches %q", c.Name, remote.Name, c.Tags)
			return nil
		}
	}
	var list []Request
	for _, name := range names {
		some, err := s.Plan(Wish{References: []string{name}, Platforms: c.Platforms, Versions: c.Versions,
			Filters: c.Filters, AcceptDrift: c.Drift == publish.ScheduleFollowsDrift, By: s.by(c)})
		if e := new(fault.Error); errors.As(err, &e) && e.Kind == fault.Refused {
			if err := s.denied(ctx, c, name, e.Fact); err != nil {
				return err
			}
			continue
		} else if err != nil {
			if isLockFileError(err) { // it may be mended soon
				return err
			}
			if len(names) == 1 {
				return &catalog.UsageError{Fact: err.Error(), Hint: hintOf(err)}
			}
			s.warn("schedule %s: %s", c.Name, err) // of one tag of several
			continue
		}
		list = append(list, some...)
	}
	if len(list) == 0 {
		return nil
	}
	_, err = s.Queue.AddAll(ctx, list)
	return err
}

// tagged returns the names of a schedule that asks for tags.
func (s *scheduler) tagged(ctx context.Context, c schedule, remote catalog.Remote) ([]string, error) {
	want, err := c.Tagged()
	if err != nil {
		return nil, err
	}
	lister, ok := s.Upstream.(catalog.TagLister)
	if !ok {
		return nil, &catalog.UsageError{Fact: "its servers have no tags"}
	}
	all, err := lister.Tags(ctx, remote)
	if err != nil {
		return nil, err
	}
	var tags []string
	for _, tag := range all {
		if want.MatchString(tag) {
			tags = append(tags, tag)
		}
	}
	tags = newest(tags, c.Newest)
	if len(tags) > maxAtOnce {
		return nil, catalog.Failed(catalog.OverLimit, remote.Host, "%s: %d tags match %q, and a schedule may ask for %d",
			remote.Name, len(tags), c.Tags, maxAtOnce)
	}
	var names []string
	for _, tag := range tags {
		one, err := lister.Tagged(remote, tag)
		if err != nil {
			return nil, err
		}
		names = append(names, one.Canonical)
	}
	return names, nil
}

// denied notes that the configuration does not allow what a schedule asks for.
func (s *scheduler) denied(ctx context.Context, c schedule, name, why string) error {
	s.warn("schedule %s: %s: may not come: %s", c.Name, name, why)
	return s.Queue.Note(ctx, Event{Event: string(Denied), Reference: c.From, Canonical: name, Detail: why}.by(s.by(c)))
}

// scheduled makes the jobs of ticks that are due; without Once it goes on with that until
// the run ends, or with it ctx.
func (r *runner) scheduled(ctx context.Context, all *sync.WaitGroup) error {
	s, err := r.newScheduler()
	if err != nil {
		return err
	}
	s.begin(ctx)
	if r.opt.Once {
		if err := s.once(ctx); err != nil && ctx.Err() == nil {
			return err
		}
		return nil
	}
	all.Go(func() { s.run(ctx) })
	return nil
}

// Scheduled is when a schedule makes jobs.
type Scheduled struct {
	Name string    `json:"name"`
	From string    `json:"from"`
	Last time.Time `json:"last,omitzero"` // up to then it is done; zero: no runner has seen it yet
	Next time.Time `json:"next"`          // it makes jobs; past, if they are not made yet
}

// Schedules returns the schedules of the configuration. It takes no lock and writes nothing.
func (m *Mirror) Schedules() ([]Scheduled, error) {
	t := ticks{path: dir(m.Repo, "schedules.json"), now: m.Now}
	all, out := t.read(), []Scheduled{}
	for _, c := range m.Config.Schedules {
		rule, err := c.Rule()
		if err != nil {
			return nil, err
		}
		s := Scheduled{Name: c.Name, From: c.From, Last: all[schedule{c, rule}.key()].Last.UTC()}
		from := s.Last
		if from.IsZero() {
			from = m.Now()
		}
		next, _ := rule.Next(from)
		s.Next = next.UTC()
		out = append(out, s)
	}
	return out, nil
}
