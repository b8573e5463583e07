package fanout

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"example.com/publish/publish"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/lock"
)

// atOnce is how many targets are brought forward at once: each of them reads all that it
// lacks from one disk.
const atOnce = 4

// Options of a sync.
type Options struct {
	Host    Host          // opens targets of this machine
	Wait    time.Duration // for another sync of the same target
	Waiting func(lock.Holder)
	Now     func() time.Time
	// Progress is called when the sync of a target begins, and returns what shows how far it
	// is; nil for nothing. Several calls may run at the same time.
	Progress func(target string) Progress
	// Done is called with each target when its sync has ended, likewise.
	Done func(Result)
	// Of makes a target; nil: New.
	Of func(name string, at publish.Address) Target
}

// Result is what happened to a target.
type Result struct {
	Name string
	To   string
	*Outcome
	Err error // nil: the target has the generation
}

// Sync brings targets to production's current generation; no names: all targets. One
// that fails stops no other. It returns the generation. The error is about this repository, and no target was asked
// then.
func Sync(ctx context.Context, r *publish.Repo, names []string, opt Options) (
	generation int, list []Result, err error) {
	if err := r.Allows("sync"); err != nil {
		return 0, nil, err
	}
	if len(names) == 0 {
		names = r.Config.TargetNames()
	}
	for _, name := range names {
		if _, ok := r.Config.Targets[name]; !ok {
			return 0, nil, &publish.Error{Kind: publish.NotFound, Fact: fmt.Sprintf("there is no target %q", name),
				Hint: "publish.yaml names the targets, under the key targets"}
		}
	}
	if len(names) == 0 {
		return 0, nil, &publish.Error{Kind: publish.Usage, Fact: "there are no targets",
			Hint: "name them in publish.yaml: targets: {rack2: {to: /srv/images}}; publish help targets has more"}
	}
	if err := durable.MkdirAll(stateDir(r), 0o755); err != nil {
		return 0, nil, err
	}
	lead, err := r.Lead(ctx)
	if err != nil {
		return 0, nil, err
	}
	defer lead.Close()
	out := make([]Result, len(names))
	var g errgroup.Group
	g.SetLimit(atOnce)
	for i, name := range names {
		g.Go(func() error {
			out[i] = syncOne(ctx, r, lead, name, opt)
			if opt.Done != nil {
				opt.Done(out[i])
			}
			return nil
		})
	}
	_ = g.Wait() // each result has its own error
	return lead.View.Generation, out, nil
}

// syncOne brings one target forward, under its lock, and remembers what was heard.
func syncOne(ctx context.Context, r *publish.Repo, lead *publish.Lead, name string, opt Options) Result {
	res := Result{Name: name, To: r.Config.Targets[name].To, Outcome: &Outcome{}}
	at, err := publish.ParseAddress(res.To)
	if err != nil { // the configuration was checked
		res.Err = &publish.Error{Kind: publish.Usage, Err: err}
		return res
	}
	known, err := readState(r, name, res.To)
	if err != nil {
		res.Err = err
		return res
	}
	res.Generation = known.Generation
	unlock, err := lockTarget(ctx, r, name, opt)
	if err != nil {
		res.Err = err
		return res
	}
	defer unlock()
	target := opt.target(r, name, at)
	var progress Progress
	if opt.Progress != nil {
		progress = opt.Progress(name)
	}
	did, err := target.Sync(ctx, lead, r.Setup(), progress)
	if did.Generation > lead.View.Generation && isRefused(err) {
		// Another command, or another machine of a production that is shared, has promoted
		// since, and has brought the target forward already.
		if anew, lerr := r.Lead(ctx); lerr == nil {
			defer anew.Close()
			if anew.View.Generation >= did.Generation {
				lead = anew
				did, err = target.Sync(ctx, lead, r.Setup(), progress)
			}
		}
	}
	now := opt.Now().UTC().Truncate(time.Second)
	known.LastTry = now
	switch m := lead.View.Manifest; {
	case err == nil:
		known = state{To: res.To, Generation: m.Generation, Seal: m.Seal, Revoked: lead.Revoked, At: now, LastTry: now}
	default:
		known.LastError = clip(err.Error())
		if did.Generation > 0 { // it was heard before the error
			if did.Generation != known.Generation {
				known.Seal = ""
			}
			known.Generation, known.At = did.Generation, now
		}
	}
	did.Generation = known.Generation
	res.Outcome, res.Err = did, err
	if werr := known.write(r, name); werr != nil && err == nil {
		res.Err = fmt.Errorf("the target has generation %d, but that could not be noted: %w", did.Generation, werr)
	}
	return res
}

// target makes a target.
func (opt *Options) target(r *publish.Repo, name string, at publish.Address) Target {
	switch {
	case opt.Of != nil:
		return opt.Of(name, at)
	case at.Store != "":
		return &inStore{name, r, opt.Host}
	}
	return New(name, at, opt.Host)
}

func isRefused(err error) bool {
	e := new(publish.Error)
	return errors.As(err, &e) && e.Kind == publish.Refused
}

// lockTarget takes the lock of a target: one sync of it at a time.
func lockTarget(ctx context.Context, r *publish.Repo, name string, opt Options) (func(), error) {
	path := filepath.Join(stateDir(r), name+".lock")
	if err := lock.Create(path, lock.Private()); err != nil {
		return nil, err
	}
	unlock, err := lock.Acquire(ctx, path, lock.Options{Verb: "sync", Now: opt.Now(), Wait: opt.Wait,
		Waiting: opt.Waiting})
	if held := new(lock.HeldError); errors.As(err, &held) {
		return nil, &publish.Error{Kind: publish.Locked, Err: err, Hint: publish.LockedHint(held)}
	}
	return unlock, err
}
