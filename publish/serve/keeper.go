package serve

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"example.com/publish/publish"
)

const (
	// pollEvery is how often the keeper looks whether production was switched, beside the
	// requests.
	pollEvery = 250 * time.Millisecond
	// retryEvery is how often it tries again to build a view that could not be built.
	retryEvery = time.Second
	// waitForView is how long a request waits for the view of a new generation.
	waitForView = 2 * time.Second
)

// errNoView means that there is nothing to answer from: production does not exist yet, or
// its new view is not complete.
var errNoView = errors.New("no view of production")

// keeper has the view that is current, and replaces it after a switch. One goroutine
// builds, see keep; everything else may be called at any time.
type keeper struct {
	repo *publish.Repo
	from source
	log  *slog.Logger
	now  func() time.Time
	at   func(step string) // is called at each step, where tests stop; nil: none
	took func(result string, d time.Duration)

	current atomic.Pointer[view] // nil before the first
	idle    idleLimit            // of it
	wake    chan struct{}        // asks keep to look now

	mu      sync.Mutex
	changed chan struct{} // is closed after each attempt to build
	failure error         // of the last attempt; nil: the view is that of production
	failed  stamp         // what production was then
	tried   time.Time
	since   time.Time // when the view was last known to be that of production
}

func newKeeper(repo *publish.Repo, log *slog.Logger) *keeper {
	k := &keeper{repo: repo, log: log, now: time.Now, wake: make(chan struct{}, 1), changed: make(chan struct{}),
		took: func(string, time.Duration) {}}
	if f := repo.Follow(); f != nil {
		k.repo, k.from = f.Repo(), &inStore{follow: f, now: func() time.Time { return k.now() }}
	} else {
		k.from, k.idle = newOnDisk(repo), mostIdle()
	}
	return k
}

// keep looks for a new generation until ctx ends. Then it gives the view up.
func (k *keeper) keep(ctx context.Context) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		k.look(ctx)
		if v := k.current.Load(); v != nil {
			v.idle.sweep()
		}
		select {
		case <-ctx.Done():
			if v := k.current.Swap(nil); v != nil {
				v.release()
			}
			k.from.close()
			return
		case <-tick.C:
		case <-k.wake:
		}
	}
}

// poke asks keep to look now.
func (k *keeper) poke() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// look builds a view if production is not the one of the current view. It is called by
// one goroutine only.
func (k *keeper) look(ctx context.Context) {
	before := k.current.Load()
	now, asked, err := k.from.look(ctx)
	if !asked {
		return
	}
	same := before != nil && err == nil && now == before.stamp
	if before != nil && !same { // what it holds open may be deleted
		before.idle.keep(idleLimit{})
	}
	k.mu.Lock()
	if same {
		if k.failure != nil {
			before.idle.keep(k.idle)
		}
		k.failure, k.since = nil, k.now()
		k.mu.Unlock()
		return
	}
	// The same production that failed a moment ago is not tried with each request.
	soon := k.failure != nil && k.failed == now && k.now().Sub(k.tried) < retryEvery
	k.mu.Unlock()
	if soon {
		return
	}
	start := k.now()
	next, err := k.build(ctx, before)
	if ctx.Err() != nil {
		if next != nil {
			next.release()
		}
		return
	}
	if err == nil {
		k.from.adopted()
	}
	k.settle(next, now, err)
	result := "ok"
	if err != nil {
		result = "failed"
	}
	k.took(result, k.now().Sub(start))
	if err == nil && before != nil {
		before.release()
	}
}

// settle puts the outcome of an attempt in place, and wakes who waits for it.
func (k *keeper) settle(next *view, tried stamp, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case err == nil:
		next.idle.keep(k.idle)
		k.current.Store(next)
		k.log.Info("view", "generation", next.Generation, "files", len(next.Own), "carried", len(next.Carried))
		k.since = k.now()
	case k.failure == nil || k.failure.Error() != err.Error():
		k.log.Error("no view of production", "error", err)
	}
	k.failure, k.failed, k.tried = err, tried, k.now()
	close(k.changed)
	k.changed = make(chan struct{})
}

func (k *keeper) build(ctx context.Context, before *view) (*view, error) {
	k.step("open")
	v, st, err := k.from.open(ctx)
	if err != nil {
		return nil, err
	}
	k.step("read")
	next, err := newView(ctx, v, st, k.repo.Format(), before)
	if err == nil && next.repos != nil {
		for _, f := range next.repos.findings {
			k.log.Warn(f.Message, "generation", next.Generation, "path", f.Path, "code", f.Code)
		}
	}
	return next, err
}

func (k *keeper) step(name string) {
	if k.at != nil {
		k.at(name)
	}
}

// hold returns the current view, held for the caller; nil if there is none.
func (k *keeper) hold() *view {
	for {
		v := k.current.Load()
		if v == nil || v.acquire() {
			return v
		}
	}
}

// fresh returns the view of what production is now, held for the caller. It waits for a
// view that is being built. If none can be built, it returns the old one, as long as its
// directory still is that generation. Otherwise the error is errNoView.
func (k *keeper) fresh(ctx context.Context) (*view, error) {
	v, _, ok := k.compare()
	if ok {
		return v, nil
	}
	v.drop()
	ctx, cancel := context.WithTimeout(ctx, waitForView)
	defer cancel()
	for {
		changed := k.attempt()
		v, now, ok := k.compare()
		if ok || v != nil && k.failedAt(now) && v.Proved() == nil {
			return v, nil
		}
		none := v == nil
		v.drop()
		if none && k.failedAt(now) {
			return nil, errNoView
		}
		k.poke()
		select {
		case <-ctx.Done():
			return nil, errNoView
		case <-changed:
		}
	}
}

// attempt returns a channel that is closed after the next attempt to build a view.
func (k *keeper) attempt() <-chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.changed
}

// failedAt reports whether no view can be built of what production is now.
func (k *keeper) failedAt(now stamp) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.failure != nil && k.from.concerns(k.failed, now)
}

// compare holds the current view, and reports whether production is still that.
func (k *keeper) compare() (v *view, now stamp, same bool) {
	v = k.hold()
	now, err := k.from.known(v)
	return v, now, v != nil && err == nil && now == v.stamp
}

// live reports whether production is a view at this moment.
func (k *keeper) live(v *view) bool {
	now, err := k.from.known(v)
	return err == nil && now == v.stamp
}

// dropIdle closes the idle files of the current view. It reports whether there were any.
func (k *keeper) dropIdle() bool {
	v := k.hold()
	defer v.drop()
	return v != nil && v.idle.drop()
}

// generation is the one of the current view; 0 for none.
func (k *keeper) generation() int {
	if v := k.current.Load(); v != nil {
		return v.Generation
	}
	return 0
}

// number is generation as a header; nil for none.
func (k *keeper) number() []string {
	if v := k.current.Load(); v != nil {
		return v.number
	}
	return nil
}

// stale returns for how long the current view has not been that of production, and the
// error of the view that is missing; nil if none is.
func (k *keeper) stale() (time.Duration, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.failure == nil {
		return 0, nil
	}
	return k.now().Sub(k.since), k.failure
}
