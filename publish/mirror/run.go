package mirror

import (
	"context"
	"errors"
	"sync"
	"time"

	"example.com/publish/publish/timetable"
	"example.com/publish/stage/catalog"
)

// RunOptions say how jobs are run.
type RunOptions struct {
	Once     bool          // end when there is nothing to do
	Jobs     int           // at once; 0: as configured
	Patience time.Duration // with Once: how long to wait for what becomes due
	Now      bool          // large images do not wait for their window
}

// Summary counts the jobs of a run, each once: by its end, or as postponed.
type Summary struct {
	Staged    int `json:"staged"`
	Failed    int `json:"failed"`
	Other     int `json:"other"`     // cancelled, superseded, denied
	Postponed int `json:"postponed"` // waits for a time, or was interrupted
	// Unscheduled counts schedules that failed to make jobs.
	Unscheduled int `json:"unscheduled"`
	// Generation is what production became, if the run promoted; else 0.
	Generation int `json:"generation"`
	// Unpromoted is why what is staged was not promoted, or what went wrong after it was:
	// of the last try of a run with Once.
	Unpromoted error `json:"-"`
	// Behind is why targets were not brought forward, by the last try: see Mirror.Targets.
	Behind error `json:"-"`
}

// glance is how often a runner looks for new jobs, and for jobs that others left.
const glance = time.Second

// runner is one call of Run.
type runner struct {
	*Mirror
	opt   RunOptions
	front *front

	idle time.Duration // how long nothing ran since a job ended; used by loop alone
	ends int           // of jobs that ended, as loop has seen them

	window  timetable.Window // of large images
	windows bool             // they wait for it

	promoter promoter // used by loop alone
	fanning  fanning

	told      told
	inspected time.Time // see inspect; used by loop alone
	prepared  time.Time // when prepare was called last; used by loop alone
	tidied    time.Time // when tidy was called last, by the clock; used by loop alone

	mu      sync.Mutex
	sum     tally
	ended   int   // how often a job did
	trouble error // the first that ends the run
}

// Run runs jobs until ctx ends, or with Once until there is nothing to do. Any number of
// processes may run jobs of one queue. When ctx ends, jobs go back to the queue, with what
// they have fetched.
func (m *Mirror) Run(ctx context.Context, opt RunOptions) (Summary, error) {
	if opt.Jobs == 0 {
		opt.Jobs = m.Config.Jobs
	}
	r := &runner{Mirror: m, opt: opt, tidied: m.Now()}
	r.window, r.windows = m.Config.Large.Hours()
	r.windows = r.windows && !opt.Now
	slots := make(chan struct{}, opt.Jobs)
	wake := make(chan struct{}, 1)
	var all sync.WaitGroup
	r.fanning.all = &all
	r.front = m.openFront(ctx)
	inner, stop := context.WithCancel(ctx)
	err := r.scheduled(inner, &all)
	if err == nil {
		err = r.loop(ctx, slots, wake, &all)
	}
	stop()
	all.Wait()
	if !opt.Once {
		opt.Patience = 0
	}
	r.front.close(ctx, opt.Patience)
	if err == nil && ctx.Err() == nil {
		err = m.tidy(ctx)
	}
	if r.trouble != nil {
		err = r.trouble
	}
	return r.sum.summary(), err
}

// loop hands out jobs.
func (r *runner) loop(ctx context.Context, slots, wake chan struct{}, all *sync.WaitGroup) error {
	more := false
	for ctx.Err() == nil && r.failed() == nil {
		// Not after each job that ends: it takes longer the more jobs there are.
		looked := more || time.Since(r.prepared) >= glance
		if looked {
			if err := r.prepare(ctx); err != nil {
				return unlessEnded(ctx, err)
			}
			more = r.front.attend(ctx)
			r.prepared = time.Now()
		}
		for len(slots) < cap(slots) && r.unlocked() {
			var c *Claimed
			err := r.keepAt(ctx, "the queue cannot be written", func() (err error) {
				c, err = r.Queue.ClaimEarly(ctx, r.mayRun(), r.early)
				return err
			})
			if err != nil {
				return unlessEnded(ctx, err)
			}
			if c == nil {
				break
			}
			slots <- struct{}{}
			all.Go(func() {
				r.work(ctx, c)
				<-slots
				select {
				case wake <- struct{}{}:
				default:
				}
			})
		}
		if len(slots) == 0 && r.opt.Once && !more {
			if !looked { // nothing is left to do, unless it came since
				r.prepared = time.Time{}
				continue
			}
			due, err := r.soon()
			if err != nil {
				return err
			}
			if !due {
				r.drained(ctx)
				return nil
			}
		} else if len(slots) == 0 && !more {
			r.drained(ctx)
		}
		waits, begun := len(slots) == 0, time.Now()
		timer := time.NewTimer(glance)
		if more {
			timer.Reset(0)
		}
		select {
		case <-ctx.Done():
		case <-wake:
		case <-timer.C:
		}
		timer.Stop()
		if waits {
			r.idle += time.Since(begun)
		}
	}
	return nil
}

// prepare does what is to be done before jobs are handed out.
func (r *runner) prepare(ctx context.Context) error {
	err := r.keepAt(ctx, "the queue cannot be written", func() error {
		back, err := r.Queue.Recover(ctx)
		for _, j := range back {
			r.tell(j)
			if j.State == Failed {
				r.count(j)
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	r.told.warn(r.Mirror, "production", unlessEnded(ctx, r.SettleAll(ctx)))
	r.told.warn(r.Mirror, "the queue cannot be read", r.inspect())
	// A run without Once ends by a signal, and must be quick then.
	if now := r.Now(); !r.opt.Once && now.Sub(r.tidied).Abs() >= tidyEvery {
		r.tidied = now
		r.told.warn(r.Mirror, "what is old cannot be removed", r.tidy(ctx))
	}
	return nil
}

// tidyEvery is how often a runner removes what is old, beside the end of a run with Once.
const tidyEvery = time.Hour

// soon reports whether there is a job that becomes due within the patience, or one that
// another process runs: it may come back. The patience is for all that is waited since a
// job ended: a server may ask for one short pause after the other, forever.
func (r *runner) soon() (bool, error) {
	list, _, err := r.Queue.List(Pending, Waiting, Running)
	if err != nil {
		return false, err
	}
	r.mu.Lock()
	n := r.ended
	r.mu.Unlock()
	if n != r.ends {
		r.ends, r.idle = n, 0
	}
	end, held := r.Now().Add(r.opt.Patience-r.idle), r.held()
	for _, j := range list {
		at := j.Until
		if j.State == Running {
			return true, nil
		}
		if r.early(j) {
			at = time.Time{}
		}
		if until, ok := held(j); ok && until.After(at) {
			at = until
		}
		if !at.After(end) {
			return true, nil
		}
	}
	return false, nil
}

// host returns the server of a job.
func (m *Mirror) host(j Job) string {
	remote, err := m.Upstream.Parse(j.Canonical)
	if err != nil {
		return ""
	}
	return remote.Host
}

// held returns a function that says until when no server of a job's registry may be asked;
// ok is false if one may be asked now. It goes by the hosts that want a pause now: many jobs
// are looked at with one look at them.
func (m *Mirror) held() func(Job) (until time.Time, ok bool) {
	all := m.Hosts.All()
	return func(j Job) (time.Time, bool) {
		if len(all) == 0 {
			return time.Time{}, false
		}
		return heldOf(m.host(j), all, m.Config)
	}
}

// mayRun returns a function that reports whether the host of a job may be asked now.
func (r *runner) mayRun() func(Job) bool {
	held := r.held()
	return func(j Job) bool {
		if j.Kind != r.Kind {
			return false
		}
		_, wait := held(j)
		return !wait
	}
}

func (r *runner) failed() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.trouble
}

// fail ends the run: the queue cannot be written, so nothing more can be done.
func (r *runner) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.trouble == nil {
		r.trouble = err
	}
}

func (r *runner) count(j Job) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sum.count(j) {
		r.ended++
	}
}

// tidy removes content that no job needs, and jobs that ended long ago.
func (m *Mirror) tidy(ctx context.Context) error {
	before := time.Now()                                            // as the file system has times
	left, _, err := m.Queue.List(Pending, Waiting, Running, Failed) // a failed one may be tried again
	if err != nil {
		return err
	}
	if len(left) > 0 { // else only what comes for a new job is younger
		before = before.Add(-keptContent)
	}
	swept, err := SweepContent(ctx, dir(m.Repo, "content"), func(catalog.Digest) bool { return false }, before)
	if err != nil {
		m.warn("%s", err)
	}
	for _, p := range swept.Left {
		m.warn("%s", p)
	}
	if _, err = m.Queue.Sweep(ctx); err == nil {
		err = m.sweepSelected()
	}
	return unlessEnded(ctx, err)
}

// keptContent is how long content waits for a job that fetches it again, while there are
// jobs that have not ended.
const keptContent = 7 * 24 * time.Hour

func unlessEnded(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}
