package mirror

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"example.com/publish/publish/fault"
	"example.com/publish/publish/mirror/pins"
	"example.com/publish/stage/catalog"
)

// A survey asks once a name, tells what moved, and one name that cannot be asked stops no
// other.
func TestSurvey(t *testing.T) {
	const other, third = "hub.example.com/acme/other:v1", "quay.example.com/acme/app:v1"
	p := newPlace(t, "")
	first := p.hub.image(app, "one")
	p.hub.image(other, "other")
	p.hub.image(third, "third")
	p.wish(Wish{Platforms: []string{"linux/amd64"}}, app)
	p.ask(other, third)
	p.once()
	// A name with a digest stands for that.
	must(t, p.Pins.Put(ctx, pinned("hub.example.com/acme/app:v1@"+first.String(), first.String()), false))

	asked := p.hub.pins
	s, err := p.Survey(ctx)
	must(t, err)
	if len(s.Drifted)+len(s.Failed) != 0 || s.Asked != 3 || p.hub.pins != asked+3 {
		t.Errorf("nothing new: %+v, %d requests", s, p.hub.pins-asked)
	}
	second := p.hub.image(app, "two")
	p.hub.drop(other)
	s, err = p.Survey(ctx)
	must(t, err)
	if len(s.Drifted) != 1 || s.Drifted[0].Canonical != app || s.Drifted[0].From != first.String() ||
		s.Drifted[0].To != second.String() {
		t.Errorf("drifted: %+v", s.Drifted)
	}
	if len(s.Failed) != 1 || !strings.HasPrefix(s.Failed[0].Error(), other+": ") ||
		!classIs(s.Failed[0], catalog.NotFound) {
		t.Errorf("failed: %v", s.Failed)
	}
	if n := len(p.states()); n != 3 || p.locked(app).Digest != first.String() {
		t.Errorf("a survey changes something: %d jobs", n)
	}
	if s, err = p.Survey(ctx, third, third); err != nil || s.Asked != 1 {
		t.Errorf("one name: %+v %v", s, err)
	}
	// What a person wrote under a name that nothing looks for.
	const odd = "HUB.example.com/acme/app:v1"
	must(t, p.Pins.Put(ctx, pinned(odd, first.String()), false))
	s, err = p.Survey(ctx)
	if err != nil || len(s.Failed) != 2 || s.Failed[0].Error() !=
		odd+": locks nothing: in the lock file its name must be "+app {
		t.Errorf("a name that is not canonical: %v %v", s.Failed, err)
	}
	asked = p.hub.pins
	if _, err = p.Survey(ctx, app, "hub.example.com/acme/none:v1"); kindOf(err) != fault.NotFound || p.hub.pins != asked {
		t.Errorf("one that is not locked: %v", err)
	}
	if _, err = p.Survey(ctx, "none"); kindOf(err) != fault.Usage {
		t.Errorf("no name: %v", err)
	}
	// What is denied by now is not asked for.
	p.Config.Deny = []string{"hub.example.com/acme/app"}
	if s, err = p.Survey(ctx, app); err != nil || s.Asked != 1 || len(s.Failed) != 1 || p.hub.pins != asked {
		t.Errorf("denied: %+v %v", s, err)
	}
	p.Config.Deny = nil

	s, err = p.Survey(ctx, app)
	must(t, err)
	by := alice()
	by.Via = "update"
	must(t, p.Follow(ctx, s, by))
	j := p.job(s.Drifted[0].ID)
	if !j.AcceptDrift || !slices.Equal(j.Platforms, []string{"linux/amd64"}) || j.Reference != app ||
		j.Requesters[0].Via != "update" {
		t.Errorf("follows: %+v", j)
	}
	must(t, p.Follow(ctx, s, by))
	if again := s.Drifted[0].ID; again != j.ID {
		t.Errorf("followed twice by %s and %s", j.ID, again)
	}
	p.once()
	if p.job(j.ID).State != Staged || p.locked(app).Digest != second.String() {
		t.Errorf("%+v, locked %+v", p.job(j.ID), p.locked(app))
	}
	stopped, stop := context.WithCancel(ctx)
	stop()
	if _, err := p.Survey(stopped); !errors.Is(err, context.Canceled) {
		t.Errorf("after a signal: %v", err)
	}
	must(t, os.Remove(p.Pins.Path()))
	if s, err := p.Survey(ctx); err != nil || s.Asked != 0 {
		t.Errorf("without a lock file: %+v %v", s, err)
	}
}

// shelf is an upstream whose names stand for versions of products.
type shelf struct {
	*hub
	now []catalog.FetchedVersion
	req catalog.FetchRequest
}

func (s *shelf) Fetch(_ context.Context, req catalog.FetchRequest, to catalog.Store) (*catalog.Fetched, error) {
	s.req = req
	for _, v := range s.now {
		if err := req.Check(v); err != nil {
			return nil, fmt.Errorf("%s: %w", req.Remote.Canonical, err)
		}
	}
	if err := to.Expect(1, 0); err != nil {
		return nil, err
	}
	return nil, errors.New("the store was not asked")
}

func version(product, name, bytes string) catalog.FetchedVersion {
	return catalog.FetchedVersion{Product: product, Version: name, Files: map[string]string{"root": digestOf(bytes).Hex}}
}

// A new version is no drift, other bytes of a locked one are.
func TestSurveyVersions(t *testing.T) {
	p := newPlace(t, "")
	s := &shelf{hub: p.hub, now: []catalog.FetchedVersion{version("u", "1", "a"), version("u", "2", "b")}}
	p.Upstream = s
	r := &runner{Mirror: p.Mirror}
	must(t, r.lock(ctx, Job{Want: Want{Reference: "u", Canonical: "https://c.example.com:u", Versions: 2,
		Filters: []string{"arch=amd64"}}, Digest: digestOf("x").String()},
		versionsOf(&catalog.Fetched{Versions: s.now})))
	if e := p.locked("https://c.example.com:u"); len(e.Products["u"]) != 2 || e.Digest != "" {
		t.Fatalf("%+v", e)
	}
	s.now = append(s.now[1:], version("u", "3", "c"))
	got, err := p.Survey(ctx)
	must(t, err)
	if len(got.Drifted)+len(got.Failed) != 0 || s.req.Versions != 2 ||
		!slices.Equal(s.req.Filters, []string{"arch=amd64"}) {
		t.Errorf("a new version: %+v, asked for %+v", got, s.req)
	}
	s.now[0] = version("u", "2", "B")
	got, err = p.Survey(ctx)
	must(t, err)
	if len(got.Drifted) != 1 || got.Drifted[0].Version != "2" || got.Drifted[0].From == got.Drifted[0].To {
		t.Errorf("other bytes: %+v", got)
	}
	must(t, p.Follow(ctx, got, alice()))
	if j := p.job(got.Drifted[0].ID); j.Versions != 2 || len(j.Filters) != 1 || !j.AcceptDrift {
		t.Errorf("%+v", j)
	}

	// The same when a job selects.
	check := func(w Want, v catalog.FetchedVersion) (Job, error) {
		t.Helper()
		w.Reference, w.Canonical = "u", "https://c.example.com:u"
		j, _, err := p.Queue.Add(ctx, Request{Want: w, Priority: 1, By: alice()})
		must(t, err)
		c, err := p.Queue.Claim(ctx, func(other Job) bool { return other.ID == j.ID })
		must(t, err)
		defer func() { must(t, c.Finish(Cancelled, nil)) }()
		err = r.lockCheck(c)(v)
		return c.Job(), err
	}
	if _, err := check(Want{}, version("u", "9", "z")); err != nil {
		t.Errorf("a new one: %v", err)
	}
	if _, err := check(Want{Locked: true}, version("u", "9", "z")); !errors.As(err, new(*outcome)) {
		t.Errorf("a new one, only what is locked: %v", err)
	}
	if _, err := check(Want{Locked: true}, version("u", "1", "a")); err != nil {
		t.Errorf("a locked one: %v", err)
	}
	if j, err := check(Want{}, version("u", "1", "A")); !classIs(err, catalog.Drift) || j.Drift == nil {
		t.Errorf("other bytes: %v %v", j.Drift, err)
	}
	if j, err := check(Want{AcceptDrift: true}, version("u", "1", "A")); err != nil || j.Drift == nil ||
		j.Drift.From != pins.Version(version("u", "1", "a")).Digest() {
		t.Errorf("followed: %v %v", j.Drift, err)
	}
}
