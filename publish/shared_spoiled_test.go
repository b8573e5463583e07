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
)

// TestSharedKilled kills a promote at each request, and lets another machine look and go
// on.
func TestSharedKilled(t *testing.T) {
	for at := 0; ; at++ {
		store := newStore()
		m := newMachine(t, store, "ada")
		m.put(map[string]string{"a/1": "one"})
		m.promote()
		m.put(map[string]string{"a/2": "two"})
		killed, sent := errors.New("killed"), atomic.Int32{}
		ctx, cancel := context.WithCancelCause(ctx)
		store.Before = func(context.Context, buckettest.Request) error {
			if int(sent.Add(1)) > at {
				cancel(killed)
				return killed
			}
			return nil
		}
		_, err := m.repo().Promote(ctx, PromoteOptions{})
		store.Before = nil
		n := int(sent.Load())
		if err == nil && n <= at {
			if at < 5 {
				t.Fatal("a promote takes more requests")
			}
			return
		}
		switch live := fmt.Sprint(newMachine(t, store, "bob").live()); live {
		case "map[a/1:one]", "map[a/2:two]":
		default:
			t.Fatalf("request %d: production is %s", at, live)
		}
		m.promote()
		m.wantLive(map[string]string{"a/2": "two"})
	}
}

// spoiled runs do with each request spoiled in turn, in a world that begin makes, and
// then check. It ends when do takes fewer requests.
func spoiled(t *testing.T, begin func() *machine, do func(*machine) error,
	check func(m *machine, at int, err error)) {
	t.Helper()
	turns := 1
	if faults {
		turns = len(spoils)
	}
	for turn := range turns {
		spoiledIn(t, turn, begin, do, check)
	}
}

// spoiledIn is spoiled with one fault a request: a turn decides which.
func spoiledIn(t *testing.T, turn int, begin func() *machine, do func(*machine) error,
	check func(m *machine, at int, err error)) {
	t.Helper()
	spoiledEach(t, turn, 0, 1, begin, do, check)
}

// spoiledEach is spoiledIn for the request first, and each one that is step later.
func spoiledEach(t *testing.T, turn, first, step int, begin func() *machine, do func(*machine) error,
	check func(m *machine, at int, err error)) {
	t.Helper()
	for at := first; ; at += step {
		m := begin()
		n, hit := 0, false
		m.store.Fault = func(buckettest.Request) buckettest.Fault {
			if n++; n == at+1 {
				hit = true
				return spoils[(at+turn)%len(spoils)]
			}
			return buckettest.None
		}
		err := do(m)
		m.store.Fault = nil
		if !hit {
			if at < 4 {
				t.Fatalf("it takes %d requests", at)
			}
			return
		}
		check(m, at, err)
	}
}

var spoils = []buckettest.Fault{buckettest.NeverSent, buckettest.Lost, buckettest.Twice}

// Each request of a promote, a revert and a gc is spoiled: it is done, once.
func TestSharedSpoiled(t *testing.T) {
	begin := func() *machine {
		m := newMachine(t, newStore(), "ada")
		m.put(map[string]string{"a/1": "one"})
		m.promote()
		m.put(map[string]string{"a/2": "two"})
		return m
	}
	spoiled(t, begin, func(m *machine) error {
		_, err := m.repo().Promote(ctx, PromoteOptions{})
		return err
	}, func(m *machine, at int, err error) {
		if err != nil {
			t.Fatalf("promote, request %d: %v", at, err)
		}
		m.wantLive(map[string]string{"a/2": "two"})
		if res := m.promote(); !res.Unchanged || res.Generation != 2 {
			t.Fatalf("promote, request %d: %+v", at, res)
		}
	})
	spoiled(t, func() *machine { m := begin(); m.promote(); return m }, func(m *machine) error {
		_, err := m.repo().Revert(ctx, RevertOptions{})
		return err
	}, func(m *machine, at int, err error) {
		if err != nil {
			t.Fatalf("revert, request %d: %v", at, err)
		}
		m.wantLive(map[string]string{"a/1": "one"})
		if events, err := m.repo().History(HistoryFilter{}); err != nil || len(events) != 3 {
			t.Fatalf("revert, request %d: %v, %v", at, events, err)
		}
	})
	spoiled(t, func() *machine {
		m := begin()
		m.promote()
		m.store.Advance(24 * time.Hour)
		return m
	}, func(m *machine) error {
		_, err := m.repo().GC(ctx, false)
		return err
	}, func(m *machine, at int, err error) {
		if err != nil {
			t.Fatalf("gc, request %d: %v", at, err)
		}
		m.wantLive(map[string]string{"a/2": "two"})
		m.store.Advance(time.Hour)
		if _, err := m.repo().GC(ctx, false); err != nil {
			t.Fatal(err)
		}
		for _, key := range m.store.Keys("images/") {
			if string(m.store.Data(key)) == "one" {
				t.Fatalf("gc, request %d: %s is still there", at, key)
			}
		}
	})
}

// A store that goes away: 1 before the swap was sent, else it is not known what is
// production.
func TestSharedGone(t *testing.T) {
	for at := 0; ; at++ {
		m := newMachine(t, newStore(), "ada")
		m.put(map[string]string{"a/1": "one"})
		m.promote()
		m.put(map[string]string{"a/2": "two"})
		n, swapped := 0, false
		m.store.Fault = func(r buckettest.Request) buckettest.Fault {
			if n++; n <= at {
				return buckettest.None
			}
			swapped = swapped || r.Op == "swap"
			return buckettest.NeverSent
		}
		_, err := m.repo().Promote(ctx, PromoteOptions{})
		m.store.Fault = nil
		if n <= at {
			return
		}
		want := Failed
		if swapped {
			want = Switched
		}
		if err == nil && !swapped { // the promote is done, and gc failed
			m.wantLive(map[string]string{"a/2": "two"})
			continue
		}
		if err == nil || kindOf(err) != want {
			t.Fatalf("request %d: %v (kind %d), want one of kind %d", at, err, kindOf(err), want)
		}
		m.promote()
		m.wantLive(map[string]string{"a/2": "two"})
	}
}

// The pointer can be written anew if somebody deleted or overwrote it.
func TestSharedRescue(t *testing.T) {
	for name, spoil := range map[string]func(*buckettest.Memory, string){
		"overwritten": func(s *buckettest.Memory, key string) { s.Set(key, []byte(`{"index":{}}`), "") },
		"deleted": func(s *buckettest.Memory, key string) {
			if _, err := s.Delete(ctx, []string{key}, false); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			store := newStore()
			m := newMachine(t, store, "ada")
			m.put(map[string]string{"a/1": "one", "a/2": "bad"})
			m.promote()
			if _, err := m.repo().Revoke(ctx, RevokeOptions{What: []string{"a/2"}, Why: "has a key"}); err != nil {
				t.Fatal(err)
			}
			m.put(map[string]string{"a/1": "one", "a/3": "three"})
			m.promote()
			spoil(store, "_publish/pointer.json")
			if _, err := m.repo().Promote(ctx, PromoteOptions{}); err == nil ||
				!strings.Contains(err.Error(), "_publish/pointer.json") {
				t.Fatal(err)
			}
			if did, err := m.repo().Rescue(ctx); err != nil || did == "" {
				t.Fatal(did, err)
			}
			want := map[string]string{"a/1": "one", "a/3": "three"}
			m.wantLive(want)
			if res := m.promote(); !res.Unchanged {
				t.Fatalf("%+v", res)
			}
			m.stageAlso(map[string]string{"a/2": "bad"})
			_, err := m.repo().Promote(ctx, PromoteOptions{})
			wantKind(t, err, Refused)
			m.put(map[string]string{"a/4": "four"})
			if res := m.promote(); res.Generation != 4 {
				t.Fatalf("%+v", res)
			}
			if events, err := m.repo().History(HistoryFilter{}); err != nil || len(events) < 4 {
				t.Fatalf("%v, %v", events, err)
			}
		})
	}
}
