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

	"example.com/publish/stage/plain"
)

// Repositories to which something happened that no command of this program
// does: lost records, a kill in an unlucky place, a changed configuration.

// TestGraceRaisedAfterGC: grace raised in the configuration after gc ran.
func TestGraceRaisedAfterGC(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := newWorld(t, mode)
		w.cfg = func(c *Config) { c.Generations.Keep = 5 }
		w.put(map[string]string{"a/1": "one"})
		w.promote()
		w.put(map[string]string{"a/2": "two"})
		w.promote()
		w.now = w.now.Add(3 * time.Hour)
		if g := w.gc(); g.Files != 2 && g.Files != 1 {
			t.Logf("gc %+v", g)
		}
		w.cfg = func(c *Config) { c.Generations.Keep = 5; c.Grace = Duration(24 * time.Hour) }
		report, _, err := w.repo().Verify(ctx, "")
		if err != nil || len(report.Findings) != 0 {
			t.Errorf("verify: %+v %v", report.Findings, err)
		}
		w.put(map[string]string{"a/1": "one", "a/2": "two"})
		_, err = w.repo().Promote(ctx, PromoteOptions{DryRun: true})
		var f *FindingsError
		if errors.As(err, &f) {
			t.Errorf("promote: %+v", f.Report.Findings)
		} else if err != nil {
			t.Errorf("promote: %v", err)
		}
		_, err = w.repo().Revert(ctx, RevertOptions{To: 1})
		if err != nil {
			t.Errorf("revert: %v", err)
		}
	})
}

// TestLostHistoryDeletesNothing: empty history deletes kept generations.
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

// TestHistoryFromBackupDeletesNothing: the last two lines of the history are gone (restored from a backup).
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

// TestHistoryAndProductionMissing: history missing, production missing; recover.
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

// TestWaitingLink: a link that waits for its switch is the program's own; what
// else stands at its name is not, and is left alone.
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

// TestRestoreThatWasCutShort: rename mode: crash in restore.
func TestRestoreThatWasCutShort(t *testing.T) {
	w := newWorld(t, "rename")
	for _, v := range []string{"one", "two", "three"} {
		w.put(map[string]string{"a/" + v: v})
		w.promote()
		w.now = w.now.Add(time.Minute)
	}
	// production was removed by somebody; recover is killed after its first rename
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

// TestKilledInAFailingHealthCheck: killed after the health result was recorded.
func TestKilledInAFailingHealthCheck(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := newWorld(t, mode)
		w.put(map[string]string{"a/1": "one"})
		w.promote()
		w.put(map[string]string{"a/2": "two"})
		w.cfg = func(c *Config) { c.HealthCheck.Command = []string{"false"} }
		w.step = func(n string) error {
			if n == "after-health" {
				panic(errInjected)
			}
			return nil
		}
		func() {
			defer func() { recover() }()
			w.repo().Promote(ctx, PromoteOptions{})
		}()
		w.step = nil
		done, err := w.repo().Recover(ctx)
		st, _ := w.repo().Status(ctx)
		if st.Production.Origin != 1 {
			t.Errorf("production is generation %d health %q; recover: %v %v pending %v", st.Production.Generation, st.Production.Health, done, err, st.RecoveryPending)
		}
	})
}

// TestHealthCheckThatLeavesAChild: a health check that leaves a child behind.
func TestHealthCheckThatLeavesAChild(t *testing.T) {
	w := newWorld(t, "symlink")
	w.put(map[string]string{"a/1": "one"})
	w.promote()
	w.put(map[string]string{"a/2": "two"})
	c, _ := LoadConfig(w.dir)
	c.HealthCheck.Command = []string{"sh", "-c", "sleep 5 & exit 0"}
	r, _ := Open(w.dir, c, listed{}, Options{Now: func() time.Time { return w.now }, HookOutput: onStderr})
	_, err := r.Promote(ctx, PromoteOptions{})
	if err != nil {
		t.Errorf("%v", err)
	}
}

// TestHealthCheckRemovedFromConfig: config without the health check after a crash.
func TestHealthCheckRemovedFromConfig(t *testing.T) {
	w := newWorld(t, "symlink")
	w.put(map[string]string{"a/1": "one"})
	w.cfg = func(c *Config) { c.HealthCheck.Command = []string{"true"} }
	w.step = func(n string) error {
		if n == "after-history" {
			panic(errInjected)
		}
		return nil
	}
	func() {
		defer func() { recover() }()
		w.repo().Promote(ctx, PromoteOptions{})
	}()
	w.step, w.cfg = nil, nil
	for range 2 {
		done, err := w.repo().Recover(ctx)
		t.Log(done, err)
	}
	st, _ := w.repo().Status(ctx)
	if st.RecoveryPending {
		t.Errorf("recovery pending for good")
	}
}

// TestVetoLeavesNothingPending: before_switch hook says no: status.
func TestVetoLeavesNothingPending(t *testing.T) {
	w := newWorld(t, "symlink")
	w.put(map[string]string{"a/1": "one"})
	w.cfg = func(c *Config) { c.Hooks.BeforeSwitch = []string{"false"} }
	_, err := w.repo().Promote(ctx, PromoteOptions{})
	st, _ := w.repo().Status(ctx)
	if st.RecoveryPending {
		t.Errorf("%v; pending %v", err, st.RecoveryPending)
	}
}

// TestAdoptAgainAfterAKill: adopt killed before the exchange, symlink mode.
func TestAdoptAgainAfterAKill(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		base := t.TempDir()
		live := filepath.Join(base, "www")
		os.MkdirAll(live, 0o755)
		if err := stageItems(live, map[string]string{"a/1": "one"}); err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(base, "repo")
		if err := Init(dir, InitOptions{Switch: mode, Production: live, Adopt: live}); err != nil {
			t.Fatal(err)
		}
		w := &world{t: t, dir: dir, now: epoch}
		w.step = func(n string) error {
			if n == "after-ready" {
				panic(errInjected)
			}
			return nil
		}
		func() {
			defer func() { recover() }()
			w.repo().Adopt(ctx, live, "")
		}()
		w.step = nil
		// killed inside sw.adopt, between its first step and the exchange
		aside := live + AsideSuffix
		if mode == "symlink" {
			if err := os.Symlink(filepath.Join(dir, "generations/000001"), aside); err != nil {
				t.Fatal(err)
			}
		} else {
			if err := os.Rename(filepath.Join(dir, "generations/.next-000001"), aside); err != nil {
				t.Fatal(err)
			}
		}
		res, _, err := w.repo().Adopt(ctx, live, "")
		if err != nil {
			t.Errorf("%v", err)
		} else {
			t.Log("generation", res.Generation, "warnings nil:", res.Warnings == nil)
		}
	})
}

// TestSecondRevertBarsBothContents: bar by path only (plain).
func TestSecondRevertBarsBothContents(t *testing.T) {
	w := newWorld(t, "symlink")
	repo := func() *Repo {
		c, _ := LoadConfig(w.dir)
		r, err := Open(w.dir, c, plain.Format{}, Options{Now: func() time.Time { return w.now }, Who: "x"})
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
	// a timer with the second bad file, and something unrelated
	write("a.txt", "v2 bad")
	write("b.txt", "unrelated")
	_, err := repo().Promote(ctx, PromoteOptions{})
	if err == nil || kindOf(err) != Refused {
		t.Errorf("v2 came back: %v", err)
	}
}

// What a revert refused is derived again when its manifest is lost.
func TestRemadeManifestStillBars(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := newWorld(t, mode)
		for _, items := range []map[string]string{{"a/1": "one"}, {"a/1": "one", "a/2": "bad"}} {
			w.put(items)
			w.promote()
		}
		w.revert(0)
		if err := os.Truncate(w.repo().manifestPath(3), 0); err != nil {
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

// A hook that stops promotes keeps nobody from going back.
func TestVetoDoesNotStopAWayBack(t *testing.T) {
	w := newWorld(t, "symlink")
	w.put(map[string]string{"a/1": "one"})
	w.promote()
	w.cfg = func(c *Config) {
		c.Hooks.BeforeSwitch = []string{"sh", "-c", `test "$PUBLISH_KIND" = promote`}
		c.HealthCheck.Command = []string{"sh", "-c", `test "$PUBLISH_GENERATION" != 2`}
	}
	w.put(map[string]string{"a/2": "two"})
	_, err := w.repo().Promote(ctx, PromoteOptions{})
	wantKind(t, err, Switched)
	wantItems(t, w, map[string]string{"a/1": "one"})
	w.put(map[string]string{"a/3": "three"})
	w.promote()
	w.revert(0)
	wantItems(t, w, map[string]string{"a/1": "one"})
}

// A switch that recovery records is not dated before it was made: the windows
// of what it dropped would end too early.
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
