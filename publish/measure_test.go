package publish

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/publish/stage/lock"
)

func (w *world) measure() *Measures {
	w.t.Helper()
	m, err := w.repo().Measure(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	return m
}

// The measures predict what gc then does. The next window ends when more becomes due.
func TestMeasureForetellsGC(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := newWorld(t, mode)
		// Generation 2 carries it; it is the same file as in generation 1.
		one := strings.Repeat("one", 1<<20)
		w.put(map[string]string{"a/1": one})
		w.promote()
		w.now = w.now.Add(10 * time.Minute)
		w.put(map[string]string{"a/2": "two"})
		if err := os.Remove(filepath.Join(w.dir, "staging", "images", sumOf(one)[:16]+".bin")); err != nil {
			t.Fatal(err)
		}
		w.promote()
		m := w.measure()
		next := m.GCNext
		if m.GC.Files+len(m.GC.Generations) != 0 || m.NextExpiry == nil || !m.NextExpiry.Equal(w.now.Add(2*time.Hour)) {
			t.Fatalf("%+v, next %v", m.GC, m.NextExpiry)
		}
		w.now = *m.NextExpiry
		m = w.measure()
		if m.NextExpiry != nil || len(m.GC.Generations) != 1 || m.GC.Files != 1 || m.GC.Bytes < int64(len(one)) {
			t.Fatalf("%+v, next %v", m.GC, m.NextExpiry)
		}
		if !cmp.Equal(next, m.GC) {
			t.Fatalf("foretold and due:\n%s", cmp.Diff(next, m.GC))
		}
		want := *m.GC
		got := w.gc()
		if want.DryRun = false; !cmp.Equal(&want, got) {
			t.Fatalf("foretold and done:\n%s", cmp.Diff(&want, got))
		}
		if m = w.measure(); m.GC.Files+len(m.GC.Generations) != 0 || len(m.Generations) != 0 {
			t.Fatalf("after it: %+v", m.GC)
		}
	})
}

// LastPromote ignores promotes that a health check undid, and reverts.
func TestMeasureLastPromote(t *testing.T) {
	w := newWorld(t, "symlink")
	if m := w.measure(); m.LastPromote != nil || m.Production != nil || m.FreeBytes <= 0 {
		t.Fatalf("%+v", m)
	}
	w.put(map[string]string{"a/1": "one"})
	w.promote()
	w.now = w.now.Add(time.Hour)
	w.cfg = func(c *Config) { c.HealthCheck.Command = []string{"false"} }
	w.put(map[string]string{"a/2": "two"})
	_, err := w.repo().Promote(ctx, PromoteOptions{})
	wantKind(t, err, Switched)
	m := w.measure()
	if m.LastPromote == nil || !m.LastPromote.Equal(epoch) || m.Production.Generation != 3 ||
		!m.Production.Since.Equal(w.now) {
		t.Fatalf("last promote %v, production %+v", m.LastPromote, m.Production)
	}
	// An upload in progress counts: it takes the space.
	before := m.StagingBytes
	if err := os.WriteFile(filepath.Join(w.dir, "staging", "x.part"), make([]byte, 1000), 0o644); err != nil {
		t.Fatal(err)
	}
	if m = w.measure(); m.StagingBytes != before+1000 {
		t.Fatalf("staging has %d bytes, before it had %d", m.StagingBytes, before)
	}
}

// While a promote runs, its intermediate state does not count as unfinished. After it
// is killed, it does.
func TestMeasureUnfinished(t *testing.T) {
	w := newWorld(t, "symlink")
	w.put(map[string]string{"a/1": "one"})
	w.promote()
	if err := os.Mkdir(filepath.Join(w.dir, "generations", ".next-000009"), 0o755); err != nil {
		t.Fatal(err)
	}
	m := w.measure()
	if !m.RecoveryPending || !m.Unfinished || m.Check(Thresholds{})[0].OK {
		t.Fatalf("%+v", m)
	}
	m.Unfinished = false
	since := epoch.Add(time.Minute)
	m.Locks = []LockHeld{{"prepare", lock.Holder{Since: since.Add(time.Hour)}},
		{"production", lock.Holder{Since: since}}}
	if m.locks(); m.Unfinished || !m.OldestLock.Equal(since) || !m.Check(Thresholds{})[0].OK {
		t.Fatalf("%+v", m)
	}
}

// Waiting is the last change to staging or to production. It is taken from times that
// nobody can set, and a failed promote does not change it.
func TestMeasureWaiting(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := newWorld(t, mode)
		if m := w.measure(); m.Waiting != nil {
			t.Fatalf("nothing is staged, and waits since %v", m.Waiting)
		}
		w.now = time.Now().Add(-time.Hour)
		w.put(map[string]string{"a/1": "one"})
		w.promote()
		if m := w.measure(); m.Waiting != nil {
			t.Fatalf("all is promoted, and waits since %v", m.Waiting)
		}
		start := time.Now().Add(-time.Second)
		w.put(map[string]string{"a/1": "one", "a/2": "two"})
		sealed := filepath.Join(w.dir, "staging", "images", sumOf("two")[:16]+".bin")
		old := start.Add(-240 * time.Hour)
		if err := errors.Join(os.Chtimes(sealed, old, old), os.Chmod(sealed, 0o444)); err != nil {
			t.Fatal(err)
		}
		m := w.measure()
		if m.Waiting == nil || m.Waiting.Before(start) || m.Waiting.After(time.Now()) {
			t.Fatalf("waits since %v", m.Waiting)
		}
		w.cfg = func(c *Config) { c.Hooks.BeforeSwitch = []string{"false"} }
		if _, err := w.repo().Promote(ctx, PromoteOptions{}); err == nil {
			t.Fatal("the veto stopped nothing")
		}
		// The hard link that it makes to a sealed file does not change it either.
		link := filepath.Join(w.dir, "generations", "link")
		if err := errors.Join(os.Link(sealed, link), os.Remove(link)); err != nil {
			t.Fatal(err)
		}
		if again := w.measure(); !again.Waiting.Equal(*m.Waiting) {
			t.Errorf("a promote that failed moved it from %v to %v", m.Waiting, again.Waiting)
		}
		hour, long := time.Hour, 3*time.Hour
		m.Time = m.Waiting.Add(2 * time.Hour)
		if c := m.Check(Thresholds{MaxWait: &hour}); c[len(c)-1].OK || *c[len(c)-1].Value != 7200 {
			t.Errorf("%+v", c)
		}
		if c := m.Check(Thresholds{MaxWait: &long}); !c[len(c)-1].OK {
			t.Errorf("%+v", c)
		}
		// After a revert, Waiting is the time of the revert.
		w.cfg = nil
		w.promote()
		w.now = time.Now().Add(time.Minute)
		w.revert(0)
		if m := w.measure(); m.Waiting == nil || !m.Waiting.Equal(m.Production.Since) {
			t.Errorf("after a revert: %v", m.Waiting)
		}
	})
}

func TestRough(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 90 * time.Second: "1m30s", 26*time.Hour + time.Millisecond: "26h", 48 * time.Hour: "2d",
		75*time.Hour + time.Minute: "3d3h",
	} {
		if got := rough(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}
