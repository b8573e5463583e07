package publish

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A link that waits for its switch belongs to publish. Anything else with that name
// does not, and is left alone.
func TestWaitingLink(t *testing.T) {
	w := newWorld(t, "symlink")
	w.put(map[string]string{"a/1": "one"})
	w.promote()
	waiting := filepath.Join(w.dir, ".production.next")
	must(t, os.Symlink("generations/000009", waiting)) // killed before its switch
	w.put(map[string]string{"a/2": "two"})
	w.promote()
	if _, err := os.Lstat(waiting); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	w.cfg = func(c *Config) { c.Hooks.BeforeSwitch = []string{"false"} }
	w.put(map[string]string{"a/3": "three"})
	if _, err := w.repo().Promote(ctx, PromoteOptions{}); err == nil {
		t.Error("against its hook's will")
	}
	if _, err := os.Lstat(waiting); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after a hook's veto: %v", err)
	}
	w.cfg = nil
	must(t, os.WriteFile(waiting, []byte("precious"), 0o644))
	for i := 2; i <= 5; i++ {
		must(t, os.WriteFile(fmt.Sprint(waiting, "-", i), nil, 0o644))
	}
	_, err := w.repo().Promote(ctx, PromoteOptions{})
	if err == nil || !strings.Contains(err.Error(), waiting+": is in the way") {
		t.Error(err)
	}
	if data, err := os.ReadFile(waiting); string(data) != "precious" {
		t.Errorf("%q %v", data, err)
	}
	if st, err := w.repo().Status(ctx); err != nil || st.Production.Generation != 2 {
		t.Errorf("%+v %v", st, err)
	}
	must(t, os.Remove(waiting+"-3")) // any of the names will do
	w.promote()
	if _, err := os.Lstat(waiting + "-3"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// Nothing that comes after a switch begins before Linger has passed: servers depend on it.
func TestSwitchLingers(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := newWorld(t, mode)
		var switched time.Time
		least := time.Hour
		w.step = func(step string) error {
			switch step {
			case "after-swap":
				switched = time.Now()
			case "after-history":
				least = min(least, time.Since(switched))
			}
			return nil
		}
		for _, v := range []string{"one", "two", "three"} {
			w.put(map[string]string{"a/1": v, "a/" + v: v})
			w.promote()
		}
		for range 2 {
			w.revert(0)
		}
		if least < Linger {
			t.Errorf("the health check began %v after a switch", least)
		}
	})
}

// In rename mode, if a recover is killed while it restores production, the next one
// finishes it.
func TestRestoreThatWasCutShort(t *testing.T) {
	w := newWorld(t, "rename")
	for _, v := range []string{"one", "two", "three"} {
		w.put(map[string]string{"a/" + v: v})
		w.promote()
		w.now = w.now.Add(time.Minute)
	}
	// production was removed, and recover is killed after its first rename
	os.RemoveAll(w.production())
	g := filepath.Join(w.dir, "generations")
	os.Rename(filepath.Join(g, "000002"), filepath.Join(g, ".next-000002"))
	done, err := w.repo().Recover(ctx)
	gens, _ := w.repo().Generations()
	st, _ := w.repo().Status(ctx)
	if st.Production.Generation != 2 {
		t.Errorf("production is %d, kept %v: %v %v", st.Production.Generation, gens, done, err)
	}
}
