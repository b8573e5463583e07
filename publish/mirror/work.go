package mirror

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// watchCancel is how often a runner asks whether its job is to stop.
const watchCancel = 200 * time.Millisecond

// errCancelled ends the work on a job that somebody does not want any more.
var errCancelled = errors.New("cancelled")

// outcome is an end of a job that is no failure.
type outcome struct {
	state State
	why   string
}

func (e *outcome) Error() string { return e.why }

// work runs a claimed job to an end, or gives it back.
func (r *runner) work(ctx context.Context, c *Claimed) {
	defer r.working(c)()
	r.tell(c.Job())
	inner, stop := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			timer := time.NewTimer(watchCancel)
			select {
			case <-inner.Done():
				timer.Stop()
				return
			case <-timer.C:
			}
			if c.Cancelled() {
				stop(errCancelled)
				return
			}
		}
	}()
	err := r.bring(inner, c)
	cause := context.Cause(inner)
	stop(nil)
	<-done
	if err != nil && errors.Is(cause, errCancelled) {
		err = errCancelled
	}
	// When ctx has ended, it is tried once.
	worked := err
	err = r.keepAt(ctx, "the queue cannot be written; job "+c.Job().ID+" waits for that",
		func() error { return r.settle(ctx, c, worked) })
	if err != nil {
		c.Abandon() // Recover finds it
		r.fail(fmt.Errorf("job %s: %w", c.Job().ID, err))
		return
	}
	r.count(c.Job())
	r.tell(c.Job())
}
