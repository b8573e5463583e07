package publish

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.com/publish/publish/site/bucket/store"
	"example.com/publish/publish/site/bucket/storetest"
)

// viaHTTP makes a machine whose store answers at endpoint, and where time passes only when
// it waits.
func viaHTTP(t *testing.T, s *storetest.Server, endpoint, who string) *machine {
	t.Helper()
	quick := func(ctx context.Context, _ time.Duration) error { return context.Cause(ctx) }
	opened, err := store.Open(ctx, store.Config{Bucket: s.Bucket, Prefix: "images", Endpoint: endpoint, Sleep: quick})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(opened.CloseIdle)
	m := joined(t, &machine{via: opened, who: who})
	m.cfg = func(c *Config) { c.Grace, c.Generations.Keep = 0, 1 }
	return m
}

// A machine falls asleep at a request of its promote, and others commit seventy times, collect
// twice, and delete what it has found in the store. When it goes on, its staging is united
// with theirs, or refused: nothing of theirs is lost, and all that production names is there.
func TestSharedAsleep(t *testing.T) {
	const most = 40
	for at := 1; ; at++ {
		if !faults && at%4 != 2 && at < most { // each takes a second
			continue
		}
		if more := asleepAt(t, at); !more {
			if at < 6 {
				t.Fatalf("a promote takes %d requests", at)
			}
			break
		}
	}
}

func asleepAt(t *testing.T, at int) (more bool) {
	server := storetest.Fake(t)
	server.Setenv(t)
	proxy := storetest.NewProxy(t, server)
	a, b := viaHTTP(t, server, proxy.Endpoint, "ada"), viaHTTP(t, server, server.Endpoint, "bob")
	promote := func(m *machine, items map[string]string) {
		t.Helper()
		m.put(items)
		m.promote()
	}
	// The content of x/1 is there, and due: nothing but the first generation has it.
	a.put(map[string]string{"a/1": "one", "x/1": "back"})
	a.promote()
	promote(a, map[string]string{"a/1": "one", "a/2": "two"})
	a.stageAlso(map[string]string{"x/2": "back"})
	if _, _, err := b.repo().Reset(ctx); err != nil {
		t.Fatal(err)
	}
	var hit atomic.Bool
	meanwhile := func() {
		if at%3 != 0 { // else a's base is forgotten
			if err := b.repo().Pin(ctx, 2, "somebody sleeps"); err != nil {
				t.Error(err)
			}
		}
		promote(b, map[string]string{"a/1": "one", "b/1": "uno"})
		b.commits(34)
		collects(t, b)
		b.stageAlso(map[string]string{"b/2": "due"})
		b.promote()
		b.commits(34)
		collects(t, b)
	}
	proxy.Around(func(r storetest.Request) {
		if r.N == at && !hit.Swap(true) {
			meanwhile()
		}
	}, nil)
	proxy.Spoil(nil)
	_, err := a.repo().Promote(ctx, PromoteOptions{})
	proxy.Around(nil, nil)
	if !hit.Load() {
		return false
	}
	want := "a/1 b/1 b/2"
	switch {
	case err == nil:
		want += " x/2"
	case kindOf(err) != Refused || at%3 != 0:
		t.Fatalf("request %d: %v", at, err)
	}
	if got := versionsIn(t, b, "production"); got != want {
		t.Fatalf("request %d: production has %s, want %s", at, got, want)
	}
	if report, _, err := b.repo().Verify(ctx, "", true); err != nil || len(report.Findings) > 0 {
		t.Fatalf("request %d: %+v, %v", at, report, err)
	}
	return true
}

func collects(t *testing.T, m *machine) {
	t.Helper()
	if _, err := m.repo().GC(ctx, false); err != nil {
		t.Error(err)
	}
}

// versionsIn are the versions that a tree of a machine has.
func versionsIn(t *testing.T, m *machine, tree string) string {
	t.Helper()
	list, err := m.repo().List(ctx, tree)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, i := range list {
		out = append(out, i.Product+"/"+i.Version)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}
