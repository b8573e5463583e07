package publish

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"example.com/publish/publish/journal"
	"example.com/publish/stage/plain"
)

func TestPromoteRevertTwice(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := newWorld(t, mode)
		one := map[string]string{"a/1": "one"}
		two := map[string]string{"a/1": "one", "a/2": "two"}
		three := map[string]string{"a/2": "two", "a/3": "three"}
		for i, items := range []map[string]string{one, two, three} {
			w.put(items)
			if res := w.promote(); res.Generation != i+1 || res.From != i || res.Origin != i+1 {
				t.Fatalf("promote %d: %+v", i+1, res)
			}
			wantItems(t, w, items)
			w.now = w.now.Add(time.Minute)
		}
		if res := w.revert(0); res.Generation != 4 || res.Origin != 2 {
			t.Fatalf("first revert: %+v", res)
		}
		wantItems(t, w, two)
		if res := w.revert(0); res.Generation != 5 || res.Origin != 1 {
			t.Fatalf("second revert: %+v", res)
		}
		wantItems(t, w, one)
		_, err := w.repo().Revert(ctx, RevertOptions{})
		wantKind(t, err, NotFound)
		if res := w.revert(3); res.Generation != 6 || res.Origin != 3 {
			t.Fatalf("forward: %+v", res)
		}
		wantItems(t, w, three)
		events, err := w.repo().History(HistoryFilter{})
		if err != nil || len(events) != 6 || events[0].Kind != journal.KindRevert || events[0].From != 5 ||
			events[0].Who != "tester" {
			t.Fatalf("history: %+v, %v", events, err)
		}
	})
}

func TestPromoteAfterRevertIsRefusedWhileBadItemsAreStaged(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := newWorld(t, mode)
		good := map[string]string{"a/1": "one"}
		bad := map[string]string{"a/1": "one", "a/2": "bad"}
		w.put(good)
		w.promote()
		w.put(bad)
		w.promote()
		w.revert(0)
		_, err := w.repo().Promote(ctx, PromoteOptions{})
		wantKind(t, err, Refused)
		w.put(map[string]string{"a/1": "one", "a/2": "bad", "b/1": "unrelated"})
		_, err = w.repo().Promote(ctx, PromoteOptions{})
		wantKind(t, err, Refused)
		wantItems(t, w, good)

		t.Run("forward", func(t *testing.T) {
			if res := w.revert(2); res.Origin != 2 {
				t.Fatalf("%+v", res)
			}
			w.promote()
			w.revert(3)
		})
		w.put(map[string]string{"a/1": "one", "c/1": "other"})
		if res := w.promote(); res.Unchanged {
			t.Fatalf("%+v", res)
		}
		w.put(bad)
		if res := w.promote(); res.Unchanged {
			t.Fatal("a promote without the items did not clear the refusal")
		}
	})
}

func TestForceBringsBackWhatWasReverted(t *testing.T) {
	w := newWorld(t, "symlink")
	w.put(map[string]string{"a/1": "one"})
	w.promote()
	w.put(map[string]string{"a/2": "two"})
	w.promote()
	w.revert(0)
	if _, err := w.repo().Promote(ctx, PromoteOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	wantItems(t, w, map[string]string{"a/2": "two"})
}

// After two reverts in a tree without indexes, neither content of a path can be
// promoted.
func TestSecondRevertBarsBothContents(t *testing.T) {
	w := newWorld(t, "symlink")
	repo := func() *Repo {
		c, _ := LoadConfig(w.dir, choices)
		r, err := Open(w.dir, c, plain.Format{}, sites, Options{Now: func() time.Time { return w.now }, Who: "x"})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	write := func(name, data string) { os.WriteFile(filepath.Join(w.dir, "staging", name), []byte(data), 0o644) }
	for _, v := range []string{"v1", "v2 bad", "v3 worse"} {
		write("a.txt", v)
		if _, err := repo().Promote(ctx, PromoteOptions{}); err != nil {
			t.Fatal(err)
		}
		w.now = w.now.Add(time.Minute)
	}
	for range 2 {
		if _, err := repo().Revert(ctx, RevertOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	// a timer promotes the second bad file together with another change
	write("a.txt", "v2 bad")
	write("b.txt", "unrelated")
	_, err := repo().Promote(ctx, PromoteOptions{})
	if err == nil || kindOf(err) != Refused {
		t.Errorf("v2 came back: %v", err)
	}
}

// If the manifest of a revert is lost, what it barred is derived again.
func TestRemadeManifestStillBars(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := newWorld(t, mode)
		for _, items := range []map[string]string{{"a/1": "one"}, {"a/1": "one", "a/2": "bad"}} {
			w.put(items)
			w.promote()
		}
		w.revert(0)
		if err := os.Truncate(w.repo().store.ManifestPath(3), 0); err != nil {
			t.Fatal(err)
		}
		if _, err := w.repo().Recover(ctx); err != nil {
			t.Fatal(err)
		}
		w.put(map[string]string{"a/1": "one", "a/2": "bad", "b/1": "unrelated"})
		_, err := w.repo().Promote(ctx, PromoteOptions{})
		wantKind(t, err, Refused)
	})
}
