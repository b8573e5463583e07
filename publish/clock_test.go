package publish

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"example.com/publish/publish/journal"
)

// aheadWorld was used for a while with a clock that was ten years ahead. An orphan in
// staging and files in trash have times from then.
func aheadWorld(t *testing.T, mode string) *world {
	w := newWorld(t, mode)
	w.put(map[string]string{"a/1": "one"})
	w.promote()
	w.now = epoch.AddDate(10, 0, 0)
	w.put(map[string]string{"a/2": "two"})
	w.promote()
	w.put(map[string]string{"a/2": "two", "a/9": "dropped"})
	if _, _, err := w.repo().Reset(ctx); err != nil {
		t.Fatal(err)
	}
	stray := filepath.Join(w.dir, "staging/images/stray.bin")
	if err := errors.Join(os.WriteFile(stray, []byte("stray"), 0o644), os.Chtimes(stray, epoch, epoch)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.repo().Prune(ctx, PruneOptions{}); err != nil {
		t.Fatal(err)
	}
	w.now = epoch.Add(time.Hour)
	return w
}

// trashed returns the names in trash.
func (w *world) trashed() []string {
	list, _ := os.ReadDir(filepath.Join(w.dir, ".publish/trash"))
	var out []string
	for _, d := range list {
		out = append(out, d.Name())
	}
	return out
}

// ClockIsRight can be repeated wherever it was stopped. After it, every window ends
// one window length later, and not before.
func TestClockIsRight(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		for _, at := range []string{"", "after-clock-trash", "before-clock", "after-clock"} {
			t.Run(at, func(t *testing.T) {
				w := aheadWorld(t, mode)
				if n := len(w.trashed()); n == 0 {
					t.Fatal("nothing is in trash")
				}
				w.step = func(name string) error {
					if name == at {
						return errInjected
					}
					return nil
				}
				if _, err := w.repo().ClockIsRight(ctx); (at != "") != errors.Is(err, errInjected) {
					t.Fatal(err)
				}
				w.step = nil
				if _, err := w.repo().ClockIsRight(ctx); err != nil {
					t.Fatal(err)
				}
				st, err := w.repo().Status(ctx)
				if err != nil || st.ClockBehind || !st.Production.Since.Equal(w.now) {
					t.Fatalf("%+v %v", st, err)
				}
				if done, err := w.repo().ClockIsRight(ctx); err != nil || len(done) > 0 {
					t.Errorf("again: %v %v", done, err)
				}
				clocks, _ := w.repo().History(HistoryFilter{Kinds: []journal.Kind{journal.KindClock}})
				if len(clocks) != 1 || !clocks[0].Time.Equal(w.now) {
					t.Errorf("the history has %v", clocks)
				}
				stray := filepath.Join(w.dir, "staging/images/stray.bin")
				upkeep := func() {
					w.gc()
					if _, err := w.repo().Prune(ctx, PruneOptions{}); err != nil {
						t.Fatal(err)
					}
				}
				w.now = w.now.Add(2*time.Hour - time.Second)
				upkeep()
				if gens, _ := w.repo().Generations(); len(gens) != 2 || len(w.served()) != 3 || len(w.trashed()) == 0 ||
					gone(stray) {
					t.Errorf("before the windows end there are generations %v, %v, trash %v, the orphan: %v", gens,
						w.served(), w.trashed(), !gone(stray))
				}
				w.now = w.now.Add(2 * time.Second)
				upkeep()
				if gens, _ := w.repo().Generations(); len(gens) != 1 || len(w.served()) != 2 || len(w.trashed()) != 0 ||
					!gone(stray) {
					t.Errorf("after the windows ended there are generations %v, %v, trash %v, the orphan: %v", gens,
						w.served(), w.trashed(), !gone(stray))
				}
				w.put(map[string]string{"a/3": "three"})
				if res := w.promote(); res.Generation != 3 {
					t.Errorf("the next is generation %d", res.Generation)
				}
			})
		}
	})
}

// Files that a gc deleted under the wrong clock do not count as missing after the
// correction.
func TestGCByTheWrongClock(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := twoGenerations(t, mode)
		w.now = epoch.AddDate(10, 0, 0)
		w.gc()
		if n := len(w.served()); n != 2 {
			t.Fatalf("gc has left %v", w.served())
		}
		w.now = epoch.Add(time.Minute)
		if _, err := w.repo().ClockIsRight(ctx); err != nil {
			t.Fatal(err)
		}
		if report, _, err := w.repo().Verify(ctx, "", false); err != nil || len(report.Findings) > 0 {
			t.Errorf("%v %v", report, err)
		}
		w.put(map[string]string{"a/3": "three"})
		w.promote()
		if report, _, err := w.repo().Verify(ctx, "", false); err != nil || len(report.Findings) > 0 {
			t.Errorf("after the next promote: %v %v", report, err)
		}
	})
}

// A deletion by a gc after one correction is still known after a second correction.
func TestGCBetweenTwoCorrections(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := newWorld(t, mode)
		w.put(map[string]string{"a/1": "one"})
		w.promote()
		w.now = epoch.Add(4 * time.Minute)
		w.put(map[string]string{"a/2": "two"})
		w.promote()
		right := func(minutes int) {
			w.now = epoch.Add(time.Duration(minutes) * time.Minute)
			if _, err := w.repo().ClockIsRight(ctx); err != nil {
				t.Fatal(err)
			}
		}
		right(0)
		w.now = epoch.Add(2 * time.Hour) // the window of what the second promote dropped has ended, by the correction
		w.gc()
		right(90)
		if report, _, err := w.repo().Verify(ctx, "", false); err != nil || len(report.Findings) > 0 {
			t.Errorf("%v %v", report, err)
		}
	})
}

// A line that is rebuilt from a manifest written while the clock was ahead comes
// before the line that says that the clock is right.
func TestLostLineOfTheWrongClock(t *testing.T) {
	w := aheadWorld(t, "symlink")
	if _, err := w.repo().ClockIsRight(ctx); err != nil {
		t.Fatal(err)
	}
	w.put(map[string]string{"a/3": "three"})
	w.promote()
	w.rewrite(slices.Delete(w.lines(), 1, 2)...)
	if _, err := w.repo().Recover(ctx); err != nil {
		t.Fatal(err)
	}
	if st, err := w.repo().Status(ctx); err != nil || st.ClockBehind || st.RecoveryPending {
		t.Errorf("%+v %v", st, err)
	}
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
	report, _, err := w.repo().Verify(ctx, "", false)
	if err != nil || len(report.Errors()) != 0 {
		t.Fatalf("%+v, %v", report, err)
	}
}

// Files that are due by the time of the newest history line stay while the clock is
// behind that line.
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

// The time of a switch that recovery records is not before the switch. Otherwise the
// windows of the files that it dropped would end too early.
func TestClockSetBackBeforeRecovery(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := newWorld(t, mode)
		w.put(map[string]string{"a/1": "one"})
		w.promote()
		w.now = w.now.Add(2 * time.Hour)
		w.put(map[string]string{"a/2": "two"})
		w.step = func(n string) error {
			if n == "after-tidy" {
				return errInjected
			}
			return nil
		}
		if _, err := w.repo().Promote(ctx, PromoteOptions{}); !errors.Is(err, errInjected) {
			t.Fatal(err)
		}
		w.step = nil
		made := w.now
		w.now = made.Add(-5 * time.Minute)
		if _, err := w.repo().Recover(ctx); err != nil {
			t.Fatal(err)
		}
		w.now = made.Add(2*time.Hour - time.Second)
		w.gc()
		if n := len(w.served()); n != 3 {
			t.Errorf("%d files are served a second before the window ends: %v", n, w.served())
		}
		w.now = w.now.Add(time.Second)
		w.gc()
		if n := len(w.served()); n != 2 {
			t.Errorf("%d files are served when the window has ended: %v", n, w.served())
		}
	})
}
