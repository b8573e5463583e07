package publish

import (
	"errors"
	"os"
	"strings"
	"testing"
)

func (w *world) layout() string {
	w.t.Helper()
	data, err := os.ReadFile(layoutPath(w.dir))
	if err != nil {
		w.t.Fatal(err)
	}
	return strings.TrimSpace(string(data))
}

// An upgrade that is cut short leaves a repository in which both programs, or
// only this one, go on; and the layout is raised before any record is written.
func TestUpgrade(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := newWorld(t, mode)
		w.put(map[string]string{"a/1": "one"})
		w.promote()
		if err := os.WriteFile(layoutPath(w.dir), []byte("1\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := w.repo().Recover(ctx); err != nil || w.layout() != "1" {
			t.Fatalf("a recovery that has nothing to do makes it layout %s: %v", w.layout(), err)
		}
		w.put(map[string]string{"a/2": "two"})
		w.step = func(name string) error {
			if name == "after-upgrade" {
				return errInjected
			}
			return nil
		}
		before, _ := os.ReadFile(w.repo().historyPath())
		if _, err := w.repo().Promote(ctx, PromoteOptions{}); !errors.Is(err, errInjected) || w.layout() != "2" {
			t.Fatalf("layout %s: %v", w.layout(), err)
		}
		if after, _ := os.ReadFile(w.repo().historyPath()); string(before) != string(after) {
			t.Error("a line was written although the upgrade failed")
		}
		w.step = nil
		w.promote()
		wantItems(t, w, map[string]string{"a/2": "two"})
	})
}

// A newer program may upgrade a repository that this one has open.
func TestUpgradedByANewerProgram(t *testing.T) {
	w := newWorld(t, "symlink")
	w.put(map[string]string{"a/1": "one"})
	w.promote()
	r := w.repo()
	if err := os.WriteFile(layoutPath(w.dir), []byte("3\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := r.Hold(ctx, "later"); err == nil || !strings.Contains(err.Error(), "layout version 3") {
		t.Errorf("it was not refused: %v", err)
	}
}
