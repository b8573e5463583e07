package publish

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var ctx = context.Background()

// kindOf is what a command would make its exit status from.
func kindOf(err error) Kind {
	var e *Error
	var f *FindingsError
	switch {
	case errors.As(err, &f):
		return Invalid
	case errors.As(err, &e):
		return e.Kind
	}
	return Failed
}

func wantKind(t *testing.T, err error, want Kind) {
	t.Helper()
	if err == nil || kindOf(err) != want {
		t.Fatalf("error %v, want one of kind %d", err, want)
	}
}

func wantItems(t *testing.T, w *world, want map[string]string) {
	t.Helper()
	if diff := cmp.Diff(want, w.items()); diff != "" {
		t.Fatalf("production (-want +got):\n%s", diff)
	}
}

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
		if err != nil || len(events) != 6 || events[0].Kind != KindRevert || events[0].From != 5 || events[0].Who != "tester" {
			t.Fatalf("history: %+v, %v", events, err)
		}
	})
}

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

// The switch is timed from the commit point until the history has it; what is
// prepared before and follows after does not count.
func TestSwitchIsTimed(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := newWorld(t, mode)
		took := map[string]time.Duration{"before-swap": time.Second, "after-swap": time.Millisecond, "after-sync": 2 * time.Millisecond,
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

// A client that read any index within the last grace window gets every file
// that it names, with its bytes, through promotes and reverts in between.
func TestCarriedForOneWindow(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := newWorld(t, mode)
		var all []map[string]string
		for _, items := range []map[string]string{{"a/1": "one"}, {"a/2": "two"}, {"a/3": "three"}, {"a/4": "four"}} {
			w.put(items)
			w.promote()
			all = append(all, w.served())
			w.now = w.now.Add(20 * time.Minute)
		}
		w.revert(0)
		for i, old := range all {
			now := w.served()
			for p, data := range old {
				if p != "index.json" && now[p] != data {
					t.Fatalf("%s of generation %d is %q", p, i+1, now[p])
				}
			}
		}
		// Generation 2's content left at minute 40, the revert was at 80.
		w.now = epoch.Add(40*time.Minute + 2*time.Hour)
		res := w.gc()
		if now := w.served(); now[pathOf(all[1], "two")] != "" {
			t.Fatal("still there after its window")
		} else if now[pathOf(all[3], "four")] != "four" {
			t.Fatal("gone before its window ended")
		}
		if len(res.Generations) != 2 || res.Files != 2 {
			t.Fatalf("gc: %+v", res)
		}
		w.now = w.now.Add(2 * time.Hour)
		w.gc()
		if left := w.served(); len(left) != 2 {
			t.Fatalf("left in production: %v", left)
		}
		if kept, _ := w.repo().kept(5); len(kept) != 1 {
			t.Fatalf("kept: %v", kept)
		}
		wantItems(t, w, map[string]string{"a/3": "three"})
		report, _, err := w.repo().Verify(ctx, "")
		if err != nil || len(report.Findings) != 0 {
			t.Fatalf("verify: %+v, %v", report, err)
		}
	})
}

// pathOf is the path of the only item, or of the one with these bytes.
func pathOf(served map[string]string, data ...string) string {
	for p, have := range served {
		if strings.HasSuffix(p, ".bin") && (len(data) == 0 || have == data[0]) {
			return p
		}
	}
	return ""
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

func TestHoldStopsPromoteOnly(t *testing.T) {
	w := newWorld(t, "symlink")
	w.put(map[string]string{"a/1": "one"})
	w.promote()
	w.put(map[string]string{"a/2": "two"})
	w.promote()
	if err := w.repo().Hold(ctx, "freeze"); err != nil {
		t.Fatal(err)
	}
	w.put(map[string]string{"a/3": "three"})
	_, err := w.repo().Promote(ctx, PromoteOptions{Force: true})
	wantKind(t, err, Refused)
	w.revert(0)
	w.gc()
	if err := w.repo().Unhold(ctx); err != nil {
		t.Fatal(err)
	}
	w.promote()
}

// A file that changes under its name must be newer for web servers and
// clients, which compare whole seconds; one that does not must keep its time.
func TestModificationTimes(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := newWorld(t, mode)
		w.now = time.Now() // files are stamped by the kernel: go with its clock
		at := func(p string) time.Time {
			fi, err := os.Stat(filepath.Join(w.production(), p))
			if err != nil {
				t.Fatal(err)
			}
			return fi.ModTime()
		}
		w.put(map[string]string{"a/1": "one"})
		w.promote()
		first, content := at("index.json"), at(pathOf(w.served()))
		one := pathOf(w.served())
		w.put(map[string]string{"a/1": "one", "a/2": "two"})
		w.promote()
		second := at("index.json")
		w.revert(0)
		third := at("index.json")
		if second.Sub(first) < time.Second || third.Sub(second) < time.Second {
			t.Errorf("index.json: %s, %s, %s", first, second, third)
		}
		if now := at(one); !now.Equal(content) {
			t.Errorf("unchanged %s: %s became %s", one, content, now)
		}
	})
}

func TestContentReplacedIsRefused(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := newWorld(t, mode)
		w.put(map[string]string{"a/1": "one"})
		w.promote()
		p := filepath.Join(w.dir, "staging", pathOf(w.served()))
		swap := func(data string) {
			if err := stageItems(filepath.Join(w.dir, "staging"), map[string]string{"a/1": data}); err != nil {
				t.Fatal(err)
			}
			index := filepath.Join(w.dir, "staging", "index.json")
			text, _ := os.ReadFile(index)
			// The same name with other bytes, as a careless builder does it.
			var from string
			for _, f := range strings.Split(string(text), `"`) {
				if strings.HasSuffix(f, ".bin") {
					from = f
				}
			}
			rel, _ := filepath.Rel(filepath.Join(w.dir, "staging"), p)
			if err := os.WriteFile(p, []byte(data), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(index, []byte(strings.ReplaceAll(string(text), from, rel)), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		swap("other")
		_, err := w.repo().Promote(ctx, PromoteOptions{Force: true})
		wantKind(t, err, Invalid)
		w.put(map[string]string{"a/2": "two"})
		w.promote()
		swap("other")
		_, err = w.repo().Promote(ctx, PromoteOptions{})
		wantKind(t, err, Invalid)
		var f *FindingsError
		if errors.As(err, &f); !strings.Contains(f.Report.Findings[0].Message, "free from") {
			t.Fatalf("%+v", f.Report.Findings)
		}
		w.now = w.now.Add(2*time.Hour + time.Second)
		w.promote()
		wantItems(t, w, map[string]string{"a/1": "other"})
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

// Promise 7: a clock that was set back deletes nothing.
func TestClockSetBackDeletesNothing(t *testing.T) {
	w := newWorld(t, "symlink")
	w.put(map[string]string{"a/1": "one"})
	w.promote()
	w.put(map[string]string{"a/2": "two"})
	w.promote()
	w.now = w.now.Add(3 * time.Hour)
	w.put(map[string]string{"a/3": "three"})
	w.promote() // generation 1 goes here
	w.now = epoch.Add(time.Hour)
	if res := w.gc(); !res.ClockBehind || len(res.Generations) != 0 {
		t.Fatalf("%+v", res)
	}
	st, err := w.repo().Status(ctx)
	if err != nil || !st.ClockBehind {
		t.Fatalf("%+v, %v", st, err)
	}
	w.put(map[string]string{"a/4": "four"})
	w.promote()
	if len(w.served()) < 3 {
		t.Fatalf("%v", w.served())
	}
	report, _, err := w.repo().Verify(ctx, "")
	if err != nil || len(report.Errors()) != 0 {
		t.Fatalf("%+v, %v", report, err)
	}
}

// What is due by the newest line of the history stays all the same while the
// clock stands before that line.
func TestClockBehindKeepsWhatIsDue(t *testing.T) {
	w := newWorld(t, "symlink")
	w.put(map[string]string{"a/1": "one"})
	w.promote()
	w.put(map[string]string{"a/2": "two"})
	w.promote()
	w.now = epoch.Add(3 * time.Hour)
	if err := w.repo().Hold(ctx, "a line of a later time"); err != nil {
		t.Fatal(err)
	}
	w.now = epoch.Add(time.Hour)
	if res := w.gc(); len(res.Generations)+res.Files != 0 {
		t.Fatalf("%+v", res)
	}
	if len(w.served()) != 3 {
		t.Fatalf("%v", w.served())
	}
	w.now = epoch.Add(3 * time.Hour)
	if res := w.gc(); len(res.Generations) != 1 || res.Files != 1 {
		t.Fatalf("%+v", res)
	}
}

// Pages are mutable: published as they are, carried when they go, and back
// with their old bytes and a new time after a revert.
func TestPages(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := newWorld(t, mode)
		w.now = time.Now()
		page := filepath.Join(w.dir, "staging", "docs", "page.html")
		write := func(text string) {
			if err := os.MkdirAll(filepath.Dir(page), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(page, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		live := filepath.Join(w.production(), "docs", "page.html")
		w.put(map[string]string{"a/1": "one"})
		write("first")
		w.promote()
		write("second")
		w.promote()
		second, err := os.Stat(live)
		if err != nil {
			t.Fatal(err)
		}
		w.revert(0)
		third, err := os.Stat(live)
		if err != nil {
			t.Fatal(err)
		}
		if data, _ := os.ReadFile(live); string(data) != "first" || third.ModTime().Sub(second.ModTime()) < time.Second {
			t.Fatalf("%q, %s after %s", data, third.ModTime(), second.ModTime())
		}
		w.put(map[string]string{"a/1": "one", "a/2": "two"})
		if err := os.RemoveAll(filepath.Dir(page)); err != nil {
			t.Fatal(err)
		}
		if res := w.promote(); res.Carried != 1 {
			t.Fatalf("%+v", res)
		}
		if data, _ := os.ReadFile(live); string(data) != "first" {
			t.Fatalf("%q", data)
		}
		w.now = w.now.Add(2*time.Hour + time.Second)
		w.gc()
		if _, err := os.Stat(filepath.Dir(live)); !errors.Is(err, os.ErrNotExist) {
			t.Fatalf("the empty directory stayed: %v", err)
		}
	})
}

func TestHealthCheckFailureGoesBack(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := newWorld(t, mode)
		w.put(map[string]string{"a/1": "one"})
		w.promote()
		w.cfg = func(c *Config) {
			c.HealthCheck.Command = []string{"sh", "-c", `test "$PUBLISH_GENERATION" != 2`}
		}
		w.put(map[string]string{"a/1": "one", "a/2": "two"})
		_, err := w.repo().Promote(ctx, PromoteOptions{})
		wantKind(t, err, Switched)
		wantItems(t, w, map[string]string{"a/1": "one"})
		_, err = w.repo().Promote(ctx, PromoteOptions{})
		wantKind(t, err, Refused)
		w.put(map[string]string{"a/1": "one", "a/2": "two", "b/1": "more"})
		w.promote()
		events, err := w.repo().History(HistoryFilter{})
		if err != nil || events[0].Health != "ok" || events[1].Kind != KindAutoRevert || events[2].Health != "failed" {
			t.Fatalf("%+v, %v", events, err)
		}
	})
}

func TestHealthCheckIsKilledAtItsLimit(t *testing.T) {
	w := newWorld(t, "symlink")
	w.put(map[string]string{"a/1": "one"})
	w.promote()
	w.cfg = func(c *Config) {
		c.HealthCheck.Command = []string{"sh", "-c", "sleep 1000 & wait"}
		c.HealthCheck.Timeout = Duration(50 * time.Millisecond)
	}
	w.put(map[string]string{"a/2": "two"})
	_, err := w.repo().Promote(ctx, PromoteOptions{})
	wantKind(t, err, Switched)
	if !strings.Contains(err.Error(), "did not end within") {
		t.Fatal(err)
	}
	wantItems(t, w, map[string]string{"a/1": "one"})
}

func TestBeforeSwitchHookVetoes(t *testing.T) {
	w := newWorld(t, "symlink")
	w.put(map[string]string{"a/1": "one"})
	w.promote()
	w.cfg = func(c *Config) { c.Hooks.BeforeSwitch = []string{"false"} }
	w.put(map[string]string{"a/2": "two"})
	if _, err := w.repo().Promote(ctx, PromoteOptions{}); err == nil {
		t.Fatal("went on")
	}
	wantItems(t, w, map[string]string{"a/1": "one"})
	w.cfg = nil
	if res := w.promote(); res.Generation != 3 {
		t.Fatalf("the abandoned number was used again: %+v", res)
	}
}

func TestRevertDuringPromoteStopsIt(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := newWorld(t, mode)
		w.put(map[string]string{"a/1": "one"})
		w.promote()
		w.put(map[string]string{"a/2": "two"})
		w.promote()
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

func TestRecoverPutsProductionBack(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := newWorld(t, mode)
		w.put(map[string]string{"a/1": "one"})
		w.promote()
		w.put(map[string]string{"a/2": "two"})
		w.promote()
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
		if _, err := w.repo().Promote(ctx, PromoteOptions{}); !errors.Is(err, errForeign) {
			t.Fatal(err)
		}
		if _, err := os.Stat(precious); err != nil {
			t.Fatal(err)
		}
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
		for _, path := range []string{w.repo().historyPath(), w.repo().manifestPath(3)} {
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
		w := newWorld(t, mode)
		w.put(map[string]string{"a/1": "one"})
		w.promote()
		w.put(map[string]string{"a/2": "two"})
		w.promote()
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
