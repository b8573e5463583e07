package mirror

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/publish/stage/catalog"
)

// The clock of the tests begins at 12:00 UTC.
const nightly = `mirror: {large: {over: 4KiB, window: "01:00-07:00 Asia/Shanghai"}}`

const large = "hub.example.com/acme/large:v1"

// A large image is pinned at once and waits for its window, which is no attempt; a small
// one does not wait.
func TestLarge(t *testing.T) {
	p := newPlace(t, nightly)
	want := p.hub.image(large, strings.Repeat("x", 5000))
	p.hub.image(app, strings.Repeat("y", 4<<10))
	ids := p.ask(large, app)
	if got := p.once(); got[large] != "waiting" || got[app] != "staged" {
		t.Fatal(got)
	}
	j := p.job(ids[0])
	opens := time.Date(2026, 3, 1, 17, 0, 0, 0, time.UTC) // 01:00 in Shanghai
	if j.Reason != Window || !j.Until.Equal(opens) || j.Attempts != 0 || j.Digest != want.String() ||
		!strings.Contains(j.Error, "4.9 KiB waits for the window 01:00-07:00 Asia/Shanghai") {
		t.Errorf("%+v", j)
	}
	// The tag moves while it waits: it stays what it was pinned to.
	p.hub.image(large, "another")
	p.clock.move(4*time.Hour + 59*time.Minute)
	if got := p.once(); got[large] != "waiting" {
		t.Errorf("before the window: %v", got)
	}
	p.clock.move(time.Minute)
	if got := p.once(); got[large] != "staged" || p.staged(large) != want.String() {
		t.Errorf("in the window: %v, staging has %s", got, p.staged(large))
	}
}

// A copy that was begun goes on when the window shuts; one that is tried again then waits.
func TestLargeShuts(t *testing.T) {
	p := newPlace(t, nightly)
	p.hub.image(large, strings.Repeat("x", 5000))
	p.clock.move(5 * time.Hour)
	id := p.ask(large)[0]
	fail, layer := true, digestOf(strings.Repeat("x", 5000))
	p.hub.before = func(_ context.Context, d catalog.Digest) error {
		if d != layer {
			return nil
		}
		p.clock.move(6 * time.Hour) // it is 07:00
		if fail {
			fail = false
			return &catalog.RemoteError{Class: catalog.Unreachable, Again: true, Err: context.DeadlineExceeded}
		}
		return nil
	}
	if got := p.once(); got[large] != "waiting unreachable" {
		t.Fatal(got)
	}
	p.clock.move(time.Hour)
	if got := p.once(); got[large] != "waiting" || p.job(id).Reason != Window {
		t.Fatal(got)
	}
	p.clock.move(17 * time.Hour)
	if got := p.once(); got[large] != "staged" {
		t.Errorf("the window shut while it was copied: %v", got)
	}
}

// run --now does not wait, nor has it others wait; runners without it still do.
func TestLargeNow(t *testing.T) {
	p := newPlace(t, nightly)
	p.hub.image(large, strings.Repeat("x", 5000))
	id := p.ask(large)[0]
	p.once()
	if got := p.once(); got[large] != "waiting" || p.hub.sent[digestOf(strings.Repeat("x", 5000))] != 0 {
		t.Fatal(got)
	}
	if _, err := p.Run(ctx, RunOptions{Once: true, Now: true}); err != nil {
		t.Fatal(err)
	}
	if j := p.job(id); j.State != Staged || j.Attempts != 1 {
		t.Errorf("%+v", j)
	}
}

// What waits for another reason waits for a runner with --now too.
func TestNowIsForWindows(t *testing.T) {
	p := newPlace(t, nightly)
	p.hub.image(app, "layer")
	var once sync.Once
	p.hub.before = func(context.Context, catalog.Digest) (err error) {
		once.Do(func() {
			err = &catalog.RemoteError{Class: catalog.Unreachable, Again: true, Err: context.DeadlineExceeded}
		})
		return err
	}
	p.ask(app)
	p.once()
	if _, err := p.Run(ctx, RunOptions{Once: true, Now: true}); err != nil {
		t.Fatal(err)
	}
	if got := p.states(); got[app] != "waiting unreachable" {
		t.Error(got)
	}
}

// Other hours in publish.yaml, or a clock that was set, count for jobs that wait already.
func TestLargeHoursChange(t *testing.T) {
	p := newPlace(t, nightly)
	p.hub.image(large, strings.Repeat("x", 5000))
	id := p.ask(large)[0]
	p.once()
	p.clock.move(-60 * 24 * time.Hour)
	if got := p.once(); got[large] != "waiting" {
		t.Fatalf("after the clock was set back: %v", got)
	}
	if until := p.job(id).Until; until.Sub(p.clock.now()) > 24*time.Hour {
		t.Errorf("it waits until %s, and it is %s", until, p.clock.now())
	}
	p.clock.move(5 * time.Hour)
	if got := p.once(); got[large] != "staged" {
		t.Errorf("the window is open: %v", got)
	}

	p = newPlace(t, nightly)
	p.hub.image(large, strings.Repeat("x", 5000))
	p.ask(large)
	p.once()
	p.Config.Large.Window = "11:00-13:00 UTC"
	if got := p.once(); got[large] != "staged" {
		t.Errorf("with other hours: %v", got)
	}
}
