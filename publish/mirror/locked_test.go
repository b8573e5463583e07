package mirror

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/publish/publish/fault"
	"example.com/publish/publish/mirror/pins"
	"example.com/publish/stage/catalog"
)

// wish asks for images in another way than ask does, and returns their jobs.
func (p *place) wish(w Wish, names ...string) []string {
	p.Helper()
	w.References, w.By = names, alice()
	added, err := p.Add(ctx, w)
	must(p, err)
	var ids []string
	for _, a := range added {
		ids = append(ids, a.Job.ID)
	}
	return ids
}

func (p *place) locked(name string) pins.Entry {
	p.Helper()
	set, err := p.Pins.Load()
	must(p, err)
	e, _ := set.Find(name)
	return e
}

// unstage takes the repository of an image out of staging, with all content.
func (p *place) unstage(name string) {
	p.Helper()
	repository, _, _ := strings.Cut(name, ":")
	must(p, os.RemoveAll(filepath.Join(p.Repo.Stage.Dir, repository)))
}

// drop makes the hub forget an image and all that it leads to.
func (h *hub) drop(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	root := h.blobs[h.tags[name].Digest]
	delete(h.blobs, h.tags[name].Digest)
	for d := range h.blobs {
		if strings.Contains(root, d.Hex) {
			delete(h.blobs, d)
		}
	}
	delete(h.tags, name)
}

func events(p *place, id, event string) (list []Event) {
	for e, err := range p.Queue.History(id) {
		must(p, err)
		if e.Event == event {
			list = append(list, e)
		}
	}
	return list
}

// A locked name gets the locked digest whatever its tag says, the difference is told, and
// only a job that follows drift changes it.
func TestLocked(t *testing.T) {
	p := newPlace(t, "")
	first := p.hub.image(app, "one")
	p.ask(app)
	p.once()
	if e := p.locked(app); e.Digest != first.String() || e.Requested != app || e.Platforms != nil {
		t.Fatalf("locked: %+v", e)
	}
	before, err := os.Stat(p.Pins.Path())
	must(t, err)

	second := p.hub.image(app, "two")
	id := p.ask(app)[0]
	pins := p.hub.pins
	p.once()
	j := p.job(id)
	if j.State != Staged || j.Digest != first.String() || p.staged(app) != first.String() {
		t.Errorf("a moved tag is followed: %+v", j)
	}
	if j.Drift == nil || *j.Drift != (Moved{first.String(), second.String()}) || len(events(p, id, Drifted)) != 1 {
		t.Errorf("the drift is not told: %+v %v", j.Drift, events(p, id, Drifted))
	}
	if p.hub.pins != pins+1 {
		t.Errorf("%d requests for the name", p.hub.pins-pins)
	}
	if after, err := os.Stat(p.Pins.Path()); err != nil || !os.SameFile(before, after) {
		t.Errorf("the lock file was written for nothing: %v", err)
	}

	// It is fetched by the locked digest also when staging does not have it, and its tag is
	// not asked for twice.
	p.unstage(app)
	looks := p.hub.looks
	id = p.ask(app)[0]
	if p.once(); p.job(id).State != Staged || p.staged(app) != first.String() || p.hub.looks != looks {
		t.Errorf("%+v, staging has %s", p.job(id), p.staged(app))
	}

	id = p.wish(Wish{AcceptDrift: true}, app)[0]
	p.once()
	if j = p.job(id); j.Digest != second.String() || p.staged(app) != second.String() ||
		j.Drift == nil || *j.Drift != (Moved{first.String(), second.String()}) {
		t.Errorf("followed: %+v %v", j, j.Drift)
	}
	if e := p.locked(app); e.Digest != second.String() {
		t.Errorf("locked: %+v", e)
	}

	// The file decides, also against what was staged last: that is how one goes back.
	must(t, os.Remove(p.Pins.Path()))
	must(t, p.Pins.Put(ctx, pinned(app, first.String()), false))
	id = p.ask(app)[0]
	if p.once(); p.job(id).State != Staged || p.staged(app) != first.String() {
		t.Errorf("back: %+v, staging has %s", p.job(id), p.staged(app))
	}
}

func pinned(name, digest string) pins.Entry {
	return pins.Entry{Canonical: name, Requested: name, Digest: digest}
}

// The tag is gone, and the digest is there; then that is gone too.
func TestLockedGone(t *testing.T) {
	const other = "hub.example.com/acme/other:v1"
	for name, c := range map[string]struct {
		prepare func(p *place)
		state   string
	}{
		"in staging":    {func(p *place) {}, "staged"},
		"in production": {func(p *place) { p.promote(); p.unstage(app) }, "published"},
		"nowhere":       {func(p *place) { p.unstage(app) }, "failed drift"},
		"in content": {func(p *place) {
			p.unstage(app)
			// Another job fetched all of it, and did not come to staging it.
			store := NewContent(ContentOptions{Dir: dir(p.Repo, "content")})
			pin := p.hub.tags[app]
			_, err := p.hub.Fetch(ctx, catalog.FetchRequest{Remote: catalog.Remote{Canonical: app}, Pin: pin}, store)
			must(p, errors.Join(err, store.Sync(ctx), store.Close()))
		}, "staged"},
		"not all in production": {func(p *place) {
			p.promote()
			p.unstage(app)
			layer := filepath.Join(p.Repo.Production(), "hub.example.com/acme/app/blobs/sha256", digestOf("layer").Hex)
			must(p, os.Remove(layer))
		}, "failed drift"},
		"damaged in production": {func(p *place) {
			p.promote()
			p.unstage(app)
			layer := filepath.Join(p.Repo.Production(), "hub.example.com/acme/app/blobs/sha256", digestOf("layer").Hex)
			must(p, os.Chmod(layer, 0o644))
			must(p, os.WriteFile(layer, []byte("LAYER"), 0o644))
		}, "failed digest"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t, "")
			want := p.hub.image(app, "layer")
			p.ask(app)
			p.once()
			c.prepare(p)
			// Another key, so that no former job says that all is there.
			p.hub.drop(app)
			id := p.wish(Wish{Platforms: []string{"linux/amd64"}}, app)[0]
			p.once()
			j := p.job(id)
			t.Log(j.Class, j.Error)
			if got := strings.TrimSpace(string(j.State) + " " + string(j.Class)); !strings.HasPrefix(got, c.state) {
				t.Fatalf("%s: %s", got, j.Error)
			}
			switch {
			case j.State != Failed && p.staged(app) != want.String():
				t.Errorf("staging has %q", p.staged(app))
			case j.Class == catalog.Drift && !strings.Contains(j.Hint, "update "+app+" --accept-drift"):
				t.Errorf("the hint is %q", j.Hint)
			case j.State == Failed && p.staged(app) != "":
				t.Errorf("%s is staged", p.staged(app))
			}
		})
	}
	// An image that is here, and is not for a platform, is not gone.
	gone, missing := &held{gone: true}, catalog.Failed(catalog.NotFound, "", "has nothing for linux/mips")
	missing.Hint = "it has linux/amd64"
	if err := gone.lost(Job{}, missing); !classIs(err, catalog.NotFound) {
		t.Errorf("a platform: %v", err)
	}
	// What is not locked is not found, as ever.
	p := newPlace(t, "")
	id := p.ask(other)[0]
	if p.once(); p.job(id).Class != catalog.NotFound {
		t.Errorf("%+v", p.job(id))
	}
}

// --locked takes what the file has, when it is asked for and when it is run.
func TestLockedOnly(t *testing.T) {
	const other = "hub.example.com/acme/other:v1"
	p := newPlace(t, "")
	p.hub.image(app, "layer")
	p.hub.image(other, "layer 2")
	p.ask(app)
	p.once()
	both := Wish{References: []string{app, other}, By: alice(), Locked: true}
	if _, err := p.Add(ctx, both); kindOf(err) != fault.Refused {
		t.Errorf("another one: %v", err)
	}
	if n := len(p.states()); n != 1 {
		t.Errorf("%d jobs", n)
	}
	id := p.wish(Wish{Locked: true}, app)[0]
	if p.once(); p.job(id).State != Staged {
		t.Errorf("%+v", p.job(id))
	}
	id = p.wish(Wish{Locked: true}, app)[0]
	must(t, os.Remove(p.Pins.Path()))
	if p.once(); p.job(id).State != Denied || p.job(id).Error != "is not in the lock file" {
		t.Errorf("%+v", p.job(id))
	}
}

// Platforms of one digest are united, and those that the image lacks are not locked.
func TestLockedPlatforms(t *testing.T) {
	p := newPlace(t, "")
	p.hub.image(app, "layer")
	p.hub.missing = []string{"linux/mips"}
	p.wish(Wish{Platforms: []string{"linux/mips", "linux/amd64"}}, app)
	p.once()
	if e := p.locked(app); !slices.Equal(e.Platforms, []string{"linux/amd64"}) {
		t.Errorf("%+v", e)
	}
	p.wish(Wish{}, app)
	p.once()
	if e := p.locked(app); e.Platforms != nil {
		t.Errorf("all: %+v", e)
	}
}

// Two names at one place in the tree: asked for, run, and looked for.
func TestLockedPlaces(t *testing.T) {
	const one, other = "hub.example.com/acme/app:v1", "quay.example.com/acme/app:v1"
	const both = `mirror: {map: [{from: "hub.example.com/", to: "q.example.com/"}, {from: "quay.example.com/",
  to: "q.example.com/"}]}`
	p := newPlace(t, both)
	want := p.hub.image(one, "layer")
	p.hub.image(other, "another layer")
	if _, err := p.Add(ctx, Wish{References: []string{one, other}, By: alice()}); kindOf(err) != fault.Usage {
		t.Errorf("together: %v", err)
	}
	// Neither is locked yet: who comes first has the place.
	first, second := p.wish(Wish{Priority: 1}, one)[0], p.ask(other)[0]
	if _, err := p.Run(ctx, RunOptions{Once: true, Jobs: 1}); err != nil {
		t.Fatal(err)
	}
	if a, b := p.job(first), p.job(second); a.State != Staged || b.State != Failed || b.Class != catalog.Conflict ||
		!strings.Contains(b.Error, one) || b.Hint == "" {
		t.Errorf("%+v\n%+v", a, b)
	}
	if p.staged("q.example.com/acme/app:v1") != want.String() {
		t.Errorf("staging has %s", p.staged("q.example.com/acme/app:v1"))
	}
	_, err := p.Plan(Wish{References: []string{other}})
	if kindOf(err) != fault.Usage || !strings.Contains(err.Error(), one) {
		t.Errorf("asked for: %v", err)
	}
	p.promote()
	if at, err := p.Address(ctx, one); err != nil || at.Digest != want.String() {
		t.Errorf("%+v %v", at, err)
	}
	if _, err := p.Address(ctx, other); kindOf(err) != fault.NotFound || !strings.Contains(err.Error(), one) {
		t.Errorf("the address of the other one: %v", err)
	}
	// The map changes so that two locked names would meet.
	must(t, p.Pins.Put(ctx, pinned("far.example.com/acme/app:v1", want.String()), false))
	p.Config.Map = append(p.Config.Map, p.Config.Map[0])
	p.Config.Map[0].From = "far.example.com/"
	m := p.open(p.Repo.Dir)
	m.Config.Map = p.Config.Map
	_, err = m.Plan(Wish{References: []string{one}})
	if kindOf(err) != fault.Usage || !strings.Contains(err.Error(), pins.Name+":") {
		t.Errorf("two locked ones: %v", err)
	}
}

// A tag that must not move does not reach staging with another digest.
func TestImmutable(t *testing.T) {
	for pattern, works := range map[string]bool{"hub.example.com/acme/*:v*": true, "**:v*": true, "*:v*": false,
		"hub.example.com/acme/*:1*": false} {
		t.Run(pattern, func(t *testing.T) {
			p := newPlace(t, fmt.Sprintf("immutable_tags: [%q]", pattern))
			first := p.hub.image(app, "one")
			p.ask(app)
			p.once()
			p.promote()
			second := p.hub.image(app, "two")
			sent := len(p.hub.sent)
			id := p.wish(Wish{AcceptDrift: true}, app)[0]
			p.once()
			j := p.job(id)
			if !works {
				if j.State != Staged || p.staged(app) != second.String() {
					t.Errorf("%+v", j)
				}
				return
			}
			if j.State != Failed || j.Class != catalog.Conflict || j.Hint == "" || !strings.Contains(j.Error, first.String()) {
				t.Errorf("%+v", j)
			}
			if p.staged(app) != first.String() || p.locked(app).Digest != first.String() || len(p.hub.sent) != sent {
				t.Errorf("staging has %s, locked is %+v", p.staged(app), p.locked(app))
			}
			// The digest itself has no tag that moves.
			const byDigest = "hub.example.com/acme/app:v1"
			if e := p.placeOf(pins.Entry{Canonical: "hub.example.com/acme/app@" + second.String(),
				Digest: second.String()}); e != "" || p.placeOf(pinned(byDigest, second.String())) != byDigest {
				t.Errorf("a digest has the place %q", e)
			}
		})
	}
}

// A kill between staging and the lock, and between the lock and the end of the job, is
// mended by the next attempt.
func TestLockedKilled(t *testing.T) {
	for _, step := range []string{"before the lock", "after the lock"} {
		p := newPlace(t, "")
		want := p.hub.image(app, "layer")
		id := p.ask(app)[0]
		killed := errors.New("killed")
		var once sync.Once
		inner, stop := context.WithCancel(ctx)
		p.Queue.step = func(string) (err error) {
			there := p.staged(app) == want.String()
			if step == "after the lock" {
				there = there && p.locked(app).Digest != ""
			}
			if there {
				once.Do(func() { stop(); err = killed })
			}
			if inner.Err() != nil { // nothing is done after a kill
				err = killed
			}
			return err
		}
		if step == "before the lock" {
			must(t, os.Mkdir(dir(p.Repo, "pins.lock"), 0o755)) // so that the write fails
		}
		_, err := p.Run(inner, RunOptions{Once: true})
		stop()
		if p.staged(app) != want.String() || p.job(id).State == Staged {
			t.Fatalf("%s: %v: %+v", step, err, p.job(id))
		}
		if step == "before the lock" {
			must(t, os.Remove(dir(p.Repo, "pins.lock")))
		}
		p.hub.image(app, "moved meanwhile")
		p.Mirror = p.open(p.Repo.Dir)
		p.once()
		if j := p.job(id); j.State != Staged || p.locked(app).Digest != want.String() || p.staged(app) != want.String() {
			t.Errorf("%s: %+v, locked %+v", step, j, p.locked(app))
		}
	}
}

// What is staged already is locked if its lock is missing.
func TestLockedAgain(t *testing.T) {
	p := newPlace(t, "")
	want := p.hub.image(app, "layer")
	p.ask(app)
	p.once()
	must(t, os.Remove(p.Pins.Path()))
	p.ask(app)
	p.once()
	if e := p.locked(app); e.Digest != want.String() {
		t.Errorf("%+v", e)
	}
}

// A lock file that cannot be read ends a run; no job suffers from it.
func TestLockFileDamaged(t *testing.T) {
	p := newPlace(t, "")
	p.hub.image(app, "layer")
	id := p.ask(app)[0]
	must(t, os.WriteFile(p.Pins.Path(), []byte("<<<<<<< HEAD\n"), 0o644))
	_, err := p.Run(ctx, RunOptions{Once: true})
	if kindOf(err) != fault.Usage || !strings.Contains(err.Error(), pins.Name+":1: ") {
		t.Errorf("run: %v", err)
	}
	if j := p.job(id); j.State != Pending || j.Attempts != 0 || j.Crashes != 0 || p.staged(app) != "" {
		t.Errorf("%+v", j)
	}
	// It is not the fault of who asks: the request stays, and is taken later.
	p.Config.Requests.Directory, p.Config.Allow = "requests", []string{"**"}
	p.Warn = func(string) {}
	p.file("ask.yaml", "reference: "+app+"\n")
	p.glances(1)
	if left := p.left(); !slices.Equal(left, []string{"ask.yaml"}) {
		t.Errorf("left are %q", left)
	}
	for what, err := range map[string]error{
		"plan":    func() error { _, err := p.Plan(Wish{References: []string{app}}); return err }(),
		"address": func() error { _, err := p.Address(ctx, app); return err }(),
		"survey":  func() error { _, err := p.Survey(ctx); return err }(),
	} {
		if kindOf(err) != fault.Usage {
			t.Errorf("%s: %v", what, err)
		}
	}
	must(t, os.Remove(p.Pins.Path()))
	if p.once(); p.job(id).State != Staged {
		t.Errorf("%+v", p.job(id))
	}
}

// A job that was pinned before the name was locked to another digest gets the locked one.
func TestRelocked(t *testing.T) {
	p := newPlace(t, "")
	p.hub.image(app, "one")
	fail := true
	p.hub.before = func(context.Context, catalog.Digest) error {
		if fail {
			return &catalog.RemoteError{Class: catalog.Unreachable, Again: true, Err: errors.New("cut")}
		}
		return nil
	}
	id := p.ask(app)[0]
	p.once()
	first := p.job(id).Digest
	second := p.hub.image(app, "two")
	must(t, p.Pins.Put(ctx, pinned(app, second.String()), false))
	fail = false
	p.clock.move(time.Minute)
	p.once()
	if j := p.job(id); j.State != Staged || j.Digest != second.String() || j.Drift == nil ||
		*j.Drift != (Moved{second.String(), first}) {
		t.Errorf("pinned before: %+v %v", j, j.Drift)
	}

	// The file changes while the job copies.
	third := p.hub.image("hub.example.com/acme/app:v2", "three")
	var once sync.Once
	p.hub.before = func(context.Context, catalog.Digest) error {
		once.Do(func() {
			fourth := p.hub.tags[app].Digest.String()
			must(t, p.Pins.Put(ctx, pinned("hub.example.com/acme/app:v2", fourth), false))
		})
		return nil
	}
	id = p.ask("hub.example.com/acme/app:v2")[0]
	p.once()
	if j := p.job(id); j.State != Staged || j.Digest != second.String() || j.Digest == third.String() ||
		p.staged("hub.example.com/acme/app:v2") != second.String() || j.Crashes != 0 {
		t.Errorf("while it copies: %+v", j)
	}
	if _, err := os.Stat(filepath.Join(p.Repo.Stage.Dir, "hub.example.com/acme/app/blobs/sha256", third.Hex)); err == nil {
		t.Error("the other digest came into staging")
	}
}

// A plain job that comes while another one follows drift does not keep it from that.
func TestFollowedBeside(t *testing.T) {
	p := newPlace(t, "mirror: {jobs: 2}")
	p.hub.image(app, "one")
	p.ask(app)
	p.once()
	second := p.hub.image(app, "two")
	begun, goOn := make(chan struct{}), make(chan struct{})
	p.hub.before = func(_ context.Context, d catalog.Digest) error {
		if d == digestOf("two") {
			close(begun)
			<-goOn
		}
		return nil
	}
	follows := p.wish(Wish{AcceptDrift: true}, app)[0]
	done := make(chan error)
	go func() {
		_, err := p.Run(ctx, RunOptions{Once: true})
		done <- err
	}()
	<-begun
	p.clock.move(time.Second)
	plain := p.wish(Wish{Platforms: []string{"linux/amd64"}}, app)[0]
	for j := p.job(plain); j.State != Staged; j = p.job(plain) {
		if j.State.Ended() || j.State == Waiting {
			t.Fatalf("%+v", j)
		}
		time.Sleep(time.Millisecond)
	}
	close(goOn)
	must(t, <-done)
	if j := p.job(follows); j.State != Staged || p.locked(app).Digest != second.String() ||
		p.staged(app) != second.String() {
		t.Errorf("%+v, staging has %s", j, p.staged(app))
	}
}
