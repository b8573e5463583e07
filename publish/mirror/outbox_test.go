package mirror

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"example.com/publish/stage/catalog"
)

// inbox is a receiver that keeps what it gets.
type inbox struct {
	key    string
	events []string

	mu   sync.Mutex
	got  []Notice
	fail func(n Notice) error // nil: all arrives
}

func (b *inbox) Key() string    { return b.key }
func (b *inbox) String() string { return "inbox " + b.key }
func (b *inbox) Wants(event string) bool {
	return len(b.events) == 0 || slices.Contains(b.events, event)
}
func (b *inbox) setFail(f func(n Notice) error) { b.mu.Lock(); defer b.mu.Unlock(); b.fail = f }

func (b *inbox) Deliver(ctx context.Context, d Delivery) error {
	var n Notice
	if err := json.Unmarshal(d.Body, &n); err != nil || n.Delivery != d.ID || n.Event != d.Event ||
		strings.Contains(string(d.Body), "\n") {
		return fmt.Errorf("a bad body %q: %v", d.Body, err)
	}
	b.mu.Lock()
	fail := b.fail
	b.mu.Unlock()
	if fail != nil {
		if err := fail(n); err != nil {
			return err
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.got = append(b.got, n)
	return nil
}

// told are the events and names that arrived.
func (b *inbox) told() (list []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, n := range b.got {
		list = append(list, n.Event+" "+n.Canonical)
	}
	return list
}

// patient is --once with time enough for what receivers take.
var patient = RunOptions{Once: true, Patience: time.Minute}

func (p *place) run(opt RunOptions) {
	p.Helper()
	_, err := p.Run(ctx, opt)
	must(p, err)
}

func (p *place) waits(key string) int {
	p.Helper()
	list, err := os.ReadDir(dir(p.Repo, "outbox", key))
	if errors.Is(err, os.ErrNotExist) {
		return 0
	}
	must(p, err)
	n := 0
	for _, e := range list {
		if strings.HasSuffix(e.Name(), ".json") {
			n++
		}
	}
	return n
}

func wantTold(t testing.TB, b *inbox, want ...string) {
	t.Helper()
	if got := b.told(); !slices.Equal(got, want) {
		t.Errorf("%s was told %q, not %q", b.key, got, want)
	}
}

func TestNotices(t *testing.T) {
	p := newPlace(t, allowed[:len(allowed)-1]+", address: images.example.com}")
	all, some := &inbox{key: "a"}, &inbox{key: "b", events: []string{"failed", "denied"}}
	// What happened before the first run with receivers is told to nobody.
	p.hub.image("hub/old:v1", "old")
	p.ask("hub/old:v1")
	p.once()
	p.Receivers = []Receiver{all, some}
	digest := p.hub.image("hub/app:v1", "one").String()
	p.ask("hub/app:v1", "hub/none:v1")
	p.file("bad", "reference: other/app:v1\n")
	p.run(patient)
	slices.SortFunc(all.got, func(a, b Notice) int { return strings.Compare(a.Event, b.Event) })
	wantTold(t, all, "denied other/app:v1", "failed hub/none:v1", "staged hub/app:v1")
	if len(some.got) != 2 {
		t.Errorf("%q", some.told())
	}
	n := all.got[2]
	if n.Digest != digest || n.Address != "images.example.com/docker.io/hub/app:v1" ||
		n.Pinned != "images.example.com/docker.io/hub/app@"+digest || n.Requesters[0].Who != "alice" || n.ID == "" ||
		n.Time.IsZero() || n.Platforms == nil || n.Class != "" {
		t.Errorf("staged: %+v", n)
	}
	if n := all.got[1]; n.Class != "not-found" || !strings.Contains(n.Error, "there is no such image") {
		t.Errorf("failed: %+v", n)
	}
	if n := all.got[0]; !strings.Contains(n.Error, "mirror.allow does not have it") || n.Class != "" {
		t.Errorf("denied: %+v", n)
	}
	p.promote()
	p.run(patient)
	got := all.told()[3:]
	slices.Sort(got)
	if !slices.Equal(got, []string{"published hub/app:v1", "published hub/old:v1"}) {
		t.Errorf("after promote: %q", got)
	}
	if n := all.got[3]; n.Pinned == "" || n.Delivery == all.got[2].Delivery {
		t.Errorf("published: %+v", n)
	}
	p.run(patient)
	if len(all.got) != 5 || p.waits("a") != 0 {
		t.Errorf("%q, %d wait", all.told(), p.waits("a"))
	}
}

func TestNoticeDrift(t *testing.T) {
	p := newPlace(t, "")
	b := &inbox{key: "a", events: []string{"drift"}}
	p.Receivers = []Receiver{b}
	from := p.hub.image("hub/app:v1", "one")
	var to catalog.Digest
	var once sync.Once
	p.hub.before = func(context.Context, catalog.Digest) error {
		once.Do(func() { to = p.hub.image("hub/app:v1", "two") })
		return nil
	}
	p.ask("hub/app:v1")
	p.run(patient)
	wantTold(t, b, "drift hub/app:v1")
	if d := b.got[0].Drift; d == nil || d.From != from.String() || d.To != to.String() {
		t.Errorf("%+v", b.got[0])
	}
}

// A receiver that fails, or takes its time, delays neither jobs nor others, and gets
// everything later, each with the same delivery.
func TestNoticeReceiverFails(t *testing.T) {
	p := newPlace(t, "")
	var warned []string
	var mu sync.Mutex
	p.Warn = func(text string) { mu.Lock(); defer mu.Unlock(); warned = append(warned, text) }
	bad, good := &inbox{key: "bad"}, &inbox{key: "good"}
	p.Receivers = []Receiver{bad, good}
	var tried []string
	bad.setFail(func(n Notice) error { tried = append(tried, n.Delivery); return errors.New("nobody there") })
	p.hub.image("hub/app:v1", "one")
	p.hub.image("hub/app:v2", "two")
	p.ask("hub/app:v1", "hub/app:v2")
	p.noticePause = func(int) time.Duration { return time.Hour }
	p.run(patient)
	wantTold(t, good, p.events("hub/app:v1", "hub/app:v2")...)
	if p.waits("bad") != 2 || len(tried) != 1 || len(warned) != 1 || !strings.Contains(warned[0], "nobody there") {
		t.Errorf("%d wait, tried %q, warned %q", p.waits("bad"), tried, warned)
	}
	// One that hangs holds up nobody else.
	release := make(chan struct{})
	bad.setFail(func(Notice) error { <-release; return nil })
	p.hub.image("hub/app:v3", "three")
	p.ask("hub/app:v3")
	done := make(chan struct{})
	go func() { p.run(patient); close(done) }()
	for len(good.told()) < 3 {
		time.Sleep(time.Millisecond)
	}
	if len(bad.told()) > 0 {
		t.Error("the test does not hang")
	}
	close(release)
	<-done
	if len(bad.got) != 3 || bad.got[0].Delivery != tried[0] || p.waits("bad") != 0 {
		t.Errorf("then %q", bad.told())
	}
}

// events are the events staged of names, in the order in which the jobs ended.
func (p *place) events(names ...string) (list []string) {
	p.Helper()
	for e, err := range p.Queue.History("") {
		must(p, err)
		if e.Event == string(Staged) && slices.Contains(names, e.Canonical) {
			list = append(list, "staged "+e.Canonical)
		}
	}
	return list
}

// unwanted is an error about one notice alone.
type unwanted struct{ error }

func (unwanted) Unwanted() bool { return true }

// A notice that a receiver does not want holds up no other one.
func TestNoticeUnwanted(t *testing.T) {
	p := newPlace(t, "")
	p.Warn = nil
	b := &inbox{key: "a"}
	p.Receivers = []Receiver{b}
	b.setFail(func(n Notice) error {
		if n.Canonical == "hub/none:v1" {
			return unwanted{errors.New("400")}
		}
		return nil
	})
	p.ask("hub/none:v1")
	p.run(RunOptions{Once: true})
	p.ask("hub/none:v2", "hub/none:v3")
	o := p.newOutbox()
	must(t, o.feed(ctx))
	o.pause = func(int) time.Duration { return time.Hour }
	run, stop := context.WithCancel(ctx)
	o.start(run)
	p.run(RunOptions{Once: true}) // makes the events
	must(t, o.feed(ctx))
	o.flush(ctx, time.Minute)
	stop()
	o.all.Wait()
	got := b.told()
	slices.Sort(got)
	if !slices.Equal(slices.Compact(got), []string{"failed hub/none:v2", "failed hub/none:v3"}) || p.waits("a") != 1 {
		t.Errorf("told %q, %d wait", got, p.waits("a"))
	}
}

// After a day a notice is dropped, which the history has.
func TestNoticeDropped(t *testing.T) {
	p := newPlace(t, "")
	var warned []string
	p.Warn = func(text string) { warned = append(warned, text) }
	b := &inbox{key: "a", fail: func(Notice) error { return errors.New("no") }}
	p.Receivers = []Receiver{b}
	p.ask("hub/none:v1")
	p.run(RunOptions{Once: true})
	send := func() {
		t.Helper()
		o := p.newOutbox()
		must(t, o.feed(ctx))
		o.pause = func(int) time.Duration { return time.Hour }
		run, stop := context.WithCancel(ctx)
		o.start(run)
		o.flush(ctx, time.Minute)
		stop()
		o.all.Wait()
	}
	send()
	p.clock.move(-48 * time.Hour) // it was set back: the day begins anew
	send()
	p.clock.move(23 * time.Hour)
	send()
	if p.waits("a") != 1 {
		t.Fatalf("%d wait", p.waits("a"))
	}
	p.clock.move(2 * time.Hour)
	send()
	dropped := 0
	for e, err := range p.Queue.History("") {
		must(t, err)
		if e.Event == NoticeDropped && strings.Contains(e.Detail, "inbox a: failed, delivery ") {
			dropped++
		}
	}
	if p.waits("a") != 0 || dropped != 1 || !strings.Contains(warned[len(warned)-1], "is dropped") {
		t.Errorf("%d wait, %d dropped, %q", p.waits("a"), dropped, warned)
	}
}

// What waits for a receiver that is not configured any more goes; without receivers, all.
func TestNoticeReceiverRemoved(t *testing.T) {
	p := newPlace(t, "")
	p.Warn = nil
	a, b := &inbox{key: "a", fail: func(Notice) error { return errors.New("no") }}, &inbox{key: "b"}
	p.Receivers = []Receiver{a, b}
	p.ask("hub/none:v1")
	p.run(RunOptions{Once: true})
	if p.waits("a") != 1 {
		t.Fatalf("%d wait", p.waits("a"))
	}
	p.Receivers = []Receiver{b}
	p.ask("hub/none:v1")
	p.run(patient)
	if _, err := os.Stat(dir(p.Repo, "outbox", "a")); !errors.Is(err, os.ErrNotExist) || len(b.got) != 2 {
		t.Errorf("%v, b was told %q", err, b.told())
	}
	p.Receivers = nil
	p.run(patient)
	if _, err := os.Stat(dir(p.Repo, "outbox")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the outbox is there: %v", err)
	}
	p.ask("hub/none:v1")
	p.run(patient)
	p.Receivers = []Receiver{b}
	p.run(patient)
	if len(b.got) != 2 {
		t.Errorf("the past was told: %q", b.told())
	}
}

// A kill anywhere, of the queue, of the filling of the outbox, or of the sending, loses no
// notice, tells none of a change that was not made, and what is told twice has the same
// delivery.
func TestNoticeKilled(t *testing.T) {
	for _, end := range []string{"staged", "failed"} {
		for n := 0; ; n++ {
			p := newPlace(t, "")
			p.Warn = nil
			b := &inbox{key: "a"}
			p.Receivers = []Receiver{b}
			must(t, p.newOutbox().feed(ctx)) // the first start
			p.ask("hub/app:v1")
			at, reached := 0, false
			kill := func(string) error {
				if at++; at > n {
					reached = true
					return errKilled
				}
				return nil
			}
			work := func(kill func(string) error) {
				_, err := p.Queue.Recover(ctx)
				must(t, err)
				o := p.newOutbox()
				o.step, p.Queue.step = kill, kill
				defer func() { p.Queue.step = nil }()
				c, err := p.Queue.Claim(ctx, nil)
				if err == nil && c != nil {
					err = c.Finish(State(end), func(j *Job) { j.Digest = "sha256:1"; j.Class = "not-found" })
					c.Abandon()
				}
				if err != nil && kill != nil {
					return
				}
				must(t, err)
				for range 2 {
					if err := o.feed(ctx); err != nil {
						return
					}
					names, err := o.names("a")
					must(t, err)
					for _, name := range names {
						if o.sendOne(ctx, o.sending["a"], name) != nil {
							return
						}
					}
				}
			}
			work(kill)
			if !reached {
				wantTold(t, b, end+" hub/app:v1")
				break
			}
			p.Mirror = p.open(p.Repo.Dir)
			p.Receivers = []Receiver{b}
			p.clock.move(time.Second)
			must(t, p.newOutbox().feed(ctx)) // in the middle of all
			if j := p.jobs()[0]; !j.State.Ended() && (p.waits("a") > 0 || len(b.got) > 0) {
				t.Errorf("%s, killed at %d: the job is %s, and %d wait", end, n, j.State, p.waits("a"))
			}
			work(nil)
			work(nil)
			told := map[string]bool{}
			for _, got := range b.got {
				told[got.Event+" "+got.Delivery] = true
			}
			if len(told) != 1 || b.got[0].Event != end || p.waits("a") != 0 {
				t.Errorf("%s, killed at %d: told %q, %d wait", end, n, b.told(), p.waits("a"))
			}
		}
	}
}

// Two processes tell each receiver once, and a damaged cursor begins anew.
func TestNoticeTwoProcesses(t *testing.T) {
	p := newPlace(t, "")
	b := &inbox{key: "a"}
	p.Receivers = []Receiver{b}
	one, two := p.newOutbox(), p.newOutbox()
	must(t, one.feed(ctx))
	must(t, two.feed(ctx))
	p.ask("hub/none:v1")
	for _, name := range []string{"hub/none:v2", "hub/none:v3", "hub/none:v4"} {
		p.Receivers = nil // the run itself tells nobody
		keep := p.Mirror
		p.ask(name)
		c, err := p.Queue.Claim(ctx, nil)
		must(t, err)
		must(t, c.Finish(Failed, nil))
		p.Mirror = keep
		must(t, one.feed(ctx))
		must(t, two.feed(ctx))
	}
	if n := p.waits("a"); n != 3 {
		t.Errorf("%d wait", n)
	}
	run, stop := context.WithCancel(ctx)
	one.start(run)
	two.start(run)
	one.flush(ctx, time.Minute)
	two.flush(ctx, time.Minute)
	stop()
	one.all.Wait()
	two.all.Wait()
	if len(b.got) != 3 {
		t.Errorf("told %q", b.told())
	}
	must(t, os.WriteFile(filepath.Join(one.dir, "cursor"), []byte("{"), 0o644))
	var warned []string
	p.Warn = func(text string) { warned = append(warned, text) }
	p.Receivers = []Receiver{b}
	must(t, p.newOutbox().feed(ctx))
	if len(warned) != 1 || p.waits("a") != 0 {
		t.Errorf("%q, %d wait", warned, p.waits("a"))
	}
}

// What was delivered and cannot be removed is not delivered again at each glance. A damaged
// file stops nothing.
func TestNoticeStays(t *testing.T) {
	p := newPlace(t, "")
	var warned []string
	p.Warn = func(text string) { warned = append(warned, text) }
	b := &inbox{key: "a"}
	p.Receivers = []Receiver{b}
	o := p.newOutbox()
	o.pause = func(int) time.Duration { return time.Hour }
	must(t, o.feed(ctx))
	must(t, os.WriteFile(o.path("a", "00000000-0.json"), []byte("{"), 0o600))
	for _, name := range []string{"hub/none:v1", "hub/none:v2"} {
		p.ask(name)
		c, err := p.Queue.Claim(ctx, nil)
		must(t, err)
		must(t, c.Finish(Failed, nil))
	}
	must(t, o.feed(ctx))
	failing := errors.New("read-only")
	o.step = func(step string) error { return map[string]error{"sent": failing}[step] }
	run, stop := context.WithCancel(ctx)
	o.start(run)
	for range 5 {
		o.flush(ctx, 0)
	}
	stop()
	o.all.Wait()
	if len(b.got) != 1 || p.waits("a") != 2 || len(warned) != 2 || !strings.Contains(warned[0], "is damaged") {
		t.Errorf("told %q, %d wait, %q", b.told(), p.waits("a"), warned)
	}
}

// An outbox that cannot be written is a warning, once, whatever temporary file is the next.
func TestNoticesUnwritten(t *testing.T) {
	for _, why := range []error{syscall.ENOSPC, syscall.EACCES} {
		p := newPlace(t, "")
		var warned []string
		p.Warn = func(text string) { warned = append(warned, text) }
		b := &inbox{key: "a"}
		p.Receivers = []Receiver{b}
		p.run(patient)
		_, err := p.Queue.Deny(ctx, want("x"), "no")
		must(t, err)
		f, n := p.openFront(ctx), 0
		f.outbox.step = func(string) error {
			n++
			return &os.PathError{Op: "write", Path: fmt.Sprint(".x", n), Err: why}
		}
		for range 3 {
			f.notices(ctx)
		}
		if n != 3 || len(warned) != 1 || warned[0] != "notices: write .x1: "+why.Error() {
			t.Errorf("%d tries, %q", n, warned)
		}
		f.outbox.step = nil
		f.close(ctx, time.Minute)
		if got := b.told(); len(got) != 1 {
			t.Errorf("told %q", got)
		}
	}
}
