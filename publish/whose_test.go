package publish

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"example.com/publish/publish/generation"
	"example.com/publish/publish/site"
	"example.com/publish/stage/lock"
)

// gullible accepts every tree as this repository's first generation.
type gullible struct{}

func (gullible) Whose(string) (int, error) { return 1, nil }
func (gullible) Says(string) int           { return 1 }

// If somebody puts a tree in production's place just before the switch, it stays
// there. An exchange that brings it back is undone at once, or by recovery if the
// promote was killed in between.
func TestForeignAtTheSwitch(t *testing.T) {
	for _, c := range []struct {
		mode   string
		killed bool
	}{{"symlink", false}, {"rename", false}, {"rename", true}} {
		other := newWorld(t, "rename")
		other.put(map[string]string{"z/1": "other"})
		other.promote()
		w := newWorld(t, c.mode)
		w.put(map[string]string{"a/1": "one"})
		w.promote()
		w.put(map[string]string{"a/2": "two"})
		r := w.repo()
		r.step = func(name string) error {
			switch {
			case name == "before-swap":
				must(t, os.Rename(w.production(), filepath.Join(w.dir, "away")))
				if c.mode == "symlink" {
					return os.Symlink(other.production(), w.production())
				}
				if c.killed { // it is killed before it looks at the tree that the exchange brought back
					at := r.place()
					at.Trees = gullible{}
					r.site = site.Exchange(at)
				}
				return os.Rename(other.production(), w.production())
			case name == "after-swap" && c.killed:
				panic(errInjected)
			}
			return nil
		}
		func() {
			defer func() {
				if p := recover(); p == nil {
					return
				}
				for _, l := range lockNames { // the locks of the killed one
					must(t, os.Remove(filepath.Join(w.dir, ".publish", l.file)))
					must(t, lock.Create(filepath.Join(w.dir, ".publish", l.file), lock.Private()))
				}
				_, err := w.repo().Recover(ctx)
				if !errors.Is(err, generation.ErrForeign) {
					t.Errorf("recover: %v", err)
				}
			}()
			if _, err := r.Promote(ctx, PromoteOptions{}); !errors.Is(err, generation.ErrForeign) {
				t.Errorf("%v: promote: %v", c, err)
			}
		}()
		if got := w.items(); got["z/1"] != "other" || len(got) != 1 {
			t.Errorf("%v: production shows %v", c, got)
		}
		// After it is moved away, everything works.
		must(t, os.RemoveAll(w.production()))
		must(t, os.Rename(filepath.Join(w.dir, "away"), w.production()))
		w.promote()
		if got := w.items(); got["a/2"] != "two" {
			t.Errorf("%v: production shows %v", c, got)
		}
	}
}

func TestForeignProductionIsRefused(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := newWorld(t, mode)
		w.put(map[string]string{"a/1": "one"})
		if err := os.Mkdir(w.production(), 0o755); err != nil {
			t.Fatal(err)
		}
		precious := filepath.Join(w.production(), "precious")
		if err := os.WriteFile(precious, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := w.repo().Promote(ctx, PromoteOptions{}); !errors.Is(err, generation.ErrForeign) {
			t.Fatal(err)
		}
		if _, err := os.Stat(precious); err != nil {
			t.Fatal(err)
		}
	})
}
