package mirror

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/publish/publish"
	"example.com/publish/publish/fault"
	"example.com/publish/publish/journal"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/lock"
)

const drained = "mirror: {promote: drained}"

// promotes are the messages of the promotes in the repository's history, the oldest first.
func (p *place) promotes() (list []string) {
	p.Helper()
	events, err := p.Repo.History(publish.HistoryFilter{Kinds: []journal.Kind{journal.KindPromote}})
	must(p, err)
	for _, e := range events {
		list = append([]string{e.Message}, list...)
	}
	return list
}

// layer is where staging has a layer of hub.example.com/acme/app.
func (p *place) layer(data string) string {
	return filepath.Join(p.Repo.Stage.Dir, "hub.example.com/acme/app/blobs/sha256", digestOf(data).Hex)
}

// run is once, and returns what did not allow a promote.
func (p *place) runOnce() error {
	p.Helper()
	sum, err := p.Run(ctx, RunOptions{Once: true})
	must(p, err)
	return sum.Unpromoted
}

// What is staged is promoted when the queue is dry, if the configuration says so, and the
// jobs say as which generation.
func TestDrained(t *testing.T) {
	p := newPlace(t, "")
	p.hub.image(app, "layer")
	p.ask(app)
	if got := p.once(); got[app] != "staged" || len(p.promotes()) > 0 {
		t.Fatalf("never: %v, %q", got, p.promotes())
	}
	p = newPlace(t, drained)
	const other = "hub.example.com/acme/other:v1"
	p.hub.image(app, "layer")
	p.hub.image(other, "another layer")
	id := p.ask(app, other)[0]
	sum, err := p.Run(ctx, RunOptions{Once: true})
	must(t, err)
	if got := p.promotes(); len(got) != 1 || got[0] != "mirror: 2 images" || sum.Generation != 1 || sum.Unpromoted != nil {
		t.Errorf("%q, %+v", got, sum)
	}
	if j := p.job(id); j.State != Published || j.Generation != "1" {
		t.Errorf("%+v", j)
	}
	if p.once(); len(p.promotes()) != 1 {
		t.Errorf("with nothing new: %q", p.promotes())
	}
	// By whichever promote.
	p.Config.Promote = publish.PromoteNever
	p.hub.image(app, "new layer")
	p.clock.move(time.Second)
	id = p.follow(app)[0]
	p.once()
	p.promote()
	if now, err := p.Settle(ctx, p.job(id)); err != nil || now.Generation != "2" {
		t.Errorf("%+v %v", now, err)
	}
	if p.once(); p.job(id).Generation != "2" {
		t.Errorf("%+v", p.job(id))
	}
}

// A job that waits, itself or for its host, holds up no promote; one that runs elsewhere, or
// could run, does.
func TestDry(t *testing.T) {
	p := newPlace(t, drained)
	const failing, held = "hub.example.com/acme/failing:v1", "quay.example.com/acme/app:v1"
	p.hub.image(app, "layer")
	p.hub.image(failing, "failing layer")
	p.hub.image(held, "held layer")
	must(t, p.Hosts.Block("quay.example.com", p.clock.now().Add(time.Hour), ""))
	p.hub.before = func(_ context.Context, d catalog.Digest) error {
		if d == digestOf("failing layer") {
			return &catalog.RemoteError{Class: catalog.Unreachable, Again: true, Err: errors.New("down")}
		}
		return nil
	}
	p.ask(app, failing, held)
	if got := p.once(); got[app] != "published" || got[failing] != "waiting unreachable" || got[held] != "pending" {
		t.Errorf("%v", got)
	}
	r := &runner{Mirror: p.Mirror}
	p.Config.Promote = publish.PromoteNever
	p.hub.image(app, "new layer")
	p.clock.move(time.Second)
	p.follow(app)
	p.once()
	if list, dry, err := r.dry(); err != nil || !dry || len(list) != 1 {
		t.Fatalf("%v %v", list, err)
	}
	p.ask("hub.example.com/acme/more:v1")
	if list, dry, err := r.dry(); err != nil || dry {
		t.Errorf("one is pending: %v %v", list, err)
	}
	c, err := p.Queue.Claim(ctx, func(j Job) bool { return strings.Contains(j.Canonical, "more") })
	must(t, err)
	defer c.Abandon()
	if list, dry, err := r.dry(); err != nil || dry {
		t.Errorf("one runs: %v %v", list, err)
	}
}

// A hold, findings, and an operator's revert are heeded. What is refused is in the history
// once, as long as nothing changes.
func TestDrainedRefused(t *testing.T) {
	for name, c := range map[string]struct {
		stop, clear func(p *place)
		kind        fault.Kind
		findings    bool
	}{
		"a hold": {func(p *place) { must(p, p.Repo.Hold(ctx, "freeze")) }, func(p *place) { must(p, p.Repo.Unhold(ctx)) },
			fault.Refused, false},
		"findings": {func(p *place) { must(p, os.Rename(p.layer("v1"), filepath.Join(p.Repo.Dir, "layer"))) },
			func(p *place) { must(p, os.Rename(filepath.Join(p.Repo.Dir, "layer"), p.layer("v1"))) }, -1, true},
		"a revert": {func(p *place) {
			_, err := p.Repo.Revert(ctx, publish.RevertOptions{To: 1, Message: "bad"})
			must(p, err)
		}, func(p *place) {
			_, err := p.Repo.Remove(ctx, "hub.example.com/acme/app:v2")
			must(p, err)
		}, fault.Refused, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t, drained)
			for i, tag := range []string{"v1", "v2"} {
				p.hub.image("hub.example.com/acme/app:"+tag, tag)
				p.ask("hub.example.com/acme/app:" + tag)
				must(t, p.runOnce())
				if n := len(p.promotes()); n != i+1 {
					t.Fatalf("%d promotes", n)
				}
			}
			c.stop(p)
			p.hub.image("hub.example.com/acme/app:v3", "v3")
			id := p.ask("hub.example.com/acme/app:v3")[0]
			for range 3 {
				err := p.runOnce()
				if c.findings != errors.As(err, new(*publish.FindingsError)) || !c.findings && kindOf(err) != c.kind {
					t.Fatalf("%v", err)
				}
			}
			if j := p.job(id); j.State != Staged || p.counted(Unpromoted) != 1 || len(p.promotes()) != 2 {
				t.Errorf("%s, %d events, %q", j.State, p.counted(Unpromoted), p.promotes())
			}
			c.clear(p)
			must(t, p.runOnce())
			if j := p.job(id); j.State != Published || len(p.promotes()) != 3 {
				t.Errorf("%+v, %q", j, p.promotes())
			}
		})
	}
}

// A health check that fails is told, production is as before, and the same tree is refused
// from then on.
func TestDrainedHealth(t *testing.T) {
	p := newPlace(t, drained)
	p.hub.image("hub.example.com/acme/app:v1", "v1")
	p.ask("hub.example.com/acme/app:v1")
	must(t, p.runOnce())
	p.Repo.Config.HealthCheck.Command = []string{"false"}
	p.hub.image("hub.example.com/acme/app:v2", "v2")
	id := p.ask("hub.example.com/acme/app:v2")[0]
	for i, kind := range []fault.Kind{fault.Switched, fault.Refused, fault.Refused} {
		if err := p.runOnce(); kindOf(err) != kind || p.job(id).State != Staged || p.counted(Unpromoted) != min(i+1, 2) {
			t.Fatalf("run %d: %v, %s, %d events", i, err, p.job(id).State, p.counted(Unpromoted))
		}
	}
}

// A runner that goes on tells a refusal once, does not try again until something changes,
// and goes on with other jobs meanwhile.
func TestDrainedGoesOn(t *testing.T) {
	p := newPlace(t, drained)
	p.hub.image(app, "layer")
	must(t, p.Repo.Hold(ctx, "freeze"))
	p.ask(app)
	said := p.hears()
	r := &runner{Mirror: p.Mirror}
	if err := p.runOnce(); kindOf(err) != fault.Refused {
		t.Fatal(err)
	}
	for range 5 {
		r.drained(ctx)
		p.clock.move(lookAgain)
	}
	if got := said(); len(got) != 1 || !strings.Contains(got[0], "what is staged was not promoted: production is held by") {
		t.Errorf("%q", got)
	}
	must(t, p.Repo.Unhold(ctx))
	r.drained(ctx)
	p.clock.move(time.Second)
	const other = "hub.example.com/acme/other:v1" // a refusal keeps no job waiting
	p.hub.image(other, "other")
	p.Config.Promote = publish.PromoteNever
	p.ask(other)
	if got := p.once(); got[app] != "published" || got[other] != "staged" {
		t.Errorf("after the hold: %v", got)
	}
	// The new one is promoted at once; nothing else is, however often it looks.
	p.Config.Promote = publish.PromoteDrained
	for range 5 {
		r.drained(ctx)
		p.clock.move(lookAgain)
	}
	if got := p.states(); got[other] != "published" || len(p.promotes()) != 2 || r.sum.Unpromoted != nil {
		t.Errorf("%v, %q, %v", got, p.promotes(), r.sum.Unpromoted)
	}
}

// A runner leaves the promote to another one that is at it, and looks again soon.
func TestDrainedElsewhere(t *testing.T) {
	p := newPlace(t, "")
	p.hub.image(app, "layer")
	p.ask(app)
	p.once()
	p.Config.Promote = publish.PromoteDrained
	r, path := &runner{Mirror: p.Mirror}, dir(p.Repo, "promote.lock")
	must(t, lock.Create(path, lock.Private()))
	unlock, err := lock.Acquire(ctx, path, lock.Options{})
	must(t, err)
	if r.drained(ctx); len(p.promotes()) > 0 {
		t.Errorf("%q", p.promotes())
	}
	unlock()
	if r.drained(ctx); len(p.promotes()) != 1 || r.sum.Unpromoted != nil {
		t.Errorf("%q, %v", p.promotes(), r.sum.Unpromoted)
	}
}

// Runners at once promote once.
func TestDrainedRunners(t *testing.T) {
	p := newPlace(t, drained)
	p.hub.image(app, "layer")
	p.Config.Promote = publish.PromoteNever
	id := p.ask(app)[0]
	p.once()
	var all sync.WaitGroup
	for range 3 {
		m := p.open(p.Repo.Dir)
		all.Go(func() {
			if sum, err := m.Run(ctx, RunOptions{Once: true}); err != nil || sum.Unpromoted != nil {
				t.Error(err, sum.Unpromoted)
			}
		})
	}
	all.Wait()
	if got := p.promotes(); len(got) != 1 || p.job(id).State != Published {
		t.Errorf("%q, %+v", got, p.job(id))
	}
}

// What staging has no more is no reason to promote.
func TestDrainedTakenOut(t *testing.T) {
	p := newPlace(t, "")
	p.hub.image(app, "layer")
	p.ask(app)
	p.once()
	_, err := p.Repo.Remove(ctx, app)
	must(t, err)
	p.Config.Promote = publish.PromoteDrained
	must(t, p.runOnce())
	if got := p.promotes(); len(got) > 0 {
		t.Errorf("%q", got)
	}
}
