package mirror

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"example.com/publish/publish"
	"example.com/publish/publish/fault"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/lock"
)

// Unpromoted is the event of a promote of the mirror that was refused, or after which
// something failed.
const Unpromoted = "unpromoted"

// promoter is what a runner knows of its promotes.
type promoter struct {
	ended   time.Time // when a job last came to an end, as the file system has it
	looked  time.Time // when it looked last
	state   string    // of staging and production, in which to promote again would do nothing else
	said    string    // the last failure that is no refusal
	backoff int       // how many of those there were in a row
}

// lookAgain is how often a runner looks whether staging or production changed, while the
// same jobs are staged.
const lookAgain = 30 * time.Second

// promotedJobs is how the promotes of a mirror are called in the history.
func promotedJobs(n int) string {
	if n == 1 {
		return "mirror: 1 image"
	}
	return fmt.Sprintf("mirror: %d images", n)
}

// drained promotes what jobs have staged, if the configuration says so and the queue is
// dry. What a promote refuses (a hold, findings, content that an operator reverted or
// revoked) is told once, and not tried again until staging or production is another.
// Nothing of it ends the run.
func (r *runner) drained(ctx context.Context) {
	if r.Config.Promote != publish.PromoteDrained || ctx.Err() != nil {
		return
	}
	p, now := &r.promoter, r.Now()
	// There may be thousands of jobs that have ended: they are not read every second.
	ended := modified(r.Queue.path(doneIn.String()))
	if ended.Equal(p.ended) && !now.Before(p.looked) && now.Sub(p.looked) < r.lookAgain() && !r.opt.Once {
		return
	}
	staged, dry, err := r.dry()
	r.told.warn(r.Mirror, "promote", err)
	if err != nil {
		return
	}
	if !dry {
		return
	}
	p.ended, p.looked = ended, now
	if len(staged) == 0 {
		return
	}
	path := dir(r.Repo, "promote.lock")
	if err := lock.Create(path, lock.Private()); err != nil {
		r.unpromoted(ctx, "", err)
		return
	}
	wait := time.Duration(0)
	if r.opt.Once { // there is no later look
		wait = -1
	}
	unlock, err := lock.Acquire(ctx, path, lock.Options{Verb: "mirror run", Now: now, Wait: wait})
	if held := (*lock.HeldError)(nil); errors.As(err, &held) {
		p.ended = time.Time{} // another runner promotes; look again soon
		return
	}
	if err != nil {
		r.unpromoted(ctx, "", err)
		return
	}
	defer unlock()
	r.promote(ctx)
}

// lookAgain is how long to wait before the same is looked at again.
func (r *runner) lookAgain() time.Duration {
	return max(lookAgain, time.Duration(r.promoter.backoff)*time.Minute)
}

// modified is when a directory was; zero if that cannot be told.
func modified(path string) time.Time {
	fi, err := os.Lstat(path)
	if err != nil {
		return time.Time{}
	}
	return fi.ModTime()
}

// dry returns the staged jobs that production lacks, if no job is left that could run now:
// none is pending or running. One that waits, itself or for its host, holds up none.
func (r *runner) dry() (staged []Job, dry bool, err error) {
	list, _, err := r.Queue.List(Pending, Waiting, Running)
	if err != nil {
		return nil, false, err
	}
	mine, held := func(j Job) bool { return j.Kind == r.Kind }, r.held()
	for _, j := range list {
		if !mine(j) {
			continue
		}
		if j.State == Running {
			return nil, false, nil
		}
		if _, wait := held(j); !wait && j.due(r.Now()) {
			return nil, false, nil
		}
	}
	staged, _, err = r.Queue.List(Staged)
	return slices.DeleteFunc(staged, func(j Job) bool { return !mine(j) }), err == nil, err
}

// promote promotes what staging has of the staged jobs. The caller keeps other runners from
// that.
func (r *runner) promote(ctx context.Context) {
	if err := r.SettleAll(ctx); err != nil { // another runner may have promoted them
		r.unpromoted(ctx, "", err)
		return
	}
	list, _, err := r.dry()
	if err != nil {
		r.unpromoted(ctx, "", err)
		return
	}
	seen, err := r.See(ctx, list...)
	if err != nil {
		r.unpromoted(ctx, "", err)
		return
	}
	n := 0
	for _, j := range seen {
		// What a person took out of staging, or a newer job replaced, is not published by this.
		if j.State == Staged && !j.Gone {
			n++
		}
	}
	if n == 0 {
		return
	}
	state, err := r.stateOf(ctx)
	if err != nil {
		r.unpromoted(ctx, "", err)
		return
	}
	if state == r.promoter.state && !r.opt.Once {
		return
	}
	res, err := r.Repo.Promote(ctx, publish.PromoteOptions{Message: promotedJobs(n)})
	if res != nil && !res.Unchanged {
		r.sum.Generation = res.Generation
		if r.Promoted != nil {
			r.Promoted(res)
		}
		// It is production that was made: this state is not to be promoted again.
		if after, err := r.stateOf(ctx); err == nil {
			state = after
		}
		if err := r.SettleAll(ctx); err != nil && ctx.Err() == nil {
			r.warn("production: %s", err)
		}
	}
	if err == nil || switched(err) {
		r.fan(ctx, err != nil || !res.Unchanged)
	}
	if err != nil {
		r.unpromoted(ctx, state, err)
		return
	}
	r.promoter.state, r.promoter.backoff, r.promoter.said = state, 0, ""
	r.sum.Unpromoted = nil
}

// stateOf tells apart states of staging and production in which a promote could do
// something else. Whatever changes production, or what it may become, is an event of its
// history; a hold that ends is one too.
func (r *runner) stateOf(ctx context.Context) (string, error) {
	bytes, touched, err := r.Repo.Stage.Extent(ctx)
	if err != nil {
		return "", err
	}
	events, err := r.Repo.History(publish.HistoryFilter{Limit: 1})
	if err != nil {
		return "", err
	}
	at := ""
	for _, e := range events {
		at = fmt.Sprintf("%s %s %d", e.Time.Format(time.RFC3339Nano), e.Kind, e.Generation)
	}
	return fmt.Sprintf("%d %s %s", bytes, touched.Format(time.RFC3339Nano), at), nil
}

// unpromoted tells why a promote failed. state is that in which it would fail again; "" if
// nothing was refused.
func (r *runner) unpromoted(ctx context.Context, state string, err error) {
	e := new(fault.Error)
	kind := fault.Failed
	if errors.As(err, &e) {
		kind = e.Kind
	} else if errors.As(err, new(*publish.FindingsError)) {
		kind = fault.Invalid
	}
	if ctx.Err() != nil || kind == fault.Interrupted {
		return
	}
	p := &r.promoter
	r.sum.Unpromoted = err
	switch kind {
	case fault.Refused, fault.Invalid, fault.Switched:
		p.state, p.backoff, p.said = state, 0, ""
		r.record(ctx, state, err)
	case fault.Locked:
		p.ended = time.Time{} // another promote: look again soon
		return
	default:
		p.backoff = min(p.backoff+1, 5)
		if err.Error() == p.said {
			return
		}
		p.said = err.Error()
	}
	if !r.opt.Once { // else it is what the run ends with
		r.warn("what is staged was not promoted: %s", err)
	}
}

// refusal is the last promote that was refused, in a file that all processes share: the
// history need not have it once a run.
type refusal struct {
	State string `json:"state"`
	Why   string `json:"why"`
}

// record has the history of the queue say why a promote was refused, once.
func (r *runner) record(ctx context.Context, state string, err error) {
	path := dir(r.Repo, "promote.json")
	now, was := refusal{state, cut(err.Error(), maxError)}, refusal{}
	if data, err := durable.ReadSmall(path, maxJob); err == nil && json.Unmarshal(data, &was) == nil && was == now {
		return
	}
	data, failed := marshal(now)
	if failed == nil {
		failed = r.Queue.Note(ctx, Event{Event: Unpromoted, Detail: now.Why})
	}
	if failed == nil {
		failed = durable.WriteFile(path, data, 0o644)
	}
	if failed != nil && ctx.Err() == nil {
		r.warn("promote: %s", failed)
	}
}
