package mirror

import (
	"context"
	"errors"
	"sync"

	"example.com/publish/publish/fault"
)

// fanning brings targets forward after promotes, beside the jobs: that may take hours, and
// jobs and those who ask for images do not wait for it. What is promoted meanwhile is
// brought by the next round, which begins at once.
type fanning struct {
	all *sync.WaitGroup // of the run

	mu    sync.Mutex
	busy  bool
	again bool
}

// fan begins a round.
func (r *runner) fan(ctx context.Context, switched bool) {
	if r.Targets == nil || ctx.Err() != nil {
		return
	}
	f := &r.fanning
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.busy {
		f.again = f.again || switched
		return
	}
	f.busy = true
	f.all.Go(func() {
		for more := true; more; switched = true {
			r.fanned(ctx, r.Targets(ctx, switched))
			f.mu.Lock()
			more = f.again && ctx.Err() == nil
			f.busy, f.again = more, false
			f.mu.Unlock()
		}
	})
}

// fanned notes what became of a round.
func (r *runner) fanned(ctx context.Context, err error) {
	r.mu.Lock()
	r.sum.Behind = err
	r.mu.Unlock()
	if err != nil && ctx.Err() == nil && !r.opt.Once { // else it is what the run ends with
		r.warn("%s", err)
	}
}

// switched reports whether an error is of a promote after which production is another one,
// or was for a moment.
func switched(err error) bool {
	e := new(fault.Error)
	return errors.As(err, &e) && e.Kind == fault.Switched
}
