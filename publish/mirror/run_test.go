package mirror

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"example.com/publish/publish/fault"
	"example.com/publish/publish/site"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/lock"
)

var sites = site.Kinds{site.Symlink, site.Exchange}

func digestOf(data string) catalog.Digest {
	sum := sha256.Sum256([]byte(data))
	return catalog.Digest{Algorithm: catalog.SHA256, Hex: hex.EncodeToString(sum[:])}
}

const app = "hub.example.com/acme/app:v1"

// What is asked for comes into staging, as what it is, and is published by whoever
// promotes it.
func TestRun(t *testing.T) {
	p := newPlace(t, "mirror: {address: images.example.com}")
	want := p.hub.image(app, "layer")
	id := p.ask(app)[0]
	if _, err := p.Address(ctx, app); kindOf(err) != fault.NotFound {
		t.Errorf("the address of what is not published: %v", err)
	}
	if got := p.once(); got[app] != "staged" || p.staged(app) != want.String() {
		t.Fatalf("%v, staging has %s", got, p.staged(app))
	}
	index, err := os.ReadFile(filepath.Join(p.Repo.Stage.Dir, "hub.example.com/acme/app/index.json"))
	must(t, err)
	for _, note := range []string{`publish.requested":"` + app, `publish.source":"` + app} {
		if !bytes.Contains(index, []byte(note)) {
			t.Errorf("%s is not recorded in %s", note, index)
		}
	}
	p.promote()
	if now, err := p.Settle(ctx, p.job(id)); err != nil || now.State != Published {
		t.Errorf("after the promote: %v %v", now.State, err)
	}
	at, err := p.Address(ctx, app)
	if err != nil || at.Pinned != "images.example.com/hub.example.com/acme/app@"+want.String() {
		t.Errorf("%+v %v", at, err)
	}
	p.once()
	if j := p.job(id); j.State != Published {
		t.Errorf("a run leaves it %s", j.State)
	}
	// The same again asks for the name once, and fetches nothing.
	sent, pins := maps.Clone(p.hub.sent), p.hub.pins
	p.ask(app)
	if got := p.once(); got[app] != "staged" && got[app] != "published" || p.hub.pins != pins+1 || !maps.Equal(sent, p.hub.sent) {
		t.Errorf("%v: %d requests for the name, sent %v", got, p.hub.pins-pins, p.hub.sent)
	}
	left, err := filepath.Glob(filepath.Join(p.Repo.Dir, ".publish/mirror/content/*/*"))
	if err != nil || len(left) > 0 {
		t.Errorf("content is left: %v", left)
	}
}

// The tag moves under the copy: the job stays what it was resolved to, and says so.
func TestRunDrift(t *testing.T) {
	p := newPlace(t, "")
	first := p.hub.image(app, "one")
	var once sync.Once
	p.hub.before = func(context.Context, catalog.Digest) (err error) {
		once.Do(func() {
			p.hub.image(app, "two")
			err = &catalog.RemoteError{Class: catalog.Unreachable, Again: true, Err: errors.New("cut")}
		})
		return err
	}
	id := p.ask(app)[0]
	if got := p.once(); got[app] != "waiting unreachable" {
		t.Fatal(got)
	}
	p.clock.move(time.Minute)
	p.once()
	j := p.job(id)
	if j.State != Staged || j.Digest != first.String() || j.Drift == nil || p.staged(app) != first.String() {
		t.Errorf("%+v, staging has %s", j, p.staged(app))
	}
}

// What no retry can mend fails at once; what may go well later is tried again, and not
// for ever; one failure stops no other.
func TestRunFailures(t *testing.T) {
	const others = "hub.example.com/acme/other:v1"
	for name, c := range map[string]struct {
		err   error
		runs  int
		state string
	}{
		"final":     {catalog.Failed(catalog.Unauthorized, "hub.example.com", "no"), 1, "failed unauthorized"},
		"passing":   {&catalog.RemoteError{Class: catalog.Unreachable, Again: true, Err: errors.New("no")}, 3, "failed unreachable"},
		"once":      {&catalog.RemoteError{Class: catalog.Unreachable, Again: true, Err: errors.New("no")}, 1, "waiting unreachable"},
		"this side": {errors.New("no"), 1, "failed internal"},
		"full":      {&os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}, 5, "waiting disk"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t, "mirror: {retry: {times: 3}, jobs: 1}")
			p.hub.image(app, "layer")
			p.hub.image(others, "another layer")
			p.hub.before = func(_ context.Context, d catalog.Digest) error {
				if d == digestOf("layer") {
					return c.err
				}
				return nil
			}
			p.ask(app, others)
			got := p.once()
			for range c.runs - 1 {
				p.clock.move(time.Hour)
				got = p.once()
			}
			if got[app] != c.state || got[others] != "staged" || p.staged(app) != "" {
				t.Errorf("%v, and staging has %q", got, p.staged(app))
			}
		})
	}
}

// A host that asked for a pause gets it, and jobs of other hosts go on.
func TestRunRateLimit(t *testing.T) {
	const other = "quay.example.com/acme/app:v1"
	p := newPlace(t, "mirror: {retry: {times: 1}}")
	p.hub.image(app, "layer")
	p.hub.image(other, "another layer")
	until := p.clock.now().Add(time.Hour)
	p.hub.before = func(_ context.Context, d catalog.Digest) error {
		if d == digestOf("layer") && p.clock.now().Before(until) {
			must(t, p.Hosts.Block("hub.example.com", until, ""))
			return &catalog.RemoteError{Class: catalog.RateLimit, Host: "hub.example.com", Again: true, Until: until,
				Err: errors.New("too many requests")}
		}
		return nil
	}
	id := p.ask(app, other)[0]
	if got := p.once(); got[app] != "waiting rate-limit" || got[other] != "staged" {
		t.Fatal(got)
	}
	if j := p.job(id); j.Until.Before(until) || j.Until.After(until.Add(spread)) || j.Reason != RateLimit {
		t.Errorf("%+v", j)
	}
	// A new job of the host waits too, and nobody asks the host.
	const third = "hub.example.com/acme/app:v2"
	p.hub.image(third, "third")
	p.ask(third)
	pins := p.hub.pins
	if got := p.once(); got[third] != "pending" || p.hub.pins != pins {
		t.Errorf("%v, the host was asked %d times", got, p.hub.pins-pins)
	}
	p.clock.move(time.Hour + spread)
	if got := p.once(); got[app] != "staged" || got[third] != "staged" {
		t.Error(got)
	}
}

// A job that is cancelled stages nothing; a signal gives jobs back.
func TestRunStopped(t *testing.T) {
	for _, signal := range []bool{false, true} {
		p := newPlace(t, "")
		p.hub.image(app, "layer")
		begun := make(chan struct{})
		p.hub.before = func(ctx context.Context, _ catalog.Digest) error {
			close(begun)
			<-ctx.Done()
			return ctx.Err()
		}
		id := p.ask(app)[0]
		inner, stop := context.WithCancel(ctx)
		done := make(chan error)
		go func() {
			_, err := p.Run(inner, RunOptions{Once: true})
			done <- err
		}()
		<-begun
		want := Cancelled
		if signal {
			want = Pending
			stop()
		} else if j, err := p.Queue.Cancel(ctx, id, alice()); err != nil || j.State != Running {
			t.Errorf("%v %v", j.State, err)
		}
		must(t, <-done)
		stop()
		if j := p.job(id); j.State != want || p.staged(app) != "" || j.Crashes != 0 {
			t.Errorf("signal %t: %+v, staging has %q", signal, j, p.staged(app))
		}
		if _, err := p.Queue.Cancel(ctx, id, alice()); !signal && kindOf(err) != fault.Refused {
			t.Errorf("cancelled twice: %v", err)
		}
	}
}

// Another digest of the name that was asked for later is staged first: the older job
// leaves it there.
func TestRunSuperseded(t *testing.T) {
	p := newPlace(t, "mirror: {jobs: 2}")
	first := p.hub.image(app, "one")
	begun, goOn := make(chan struct{}), make(chan struct{})
	p.hub.before = func(_ context.Context, d catalog.Digest) error {
		if d == digestOf("one") {
			close(begun)
			<-goOn
		}
		return nil
	}
	a := p.ask(app)[0]
	done := make(chan error)
	go func() {
		_, err := p.Run(ctx, RunOptions{Once: true})
		done <- err
	}()
	<-begun
	second := p.hub.image(app, "two")
	if first == second {
		t.Fatal("it did not move")
	}
	p.clock.move(time.Second)
	// The same name for a platform is another job.
	added, err := p.Add(ctx, Wish{References: []string{app}, Platforms: []string{"linux/amd64"}, By: alice()})
	must(t, err)
	for j := p.job(added[0].Job.ID); j.State != Staged; j = p.job(j.ID) {
		if j.State.Ended() || j.State == Waiting {
			t.Fatalf("%+v", j)
		}
		time.Sleep(time.Millisecond)
	}
	close(goOn)
	must(t, <-done)
	if j := p.job(a); j.State != Superseded || p.staged(app) != second.String() {
		t.Errorf("%+v, staging has %s", j, p.staged(app))
	}
}

// Three runners at once bring each job once, and each content once.
func TestRunners(t *testing.T) {
	p := newPlace(t, "")
	var names []string
	for i := range 12 {
		name := fmt.Sprintf("hub.example.com/acme/app:v%d", i)
		p.hub.image(name, fmt.Sprint("layer", i))
		names = append(names, name)
	}
	p.ask(names...)
	var all sync.WaitGroup
	for range 3 {
		m := p.open(p.Repo.Dir)
		all.Go(func() {
			if _, err := m.Run(ctx, RunOptions{Once: true}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for name, state := range p.states() {
		if state != "staged" || p.staged(name) == "" {
			t.Errorf("%s: %s", name, state)
		}
	}
	for d, n := range p.hub.sent {
		if n != 1 && strings.HasPrefix(p.hub.blobs[d], "layer") {
			t.Errorf("%s was sent %d times", p.hub.blobs[d], n)
		}
	}
}

// What may come, and under which name it lies in the tree.
func TestPlan(t *testing.T) {
	p := newPlace(t, `mirror: {allow: ["hub.example.com/**"], deny: ["hub.example.com/secret/*"],
  map: [{from: "hub.example.com/acme/", to: "mirror.example.com/"}], platforms: [linux/amd64]}`)
	for name, kind := range map[string]fault.Kind{"hub.example.com/blobs:v1": fault.Usage, "quay.example.com/acme/app:v1": fault.Refused,
		"hub.example.com/secret/app:v1": fault.Refused, "hub.example.com/acme/app": fault.Usage} {
		if _, err := p.Add(ctx, Wish{References: []string{app, name}, By: alice()}); kindOf(err) != kind {
			t.Errorf("%s: %v", name, err)
		}
	}
	odd := Wish{References: []string{app}, Platforms: []string{""}, By: alice()}
	if _, err := p.Add(ctx, odd); kindOf(err) != fault.Usage {
		t.Errorf("a platform without a name: %v", err)
	}
	if got := p.states(); len(got) > 0 {
		t.Fatalf("something was added: %v", got)
	}
	want := p.hub.image(app, "layer")
	id := p.ask(app)[0]
	p.once()
	if got := p.staged("mirror.example.com/app:v1"); got != want.String() || p.staged(app) != "" {
		t.Errorf("it lies elsewhere: %q, %q", got, p.staged(app))
	}
	if j := p.job(id); j.Canonical != app || !slices.Equal(j.Platforms, []string{"linux/amd64"}) {
		t.Errorf("%+v", j)
	}
	// A place is spelled as the tree spells it.
	p.Config.Map[0].To = "q/"
	for name, want := range map[string]string{app: "docker.io/q/app:v1", app + "@" + want.String(): "docker.io/q/app:v1@" +
		want.String(), "hub.example.com/other/app:v1": "hub.example.com/other/app:v1"} {
		if got := p.NameOf(name); got != want {
			t.Errorf("%s lies at %s, not at %s", name, got, want)
		}
	}
	// What the configuration forbids meanwhile does not come.
	p.ask("hub.example.com/acme/other:v1")
	p.Config.Deny = []string{"**"}
	if got := p.once(); got["hub.example.com/acme/other:v1"] != "denied" {
		t.Error(got)
	}
}

// An index has the same digest with fewer of its platforms: a job is published once
// production has its own, and fetches again what a reset took away.
func TestRunPlatforms(t *testing.T) {
	p := newPlace(t, "")
	p.hub.image(app, "layer")
	ask := func(platforms ...string) Job {
		t.Helper()
		added, err := p.Add(ctx, Wish{References: []string{app}, Platforms: platforms, By: alice()})
		must(t, err)
		p.once()
		return p.job(added[0].Job.ID)
	}
	for _, c := range []struct {
		tree    []string
		job     Want
		missing []string
		want    bool
	}{
		{nil, Want{Platforms: []string{"linux/arm64"}}, nil, true},
		{nil, Want{}, nil, true},
		{[]string{"linux/amd64"}, Want{}, nil, false},
		{[]string{"linux/amd64"}, Want{Platforms: []string{"linux/arm64"}}, nil, false},
		{[]string{"linux/amd64"}, Want{Platforms: []string{"linux/amd64", "linux/arm64"}}, nil, false},
		{[]string{"linux/amd64"}, Want{Platforms: []string{"linux/amd64", "linux/mips"}}, []string{"linux/mips"}, true},
	} {
		j := Job{Want: c.job, MissingPlatforms: c.missing}
		if got := covers(&catalog.Resolved{Platforms: c.tree}, j); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
	if j := ask(); j.State != Staged {
		t.Fatalf("%+v", j)
	}
	p.promote()
	if j := ask(); j.State != Published {
		t.Errorf("%+v", j)
	}
}

// A job that is tried again after a newer digest of the name was staged leaves that there;
// a clock that was set back keeps no newer one out.
func TestRunNewest(t *testing.T) {
	p := newPlace(t, "")
	p.hub.image(app, "one")
	p.hub.before = func(_ context.Context, d catalog.Digest) error {
		if d == digestOf("one") {
			return catalog.Failed(catalog.NotFound, "hub.example.com", "it is gone")
		}
		return nil
	}
	id := p.ask(app)[0]
	if p.once(); p.job(id).State != Failed {
		t.Fatalf("%+v", p.job(id))
	}
	p.clock.move(time.Hour)
	second := p.hub.image(app, "two")
	p.ask(app)
	p.once()
	p.clock.move(time.Hour)
	p.hub.before = nil
	_, err := p.Queue.Retry(ctx, id, alice())
	must(t, err)
	if p.once(); p.job(id).State != Superseded || p.staged(app) != second.String() {
		t.Errorf("%+v, staging has %s", p.job(id), p.staged(app))
	}
	p.clock.move(-24 * time.Hour)
	third := p.hub.image(app, "three")
	added, err := p.Add(ctx, Wish{References: []string{app}, By: alice(), AcceptDrift: true}) // it is locked to two
	must(t, err)
	id = added[0].Job.ID
	if p.once(); p.job(id).State != Staged || p.staged(app) != third.String() {
		t.Errorf("%+v, staging has %s", p.job(id), p.staged(app))
	}
}

// An image without some of the wanted platforms comes with the others.
func TestRunMissing(t *testing.T) {
	p := newPlace(t, "mirror: {platforms: [linux/amd64, linux/mips]}")
	p.hub.image(app, "layer")
	p.hub.missing = []string{"linux/mips"}
	id := p.ask(app)[0]
	p.once()
	if j := p.job(id); j.State != Staged || !slices.Equal(j.MissingPlatforms, p.hub.missing) {
		t.Fatalf("%+v", j)
	}
	p.promote()
	if p.once(); p.job(id).State != Published {
		t.Errorf("%+v", p.job(id))
	}
}

// A server that asks for one short pause after the other does not hold a run forever.
func TestRunPatience(t *testing.T) {
	p := newPlace(t, "")
	p.Now, p.Queue.now, p.Hosts.now = time.Now, time.Now, time.Now
	p.hub.image(app, "layer")
	p.hub.before = func(context.Context, catalog.Digest) error {
		return &catalog.RemoteError{Class: catalog.RateLimit, Host: "hub.example.com", Again: true,
			Until: time.Now().Add(time.Millisecond), Err: errors.New("too many requests")}
	}
	id := p.ask(app)[0]
	limited, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	_, err := p.Run(limited, RunOptions{Once: true, Patience: 3 * time.Second})
	must(t, err)
	if j := p.job(id); limited.Err() != nil || j.State != Waiting {
		t.Errorf("%+v: %v", j, limited.Err())
	}
}

// Jobs of a registry wait while all of its endpoints want a pause, without being begun.
func TestRunEndpointsHeld(t *testing.T) {
	p := newPlace(t, `mirror: {registries: {hub.example.com: {endpoints: ["http://10.0.0.5:5000",
  "http://10.0.0.6:5000"]}}}`)
	p.hub.image(app, "layer")
	id := p.ask(app)[0]
	until := p.clock.now().Add(time.Hour)
	must(t, p.Hosts.Block("10.0.0.5:5000", until, ""))
	must(t, p.Hosts.Block("10.0.0.6:5000", until, ""))
	if p.once(); p.job(id).State != Pending || p.job(id).Attempts != 0 || p.hub.pins != 0 {
		t.Errorf("%+v", p.job(id))
	}
	p.clock.move(time.Hour)
	must(t, p.Hosts.Block("10.0.0.5:5000", until.Add(time.Hour), ""))
	if p.once(); p.job(id).State != Staged {
		t.Errorf("the other endpoint may be asked: %+v", p.job(id))
	}
}

// Others take content away again and again before it is staged: at last they have to wait.
func TestRunTakenAway(t *testing.T) {
	p := newPlace(t, "")
	p.hub.image(app, "layer")
	id := p.ask(app)[0]
	p.Queue.step = func(string) error {
		if _, state := lock.Look(dir(p.Repo, "staging.lock")); state == lock.Free {
			names, err := filepath.Glob(dir(p.Repo, "content", "*", strings.Repeat("?", 64)))
			must(t, err)
			for _, name := range names {
				must(t, os.Remove(name))
			}
		}
		return nil
	}
	if p.once(); p.job(id).State != Staged {
		t.Errorf("%+v", p.job(id))
	}
}
