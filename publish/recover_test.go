package publish

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.com/publish/stage/durable"
)

func TestRecoverPutsProductionBack(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := twoGenerations(t, mode)
		if mode == "symlink" {
			if err := os.Remove(w.production()); err != nil {
				t.Fatal(err)
			}
		} else if err := os.RemoveAll(w.production()); err != nil {
			t.Fatal(err)
		}
		if _, err := w.repo().Recover(ctx); err != nil {
			t.Fatal(err)
		}
		if got := w.items(); len(got) != 1 {
			t.Fatal(got)
		}
		if mode == "symlink" {
			wantItems(t, w, map[string]string{"a/2": "two"})
		}
		w.put(map[string]string{"a/3": "three"})
		w.promote()
	})
}

func TestDamagedHistoryAndManifestAreMended(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := newWorld(t, mode)
		for _, v := range []string{"1", "2", "3"} {
			w.put(map[string]string{"a/" + v: v})
			w.promote()
			w.now = w.now.Add(time.Minute)
		}
		for _, path := range []string{w.repo().historyPath(), w.repo().store.ManifestPath(3)} {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			data[len(data)/2] ^= 1
			if err := os.WriteFile(path, data, 0o644); err != nil {
				t.Fatal(err)
			}
			_, err = w.repo().Promote(ctx, PromoteOptions{})
			if err == nil || !strings.Contains(err.Error(), path) {
				t.Fatalf("%v, want one that names %s", err, path)
			}
			wantItems(t, w, map[string]string{"a/3": "3"})
			if _, err := w.repo().Recover(ctx); err != nil {
				t.Fatal(err)
			}
			events, err := w.repo().History(HistoryFilter{})
			if err != nil || len(events) != 3 {
				t.Fatalf("%+v, %v", events, err)
			}
		}
		w.put(map[string]string{"a/4": "4"})
		w.promote()
		w.revert(0)
		wantItems(t, w, map[string]string{"a/3": "3"})
		if n := len(w.served()); n != 5 {
			t.Fatalf("%d files are served: %v", n, w.served())
		}
	})
}

// A repository is a directory like any other: it can be copied and moved.
func TestSurvivesMove(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := twoGenerations(t, mode)
		moved := filepath.Join(t.TempDir(), "elsewhere")
		if err := os.Rename(w.dir, moved); err != nil {
			t.Fatal(err)
		}
		w.dir = moved
		wantItems(t, w, map[string]string{"a/2": "two"})
		w.revert(0)
		wantItems(t, w, map[string]string{"a/1": "one"})
	})
}

// An empty history does not cause kept generations to be deleted.
func TestLostHistoryDeletesNothing(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := newWorld(t, mode)
		for _, v := range []string{"one", "two", "three"} {
			w.put(map[string]string{"a/" + v: v})
			w.promote()
			w.now = w.now.Add(time.Minute)
		}
		before, _ := w.repo().Generations()
		if err := os.Truncate(filepath.Join(w.dir, ".publish/history"), 0); err != nil {
			t.Fatal(err)
		}
		if _, err := w.repo().GC(ctx, false); err == nil {
			t.Error("gc does not miss the history")
		}
		if _, err := w.repo().Recover(ctx); err != nil {
			t.Fatal(err)
		}
		g := w.gc()
		after, _ := w.repo().Generations()
		if len(after) != len(before) {
			t.Errorf("before %v after %v; gc said %+v", before, after, g)
		}
	})
}

// If the history lacks its last lines, for example after a restore from a backup, the
// generations of those lines are not deleted.
func TestHistoryFromBackupDeletesNothing(t *testing.T) {
	w := newWorld(t, "symlink")
	var old []byte
	for i, v := range []string{"one", "two", "three"} {
		w.put(map[string]string{"a/" + v: v})
		w.promote()
		if i == 0 {
			old, _ = os.ReadFile(filepath.Join(w.dir, ".publish/history"))
		}
		w.now = w.now.Add(time.Minute)
	}
	before, _ := w.repo().Generations()
	os.WriteFile(filepath.Join(w.dir, ".publish/history"), old, 0o644)
	done, err := w.repo().Recover(ctx)
	after, _ := w.repo().Generations()
	if len(after) != len(before) {
		t.Errorf("before %v after %v: %v %v", before, after, done, err)
	}
}

// Recover restores the history and production if both are missing.
func TestHistoryAndProductionMissing(t *testing.T) {
	w := newWorld(t, "symlink")
	for _, v := range []string{"one", "two", "three"} {
		w.put(map[string]string{"a/" + v: v})
		w.promote()
	}
	os.Remove(filepath.Join(w.dir, ".publish/history"))
	os.Remove(w.production())
	done, err := w.repo().Recover(ctx)
	after, _ := w.repo().Generations()
	if len(after) != 3 {
		t.Errorf("after %v: %v %v", after, done, err)
	}
}

// Lines that are rewritten keep fields that this version does not know.
func TestMendedLinesKeepTheirText(t *testing.T) {
	w := newWorld(t, "symlink")
	for i := range 3 {
		w.put(map[string]string{"a/1": fmt.Sprint(i)})
		w.promote()
	}
	lines := w.lines()
	text, _ := durable.Unline(bytes.TrimSuffix(lines[2], []byte("\n")))
	lines[2] = durable.Line(bytes.Replace(text, []byte(`"who"`), []byte(`"ticket":"A-1","who"`), 1))
	w.rewrite(lines[0], lines[2])
	if _, err := w.repo().Recover(ctx); err != nil {
		t.Fatal(err)
	}
	if got := w.lines(); len(got) != 3 || !bytes.Equal(got[2], lines[2]) {
		t.Errorf("the last line is %s", got[len(got)-1])
	}
}

// A manifest that is rebuilt from a tree still lists files that a revoke deleted, so
// that a revert leaves them out of the indexes.
func TestManifestAnewAfterRevoke(t *testing.T) {
	for _, mode := range sites.Names() {
		w := newWorld(t, mode)
		w.put(map[string]string{"a/1": "one", "b/1": "both"})
		w.promote()
		w.put(map[string]string{"a/1": "one", "b/1": "both", "c/1": "three"})
		w.promote()
		must(t, os.Remove(w.repo().store.ManifestPath(1)))
		if _, err := w.repo().Revoke(ctx, RevokeOptions{What: []string{"a/1"}, Why: "leaked"}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.repo().Recover(ctx); err != nil {
			t.Fatal(err)
		}
		w.revert(1)
		if got := w.items(); len(got) != 1 || got["b/1"] != "both" {
			t.Errorf("%s: production shows %v", mode, got)
		}
		if report, err := w.repo().Validate(ctx, "production", true); err != nil || len(report.Errors()) > 0 {
			t.Errorf("%s: %+v, %v", mode, report, err)
		}
	}
}
