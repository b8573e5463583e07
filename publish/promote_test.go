package publish

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestUnchangedPromoteChangesNothing(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := newWorld(t, mode)
		w.put(map[string]string{"a/1": "one"})
		w.promote()
		if res := w.promote(); !res.Unchanged || res.Generation != 1 {
			t.Fatalf("%+v", res)
		}
		if events, _ := w.repo().History(HistoryFilter{}); len(events) != 1 {
			t.Fatalf("history grew: %+v", events)
		}
	})
}

// The switch time is from the commit point until the history has the switch. The work
// before and after does not count.
func TestSwitchIsTimed(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := newWorld(t, mode)
		took := map[string]time.Duration{"before-swap": time.Second, "after-swap": time.Millisecond,
			"after-sync": 2 * time.Millisecond,
			"after-tidy": 4 * time.Millisecond, "after-history": time.Second}
		w.step = func(step string) error {
			w.now = w.now.Add(took[step])
			return nil
		}
		w.put(map[string]string{"a/1": "one"})
		if res := w.promote(); res.SwitchUS != 7000 {
			t.Errorf("promote: %d µs", res.SwitchUS)
		}
		if res := w.promote(); res.SwitchUS != 0 {
			t.Errorf("an unchanged promote: %d µs", res.SwitchUS)
		}
		w.put(map[string]string{"a/2": "two"})
		w.promote()
		if res := w.revert(0); res.SwitchUS != 7000 {
			t.Errorf("revert: %d µs", res.SwitchUS)
		}
	})
}

// Promise 2: no write to staging by another tool reaches production.
func TestInPlaceWriteInStagingStaysThere(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := newWorld(t, mode)
		w.put(map[string]string{"a/1": "one"})
		w.promote()
		w.promote()
		err := filepath.WalkDir(filepath.Join(w.dir, "staging"), func(p string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			f, err := os.OpenFile(p, os.O_WRONLY|os.O_TRUNC, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = f.WriteString("overwritten")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		wantItems(t, w, map[string]string{"a/1": "one"})
	})
}

func TestRevertDuringPromoteStopsIt(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := twoGenerations(t, mode)
		w.put(map[string]string{"a/3": "three"})
		other := *w
		w.step = func(name string) error {
			if name == "prepared" {
				other.revert(0) // while the promote holds its prepare lock
			}
			return nil
		}
		_, err := w.repo().Promote(ctx, PromoteOptions{})
		wantKind(t, err, Refused)
		wantItems(t, w, map[string]string{"a/1": "one"})
	})
}
