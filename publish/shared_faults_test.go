package publish

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"testing"
	"time"

	"example.com/publish/publish/journal"
	"example.com/publish/publish/site/bucket/buckettest"
)

// sharedVerb is a command on the production of begin, which another machine shares.
type sharedVerb struct {
	kind  journal.Kind // of its line in the history; "" for none
	begin func(t *testing.T) *machine
	do    func(m *machine) error
	// before and after are what production has; the other machine adds to it.
	before, after map[string]string
	// done checks what else the command does.
	done func(t *testing.T, m *machine)
}

// thenStaged has production a/1, and a/2 staged.
func thenStaged(t *testing.T) *machine {
	m := newMachine(t, newStore(), "ada")
	m.put(map[string]string{"a/1": "one"})
	m.promote()
	m.put(map[string]string{"a/2": "two"})
	return m
}

func thenPromoted(t *testing.T) *machine {
	m := thenStaged(t)
	m.promote()
	return m
}

// thenDue is thenPromoted a day later: the first generation can be deleted.
func thenDue(t *testing.T) *machine {
	m := thenPromoted(t)
	m.store.Advance(24 * time.Hour)
	return m
}

var (
	one = map[string]string{"a/1": "one"}
	two = map[string]string{"a/2": "two"}
)

var sharedVerbs = map[string]sharedVerb{
	"promote": {kind: journal.KindPromote, begin: thenStaged, before: one, after: two,
		do: func(m *machine) error {
			res, err := m.repo().Promote(ctx, PromoteOptions{})
			if err == nil && (res.Generation != 2 || res.Unchanged) {
				return fmt.Errorf("%+v", res)
			}
			return err
		}},
	"revert": {kind: journal.KindRevert, begin: thenPromoted, before: two, after: one,
		do: func(m *machine) error {
			res, err := m.repo().Revert(ctx, RevertOptions{To: 1})
			if err == nil && res.Generation != 3 {
				return fmt.Errorf("%+v", res)
			}
			return err
		}},
	"gc": {kind: journal.KindGC, begin: thenDue, before: two, after: two,
		do: func(m *machine) error { _, err := m.repo().GC(ctx, false); return err },
		done: func(t *testing.T, m *machine) {
			for _, key := range m.store.Keys("images/") {
				if string(m.store.Data(key)) == "one" {
					t.Errorf("%s is still there", key)
				}
			}
		}},
	"revoke": {kind: journal.KindRevoke, begin: thenPromoted, before: two, after: map[string]string{},
		do: func(m *machine) error {
			_, err := m.repo().Revoke(ctx, RevokeOptions{What: []string{"a/2"}, Why: "leaked"})
			return err
		},
		done: func(t *testing.T, m *machine) {
			for _, key := range m.store.Keys("images/") {
				if string(m.store.Data(key)) == "two" {
					t.Errorf("%s is still there", key)
				}
			}
		}},
	"hold": {kind: journal.KindHold, begin: thenPromoted, before: two, after: two,
		do: func(m *machine) error { return m.repo().Hold(ctx, "looking") },
		done: func(t *testing.T, m *machine) {
			_, err := m.repo().Promote(ctx, PromoteOptions{})
			wantKind(t, err, Refused)
		}},
	"recover": {begin: func(t *testing.T) *machine { m := thenStaged(t); m.killedAt("before-swap"); return m },
		before: one, after: one,
		do: func(m *machine) error { _, err := m.repo().Recover(ctx); return err }},
}

// eachShared calls test for each verb. What is left out by default comes in turns of at.
func eachShared(t *testing.T, test func(t *testing.T, v sharedVerb, at int) (more bool)) {
	for name, v := range sharedVerbs {
		t.Run(name, func(t *testing.T) {
			for at := 0; test(t, v, at); at++ {
				if at > 100 {
					t.Fatal("it does not end")
				}
			}
		})
	}
}

// lines counts the lines of a kind that a machine wrote in the history.
func (m *machine) lines(kind journal.Kind, who string) (n int) {
	m.t.Helper()
	events, err := m.repo().History(HistoryFilter{})
	if err != nil {
		m.t.Fatal(err)
	}
	for _, e := range events {
		if e.Kind == kind && e.Who == who {
			n++
		}
	}
	return n
}

// Each swap of the pointer is spoiled, and before this machine asks what became of it another
// one has built on it: the command is done, once, with its own number.
func TestSharedBuiltOn(t *testing.T) {
	for turn, fault := range []buckettest.Fault{buckettest.Lost, buckettest.Twice} {
		eachShared(t, func(t *testing.T, v sharedVerb, at int) bool {
			if !faults && (at+turn)%2 == 1 {
				return at == 0
			}
			m := v.begin(t)
			bob := newMachine(t, m.store, "bob")
			want, other := maps.Clone(v.after), func(bob *machine) error {
				bob.stageAlso(map[string]string{"b/1": "uno"})
				_, err := bob.repo().Promote(ctx, PromoteOptions{Force: true})
				return err
			}
			if want["b/1"] = "uno"; v.kind == journal.KindHold {
				delete(want, "b/1")
				other = func(bob *machine) error { return bob.repo().Pin(ctx, 1, "for the audit") }
			}
			were := m.lines(v.kind, "ada")
			swaps, hit, built := 0, false, false
			m.store.Fault = func(r buckettest.Request) buckettest.Fault {
				if r.Op != "swap" || hit {
					return buckettest.None
				}
				if swaps++; swaps <= at {
					return buckettest.None
				}
				hit = true
				return fault
			}
			m.store.Before = func(context.Context, buckettest.Request) error {
				if hit && !built {
					built = true
					if err := other(bob); err != nil {
						return fmt.Errorf("bob: %w", err)
					}
				}
				return nil
			}
			err := v.do(m)
			m.store.Fault, m.store.Before = nil, nil
			if !hit {
				return false
			}
			if err != nil {
				t.Fatalf("swap %d: %v", at, err)
			}
			if n := m.lines(v.kind, "ada") - were; v.kind != "" && n != 1 {
				t.Errorf("swap %d: it has %d lines in the history", at, n)
			}
			bob.wantLive(want)
			if v.done != nil {
				v.done(t, m)
			}
			return true
		})
	}
}

// The command is killed at each request, and another machine works on; then it comes again.
func TestSharedKilledAtRequests(t *testing.T) {
	eachShared(t, func(t *testing.T, v sharedVerb, at int) bool {
		if !faults && at%2 == 1 {
			return true
		}
		m := v.begin(t)
		killed, sent := errors.New("killed"), 0
		m.store.Before = func(_ context.Context, r buckettest.Request) error {
			if sent++; sent > at {
				return killed
			}
			return nil
		}
		err := v.do(m)
		m.store.Before = nil
		if err == nil && sent <= at {
			return false
		}
		bob := newMachine(t, m.store, "bob")
		if live := bob.live(); !maps.Equal(live, v.before) && !maps.Equal(live, v.after) {
			t.Fatalf("request %d: production is %v", at, live)
		}
		if _, err := m.repo().Recover(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := m.repo().Recover(ctx); err != nil {
			t.Fatal(err)
		}
		if st, err := m.repo().Status(ctx); err != nil || st.RecoveryPending {
			t.Fatalf("request %d: %+v, %v", at, st, err)
		}
		if report, _, err := bob.repo().Verify(ctx, "", true); err != nil || len(report.Findings) > 0 {
			t.Fatalf("request %d: %+v, %v", at, report, err)
		}
		m.store.Advance(time.Hour) // what a gc condemned is free
		if maps.Equal(bob.live(), v.before) {
			if err := v.do(m); err != nil && kindOf(err) != Refused && kindOf(err) != NotFound {
				t.Fatalf("request %d, again: %v", at, err)
			}
		}
		bob.wantLive(v.after)
		if v.done != nil {
			v.done(t, m)
		}
		return true
	})
}

// The store goes away: exit code 1 before a swap was sent, else 7, because nobody can know.
func TestSharedGoneFor(t *testing.T) {
	eachShared(t, func(t *testing.T, v sharedVerb, at int) bool {
		m := v.begin(t)
		n, swapped := 0, false
		m.store.Fault = func(r buckettest.Request) buckettest.Fault {
			if n++; n <= at {
				return buckettest.None
			}
			swapped = swapped || r.Op == "swap"
			if !faults && at%2 == 1 && r.Op == "swap" {
				return buckettest.Lost
			}
			return buckettest.NeverSent
		}
		err := v.do(m)
		m.store.Fault = nil
		if n <= at {
			return false
		}
		live := newMachine(t, m.store, "bob").live()
		switch {
		case err == nil && !swapped: // what failed was a gc behind it
			if !maps.Equal(live, v.after) {
				t.Fatalf("request %d: exit 0, and %v", at, live)
			}
		case err == nil || kindOf(err) != Switched && swapped:
			t.Fatalf("request %d: %v", at, err)
		case kindOf(err) == Failed && !maps.Equal(live, v.before):
			t.Fatalf("request %d: exit 1, and %v: %v", at, live, err)
		}
		m.store.Advance(time.Hour)
		if _, err := m.repo().Recover(ctx); err != nil {
			t.Fatalf("request %d: %v", at, err)
		}
		return true
	})
}
