package mirror

import (
	"context"
	"time"
)

// front is what a run does for others beside its jobs: it takes their requests, answers
// them, and tells receivers what happened.
type front struct {
	desk   *desk
	outbox *outbox
	stop   func()
	told   told
}

// openFront begins that. It ends with close.
func (m *Mirror) openFront(ctx context.Context) *front {
	f := &front{desk: m.newDesk(), outbox: m.newOutbox()}
	ctx, f.stop = context.WithCancel(ctx)
	f.outbox.start(ctx)
	return f
}

// attend does what is to be done at a glance. more says that requests are left. The notices
// come first: the past before the first run is told to nobody, but what is taken now is.
func (f *front) attend(ctx context.Context) (more bool) {
	if f == nil {
		return false
	}
	f.notices(ctx)
	more = f.desk.glance(ctx)
	f.notices(ctx)
	f.outbox.wakeAll()
	return more
}

// notices fills the outbox. Errors are warnings: jobs go on, and the history waits.
func (f *front) notices(ctx context.Context) {
	if err := f.outbox.feed(ctx); ctx.Err() == nil {
		f.told.warn(f.outbox.Mirror, "notices", err)
	}
}

// close ends it. Unless ctx has ended, what happened last is answered and told before, for
// as long as patience.
func (f *front) close(ctx context.Context, patience time.Duration) {
	if ctx.Err() == nil {
		if err := f.outbox.SettleAll(ctx); err != nil { // the run may have promoted
			f.outbox.warn("production: %s", err)
		}
		f.attend(ctx) // what is asked for by now waits for the next run
		f.outbox.flush(ctx, patience)
	}
	f.stop()
	f.outbox.all.Wait()
}
