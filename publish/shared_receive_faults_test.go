package publish

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.com/publish/publish/site/bucket/buckettest"
	"example.com/publish/stage/durable"
)

// behindWorld is a target in a store that is behind by a promote and a revoke; first says that
// it is not there yet.
func behindWorld(t *testing.T, first bool) *leader {
	l := localLeader(t, newStore())
	l.put(map[string]string{"a/1": "one", "a/2": "poison"})
	l.promote()
	if !first {
		l.sync()
		l.target.store.Advance(time.Minute)
	}
	l.put(map[string]string{"a/2": "poison", "a/3": "three"})
	l.promote()
	l.revoke("a/2")
	return l
}

var (
	behindBefore = map[string]string{"a/1": "one", "a/2": "poison"}
	behindAfter  = map[string]string{"a/3": "three"}
)

// ends checks that a target of behindWorld is brought forward by the next sync, whatever
// happened before, and that nothing is left.
func (l *leader) ends(what string, first bool) {
	t := l.t
	t.Helper()
	if _, err := l.try(); err != nil {
		t.Fatalf("%s: the next sync: %v", what, err)
	}
	l.follows()
	l.target.wantLive(behindAfter)
	if l.holds("poison") || !first && !l.holds("one") {
		t.Fatalf("%s: %v", what, l.target.store.Keys("images/"))
	}
	if did := l.sync(); did.Switched || did.Redacted != 0 || did.Sent != 0 {
		t.Fatalf("%s: again: %+v", what, did)
	}
	if events, err := l.target.repo().History(HistoryFilter{}); err != nil || first && len(events) > 2 || len(events) > 4 {
		t.Fatalf("%s: %+v, %v", what, events, err)
	}
}

// old checks that a machine that knows nothing sees the old production, or the new one.
func (l *leader) oldOrNew(what string, first bool) {
	t := l.t
	t.Helper()
	m := &machine{store: l.target.store, who: "bob"}
	if first && l.target.store.Data("_publish/pointer.json") == nil {
		return // there is no production yet
	}
	switch live := fmt.Sprint(joined(t.(*testing.T), m).live()); live {
	case fmt.Sprint(behindBefore), fmt.Sprint(behindAfter), "map[]":
		if live == "map[]" && !first {
			t.Fatalf("%s: production is empty", what)
		}
	default:
		t.Fatalf("%s: production is %s", what, live)
	}
}

// stride is how many requests the tests below go on after each one.
func stride() int {
	if faults {
		return 1
	}
	return 3
}

// probes reports whether a request is of the probe, which has tests of its own.
func probes(r buckettest.Request) bool { return strings.HasPrefix(r.Key, "_publish/probe/") }

// A sync is killed at each request. The target has the old generation or the new one, and the
// next sync goes on: also one that has lost its copies.
func TestStoreSyncKilled(t *testing.T) {
	for _, first := range []bool{true, false} {
		for at := 0; ; at += stride() {
			l := behindWorld(t, first)
			what := fmt.Sprintf("first %v, request %d", first, at)
			killed, sent := errors.New("killed"), atomic.Int32{}
			ctx, cancel := context.WithCancelCause(ctx)
			l.target.store.Before = func(_ context.Context, r buckettest.Request) error {
				if !probes(r) && int(sent.Add(1)) > at {
					cancel(killed)
					return killed
				}
				return nil
			}
			_, err := l.tryIn(ctx)
			l.target.store.Before = nil
			if err == nil && int(sent.Load()) <= at {
				if at < 8 {
					t.Fatalf("%s: a sync takes more requests", what)
				}
				break
			}
			l.oldOrNew(what, first)
			if at%2 == 1 {
				if err := durable.RemoveAll(l.target.dir); err != nil {
					t.Fatal(err)
				}
			}
			l.ends(what, first)
		}
	}
}

// Each request of a sync is spoiled once: it is done, once.
func TestStoreSyncSpoiled(t *testing.T) {
	turns := 1
	if faults {
		turns = len(spoils)
	}
	for turn := range turns {
		for _, first := range []bool{true, false} {
			for at, hit := 0, true; hit; at += stride() {
				l := behindWorld(t, first)
				n := 0
				hit = false
				l.target.store.Fault = func(r buckettest.Request) buckettest.Fault {
					if probes(r) || r.Op == "list" { // lists are repeated by each store itself
						return buckettest.None
					}
					if n++; n == at+1 {
						hit = true
						return spoils[(at+turn)%len(spoils)]
					}
					return buckettest.None
				}
				did, err := l.try()
				l.target.store.Fault = nil
				what := fmt.Sprintf("first %v, request %d", first, at)
				if err != nil || !did.Switched || did.Generation != 3 {
					t.Fatalf("%s: %+v, %v", what, did, err)
				}
				l.ends(what, first)
			}
		}
	}
}

// A store that goes away for good: nothing has changed before the swap was sent, else it is
// not known whether it has. The next sync goes on.
func TestStoreSyncGone(t *testing.T) {
	for at := 0; ; at += stride() {
		l := behindWorld(t, false)
		n, swapped := 0, false
		l.target.store.Fault = func(r buckettest.Request) buckettest.Fault {
			if n++; n <= at {
				return buckettest.None
			}
			swapped = swapped || r.Op == "swap"
			return buckettest.NeverSent
		}
		did, err := l.try()
		l.target.store.Fault = nil
		what := fmt.Sprintf("request %d", at)
		if n <= at {
			return
		}
		want := Failed
		if did.Switched || swapped {
			want = Switched
		}
		if err == nil || kindOf(err) != want {
			t.Fatalf("%s: %+v, %v, want one of kind %d", what, did, err, want)
		}
		if at > 1 && did.Generation == 0 {
			t.Fatalf("%s: it does not say what the target serves: %+v", what, did)
		}
		l.oldOrNew(what, false)
		l.ends(what, false)
	}
}

// Two machines that share a production that leads sync at once, and one is ahead of the
// other: at each request of one the other begins and ends. Neither goes back.
func TestStoreSyncTwice(t *testing.T) {
	for _, newer := range []bool{false, true} { // what the other one brings
		for at := 0; ; at += stride() {
			of, store := newStore(), newStore()
			a := sharedLeader(t, of, store, "ada")
			a.put(map[string]string{"a/1": "one"})
			a.promote()
			a.sync()
			b := sharedLeader(t, of, store, "bob")
			b.put(map[string]string{"a/1": "one", "a/2": "two"})
			b.promote()
			lead, err := a.repo().Lead(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if newer {
				b.put(map[string]string{"a/1": "one", "a/3": "three"})
				b.promote()
			}
			var n atomic.Int32
			var met atomic.Bool
			store.Before = func(context.Context, buckettest.Request) error {
				if int(n.Add(1)) == at+1 {
					met.Store(true)
					if _, err := b.try(); err != nil {
						t.Error(err)
					}
				}
				return nil
			}
			r, whose, err := a.open(lead)
			if err != nil {
				t.Fatal(err)
			}
			did, err := r.ReceiveFrom(ctx, lead, whose, nil)
			store.Before = nil
			switch {
			case err == nil:
			case newer && kindOf(err) == Refused && did.Generation == 3 && strings.Contains(err.Error(), "is ahead of"):
			default:
				t.Fatalf("newer %v, request %d: %+v, %v", newer, at, did, err)
			}
			if !met.Load() {
				b.sync()
			}
			b.follows()
			if events, err := b.target.repo().History(HistoryFilter{}); err != nil || len(events) > 3 {
				t.Fatalf("newer %v, request %d: %+v, %v", newer, at, events, err)
			}
			lead.Close()
			if !met.Load() {
				if at < 5 {
					t.Fatalf("a sync takes %d requests", at)
				}
				break
			}
		}
	}
}

// Many machines found a target at once: one does, and the others join it.
func TestStoreSyncAtOnce(t *testing.T) {
	of, store := newStore(), newStore()
	var all []*leader
	for i := range 4 {
		all = append(all, sharedLeader(t, of, store, fmt.Sprint("machine ", i)))
	}
	all[0].put(map[string]string{"a/1": "one"})
	all[0].promote()
	errs := make(chan error, len(all))
	for _, l := range all {
		go func() {
			_, err := l.try()
			errs <- err
		}()
	}
	for range all {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	for _, l := range all {
		l.follows()
	}
	if events, err := all[0].target.repo().History(HistoryFilter{}); err != nil || len(events) != 1 {
		t.Errorf("%+v, %v", events, err)
	}
}
