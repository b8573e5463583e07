package publish

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/publish/publish/journal"
	"example.com/publish/publish/site/bucket"
	"example.com/publish/stage"
)

var errDied = errors.New("the machine has died")

// checks is a configuration with a health check.
func checks(command string) func(*Config) {
	return func(c *Config) { c.HealthCheck.Command = []string{command} }
}

// inCheck promotes on a machine, and calls do after the switch, before the health check.
func inCheck(a *machine, do func() error) error {
	a.step = func(name string) error {
		if name != "after-history" {
			return nil
		}
		return do()
	}
	_, err := a.repo().Promote(ctx, PromoteOptions{})
	a.step = nil
	return err
}

// present is the pointer as it is now.
func (m *machine) present(t *testing.T) *bucket.Pointer {
	t.Helper()
	p, err := m.repo().shared.pointer(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// healthOf returns the results of health checks in the history, oldest first.
func healthOf(t *testing.T, m *machine) (out []string) {
	t.Helper()
	events, err := m.repo().History(HistoryFilter{Kinds: []journal.Kind{journal.KindHealth}})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		out = append(out, e.Body.(*journal.Health).Result)
	}
	slices.Reverse(out)
	return out
}

// elsewhere makes the health check that is pending that of a process that nobody here can
// look for.
func elsewhere(t *testing.T, m *machine) {
	t.Helper()
	r := m.repo()
	s, err := r.load(ctx)
	if err != nil {
		t.Fatal(err)
	}
	c, err := r.shared.step(s.history, r.shared.at)
	if err != nil {
		t.Fatal(err)
	}
	pending := *r.shared.at.Pending
	pending.Who = "ada@far-away.4026531836.1.1"
	c.Pending = &pending
	if _, err := r.shared.commit(ctx, r.shared.at, c); err != nil {
		t.Fatal(err)
	}
}

// The machine that ran a health check has died. Until its time is over others wait; then the
// first that has a check runs its own, and what that says counts. One without goes on.
func TestSharedHealthTakenOver(t *testing.T) {
	for name, test := range map[string]struct {
		check  func(*Config)
		live   map[string]string
		health []string
	}{
		"it passes": {checks("true"), map[string]string{"a/2": "two", "b/1": "uno"}, []string{"ok", "ok"}},
		"it fails":  {checks("false"), map[string]string{"a/1": "one"}, []string{"failed"}},
		"no check":  {nil, map[string]string{"a/2": "two", "b/1": "uno"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			store := newStore()
			a, b := newMachine(t, store, "ada"), newMachine(t, store, "bob")
			a.put(map[string]string{"a/1": "one"})
			a.promote()
			a.put(map[string]string{"a/2": "two"})
			a.cfg, b.cfg = checks("true"), test.check
			err := inCheck(a, func() error { return errDied })
			wantKind(t, err, Switched)
			elsewhere(t, a)
			b.put(map[string]string{"b/1": "uno"})
			_, err = b.repo().Promote(ctx, PromoteOptions{})
			wantKind(t, err, Locked)
			if done, err := b.repo().Recover(ctx); err != nil || len(healthOf(t, b)) > 0 {
				t.Fatalf("while it may run: %v, %v, %v", done, err, healthOf(t, b))
			}
			store.Advance(time.Duration(a.repo().Config.HealthCheck.Timeout) + healthSlack + time.Second)
			_, err = b.repo().Promote(ctx, PromoteOptions{})
			if name == "it fails" {
				wantKind(t, err, Switched)
			} else if err != nil {
				t.Fatal(err)
			}
			b.wantLive(test.live)
			if got := healthOf(t, a); !slices.Equal(got, test.health) {
				t.Errorf("the history has %v, want %v", got, test.health)
			}
			if p := b.present(t).Pending; p != nil {
				t.Errorf("%+v is still pending", p)
			}
		})
	}
}

// A process of this host that has ended runs no check: the next command does not wait.
func TestSharedHealthOfEndedProcess(t *testing.T) {
	store := newStore()
	a := newMachine(t, store, "ada")
	a.cfg = checks("true")
	a.put(map[string]string{"a/1": "one"})
	err := inCheck(a, func() error { return errDied })
	wantKind(t, err, Switched)
	r := a.repo()
	s, err := r.load(ctx)
	if err != nil {
		t.Fatal(err)
	}
	c, err := r.shared.step(s.history, r.shared.at)
	if err != nil {
		t.Fatal(err)
	}
	self := stage.Self()
	parts := strings.Split(self, ".")
	parts[len(parts)-2] = "4194305" // more than a pid can be
	ended := *r.shared.at.Pending
	ended.Who = "ada@" + strings.Join(parts, ".")
	c.Pending = &ended
	if _, err := r.shared.commit(ctx, r.shared.at, c); err != nil {
		t.Fatal(err)
	}
	if _, err := a.repo().Recover(ctx); err != nil || !slices.Equal(healthOf(t, a), []string{"ok"}) {
		t.Fatalf("%v, %v", err, healthOf(t, a))
	}
}

// A check that comes back after its time reverts nothing, and ends no check of others.
func TestSharedHealthTooLate(t *testing.T) {
	store := newStore()
	a, b := newMachine(t, store, "ada"), newMachine(t, store, "bob")
	a.cfg = checks("true")
	a.put(map[string]string{"a/1": "one"})
	a.promote()
	a.cfg, b.cfg = checks("false"), checks("true")
	a.put(map[string]string{"a/2": "two"})
	err := inCheck(a, func() error {
		elsewhere(t, b)
		store.Advance(time.Hour)
		if _, err := b.repo().Recover(ctx); err != nil {
			return err
		}
		b.put(map[string]string{"b/1": "uno"})
		err := inCheck(b, func() error { return errDied })
		wantKind(t, err, Switched)
		elsewhere(t, b)
		return nil
	})
	wantKind(t, err, Switched)
	a.wantLive(map[string]string{"a/2": "two", "b/1": "uno"})
	if got := healthOf(t, a); !slices.Equal(got, []string{"ok", "ok"}) {
		t.Errorf("the history has %v", got)
	}
	if p := a.present(t); p.Pending == nil || p.Generation != 3 {
		t.Errorf("%+v", p)
	}
}

// A commit of another machine that is no switch does not keep a failed check from going back.
func TestSharedHealthBesideOthers(t *testing.T) {
	store := newStore()
	a, b := newMachine(t, store, "ada"), newMachine(t, store, "bob")
	a.put(map[string]string{"a/1": "one"})
	a.promote()
	a.cfg = checks("false")
	a.put(map[string]string{"a/2": "two"})
	err := inCheck(a, func() error { return b.repo().Pin(ctx, 1, "keep it") })
	wantKind(t, err, Switched)
	a.wantLive(map[string]string{"a/1": "one"})
	if st, err := b.repo().Status(ctx); err != nil || st.Production.Kind != journal.KindAutoRevert ||
		!st.Generations[0].Pinned || b.present(t).Pending != nil {
		t.Errorf("%+v, %v", st, err)
	}
}
