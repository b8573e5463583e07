package publish

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"example.com/publish/publish/site/bucket/buckettest"
)

// TestSharedKilled kills a promote at each request, and lets another machine look and go
func TestSharedKilled(t *testing.T) {
	for at := 0; ; at++ {
		store := newStore()
		m := newMachine(t, store, "ada")
		m.put(map[string]string{"a/1": "one"})
		m.promote()
		m.put(map[string]string{"a/2": "two"})
		killed, n := errors.New("killed"), 0
		ctx, cancel := context.WithCancelCause(ctx)
		store.Before = func(context.Context, buckettest.Request) error {
			if n++; n > at {
				cancel(killed)
				return killed
			}
			return nil
		}
		_, err := m.repo().Promote(ctx, PromoteOptions{})
		store.Before = nil
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

func spoiled(t *testing.T, fault buckettest.Fault, begin func() *machine, do func(*machine) error,
	check func(m *machine, at int, err error)) {
	t.Helper()
	for at := 0; ; at++ {
		m := begin()
		n, hit := 0, false
		m.store.Fault = func(buckettest.Request) buckettest.Fault {
			if n++; n == at+1 {
				hit = true
				return fault
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

var spoils = map[string]buckettest.Fault{"never sent": buckettest.NeverSent, "answer lost": buckettest.Lost,
	"twice": buckettest.Twice}

func TestSharedSpoiled(t *testing.T) {
	begin := func() *machine {
		m := newMachine(t, newStore(), "ada")
		m.put(map[string]string{"a/1": "one"})
		m.promote()
		m.put(map[string]string{"a/2": "two"})
		return m
	}
	for name, fault := range spoils {
		t.Run(name, func(t *testing.T) {
			spoiled(t, fault, begin, func(m *machine) error {
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
			spoiled(t, fault, func() *machine { m := begin(); m.promote(); return m }, func(m *machine) error {
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
			spoiled(t, fault, func() *machine {
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
		})
	}
}

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
