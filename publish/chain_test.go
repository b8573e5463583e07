package publish

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/publish/publish/generation"
	"example.com/publish/publish/journal"
	"example.com/publish/stage/durable"
)

// chainWorld has a history with everything that a chain can have: promotes, a revert,
// a change by another program, a number that was abandoned because a hook failed, and
// lines that are not switches.
func chainWorld(t *testing.T, mode string) *world {
	w := newWorldIn(t, fastDir(t), mode)
	next := func(items map[string]string) {
		w.put(items)
		w.promote()
		w.now = w.now.Add(time.Minute)
	}
	next(map[string]string{"a/1": "one"})
	next(map[string]string{"a/2": "two"})
	next(map[string]string{"a/3": "three"})
	w.revert(1)
	w.relink(3)
	if _, err := w.repo().Recover(ctx); err != nil {
		t.Fatal(err)
	}
	next(map[string]string{"a/5": "five"})
	if err := errors.Join(w.repo().Hold(ctx, "weekend"), w.repo().Unhold(ctx),
		w.repo().Pin(ctx, 2, "golden")); err != nil {
		t.Fatal(err)
	}
	w.now = w.now.Add(time.Minute)
	next(map[string]string{"a/6": "six"})
	w.veto(map[string]string{"a/7": "seven"})
	next(map[string]string{"a/8": "eight"})
	return w
}

// relink switches production to another generation, as another program would.
func (w *world) relink(n int) {
	w.t.Helper()
	r := w.repo()
	was, err := r.site.Live(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	store := filepath.Join(w.dir, "generations")
	if r.Config.Switch == "rename" {
		err = errors.Join(os.Rename(w.production(), filepath.Join(store, generation.Number(was))),
			os.Rename(filepath.Join(store, generation.Number(n)), w.production()))
	} else {
		err = errors.Join(os.Remove(w.production()), os.Symlink("generations/"+generation.Number(n), w.production()))
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// veto runs a promote that a hook stops.
func (w *world) veto(items map[string]string) {
	w.t.Helper()
	w.put(items)
	w.cfg = func(c *Config) { c.Hooks.BeforeSwitch = []string{"false"} }
	defer func() { w.cfg = nil }()
	if _, err := w.repo().Promote(ctx, PromoteOptions{}); err == nil {
		w.t.Fatal("the hook did not stop it")
	}
}

// lines returns the complete lines of all files of the history, each with its newline,
// without checkpoints.
func (w *world) lines() [][]byte {
	w.t.Helper()
	var out [][]byte
	own := w.repo().historyPath()
	data, err := os.ReadFile(own)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		w.t.Fatal(err)
	}
	for _, name := range append(w.closedFiles(), own) {
		closed, err := os.ReadFile(name)
		if name == own {
			closed = data
		} else if must(w.t, err); len(closed) > 0 && bytes.HasPrefix(data, closed) {
			continue // it was being closed
		}
		for line := range bytes.Lines(closed) {
			if bytes.HasSuffix(line, []byte("\n")) && !bytes.HasPrefix(line[min(9, len(line)):],
				[]byte(`{"kind":"checkpoint"`)) {
				out = append(out, line)
			}
		}
	}
	return out
}

// closedFiles returns the closed files of the history.
func (w *world) closedFiles() []string {
	files, err := filepath.Glob(filepath.Join(w.dir, ".publish", "history.0*[0-9]"))
	must(w.t, err)
	return slices.DeleteFunc(files, func(name string) bool {
		fi, err := os.Stat(name)
		return err == nil && fi.IsDir()
	})
}

// rewrite replaces all files of the history by a single file.
func (w *world) rewrite(lines ...[]byte) {
	w.t.Helper()
	for _, name := range w.closedFiles() {
		must(w.t, os.Remove(name))
	}
	if err := os.WriteFile(w.repo().historyPath(), bytes.Join(lines, nil), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

// chain returns the switches in short form: generation<from.
func (w *world) chain() string {
	w.t.Helper()
	var out []string
	for _, line := range w.lines() {
		for _, e := range journal.Parse(line).Events {
			switch {
			case e.Kind.Switch():
				out = append(out, fmt.Sprintf("%d<%d", e.Generation, e.From))
			case e.Kind == journal.KindGap:
				out = append(out, "gap")
			}
		}
	}
	return strings.Join(out, " ")
}

// mutations lose, repeat and displace lines.
func mutations(lines [][]byte) map[string][][]byte {
	out := map[string][][]byte{"emptied": nil}
	n := len(lines)
	cut := func(from, to int) [][]byte { return slices.Concat(lines[:from], lines[to:]) }
	for i := range n {
		for j := i + 1; j <= n; j++ {
			out[fmt.Sprintf("lines %d to %d cut", i+1, j)] = cut(i, j)
		}
		for j := range n {
			if (i+2*j)%3 == 0 { // a third of all pairs is enough
				out[fmt.Sprintf("line %d again behind %d", i+1, j+1)] = slices.Insert(slices.Clone(lines), j+1,
					lines[i])
				out[fmt.Sprintf("line %d moved to %d", i+1, j+1)] = slices.Insert(slices.Delete(slices.Clone(lines), i,
					i+1), j, lines[i])
			}
			if i < j {
				swapped := slices.Clone(lines)
				swapped[i], swapped[j] = swapped[j], swapped[i]
				out[fmt.Sprintf("lines %d and %d swapped", i+1, j+1)] = swapped
				if j > i+1 {
					out[fmt.Sprintf("lines %d and %d cut", i+1, j+1)] = slices.Delete(cut(j, j+1), i, i+1)
				}
			}
		}
	}
	var others [][]byte
	for _, line := range lines {
		if !journal.Parse(line).Events[0].Kind.Switch() {
			others = append(others, line)
		}
	}
	out["only lines that are no switches"] = others
	return out
}

// After any mutation of the history and a recovery, the switches are the same as
// before. The only mutations that may go unnoticed are those that affect no switch.
// Production is never touched.
func TestLostLines(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := chainWorld(t, mode)
		want, good := w.chain(), w.lines()
		if want != "1<0 2<1 3<2 4<3 3<4 5<3 6<5 8<6" {
			t.Fatal(want)
		}
		served := w.served()
		for name, lines := range mutations(good) {
			w.rewrite(lines...)
			relinkLost := !strings.Contains(w.chain(), "3<4")
			flawed := w.chain() != want
			st, err := w.repo().Status(ctx)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if st.RecoveryPending != flawed {
				t.Fatalf("%s: %s: recovery pending: %v %q", name, w.chain(), st.RecoveryPending, st.HistoryFlaw)
			}
			before := bytes.Join(w.lines(), nil)
			if _, err := w.repo().GC(ctx, true); err != nil {
				// The error has a hint, and the failed command has not made it worse.
				var e *Error
				if !errors.As(err, &e) || !strings.Contains(e.Hint, "publish recover") ||
					!bytes.Equal(before, bytes.Join(w.lines(), nil)) {
					t.Fatalf("%s: %v", name, err)
				}
			} else if w.rewrite(lines...); !flawed {
				continue
			}
			done, err := w.repo().Recover(ctx)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if got := w.chain(); got != want {
				t.Fatalf("%s: the switches are %s: %v", name, got, done)
			}
			if relinkLost && !strings.Contains(strings.Join(done, ";"), "went back") && name != "emptied" {
				t.Logf("%s: %v", name, done)
			}
			if again, err := w.repo().Recover(ctx); err != nil || len(again) > 0 {
				t.Fatalf("%s: again: %v %v", name, again, err)
			}
			if kept, _ := os.ReadFile(filepath.Join(w.dir, ".publish/history.damaged")); len(kept) > 0 &&
				!bytes.Equal(kept, before) {
				t.Fatalf("%s: what is kept is not the history as it was", name)
			}
			_ = os.Remove(filepath.Join(w.dir, ".publish/history.damaged"))
		}
		if got := w.served(); fmt.Sprint(got) != fmt.Sprint(served) {
			t.Error("production changed")
		}
		w.rewrite(good...)
		if done, err := w.repo().Recover(ctx); err != nil || len(done) > 0 {
			t.Error(done, err)
		}
		wantItems(t, w, map[string]string{"a/8": "eight"})
	})
}

// Lines whose manifests gc has deleted cannot be rebuilt. That stops no command.
// Status reports it, and recover records the gap in the history, once.
func TestGapInHistory(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := newWorld(t, mode)
		for i := range 6 {
			w.put(map[string]string{"a/1": fmt.Sprint(i), "a/2": "two"})
			w.promote()
			w.now = w.now.Add(3 * time.Hour)
		}
		w.gc()
		var switches [][]byte
		for _, line := range w.lines() {
			if journal.Parse(line).Events[0].Kind.Switch() {
				switches = append(switches, line)
			}
		}
		for name, c := range map[string]struct {
			lines [][]byte
			want  string
		}{
			"the first":      {switches[1:], "gap 2<1 3<2 4<3 5<4 6<5"},
			"one of many":    {slices.Concat(switches[:2], switches[3:]), "1<0 2<1 gap 4<3 5<4 6<5"},
			"all but newest": {switches[5:], "gap 6<5"},
			"all":            {nil, "gap 6<5"},
			"the last two":   {switches[:4], "1<0 2<1 3<2 4<3 gap 6<5"},
		} {
			t.Run(name, func(t *testing.T) {
				w.rewrite(c.lines...)
				if st, err := w.repo().Status(ctx); err != nil || !st.RecoveryPending || st.HistoryFlaw == "" {
					t.Errorf("nobody notices: %v", err)
				}
				if err := w.repo().Hold(ctx, "on"); err != nil {
					t.Errorf("it stops a hold: %v", err)
				}
				w.rewrite(c.lines...)
				if done, err := w.repo().Recover(ctx); err != nil || w.chain() != c.want {
					t.Errorf("the switches are %s: %v %v", w.chain(), done, err)
				}
				if done, err := w.repo().Recover(ctx); err != nil || len(done) > 0 {
					t.Errorf("again: %v %v", done, err)
				}
				if st, err := w.repo().Status(ctx); err != nil || st.RecoveryPending || st.HistoryFlaw != "" {
					t.Errorf("not settled: %+v %v", st, err)
				}
			})
		}
		// The window of a lost switch ends with that of the next switch.
		w.put(map[string]string{"a/3": "three"})
		w.promote()
		w.now = w.now.Add(3 * time.Hour)
		w.gc()
		if gens, _ := w.repo().Generations(); len(gens) != 1 {
			t.Errorf("gc leaves %v", gens)
		}
		if n := len(w.served()); n != 2 {
			t.Errorf("what was carried stays: %v", w.served())
		}
	})
}

// A generation whose switch away is lost from the history is still deleted some day.
func TestWindowsAcrossAGap(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := newWorld(t, mode)
		for i := range 4 {
			w.put(map[string]string{"a/1": fmt.Sprint(i)})
			w.promote()
			w.now = w.now.Add(time.Minute)
		}
		lines := w.lines()
		w.rewrite(lines[0], lines[1], lines[3])
		for _, gone := range []string{".publish/manifests/000003", "generations/000003"} {
			if err := os.RemoveAll(filepath.Join(w.dir, gone)); err != nil {
				t.Fatal(err)
			}
		}
		w.now = w.now.Add(2*time.Hour - 2*time.Minute)
		w.gc()
		if gens, _ := w.repo().Generations(); fmt.Sprint(gens) != "[2 4]" || len(w.served()) != 4 {
			t.Errorf("before the windows end: %v, %v", gens, w.served())
		}
		w.now = w.now.Add(2 * time.Minute)
		w.gc()
		if gens, _ := w.repo().Generations(); fmt.Sprint(gens) != "[4]" || len(w.served()) != 2 {
			t.Errorf("after the windows ended: %v, %v", gens, w.served())
		}
	})
}

// If the history and a manifest are lost, the manifest is rebuilt from the tree, and
// the line from the manifest.
func TestLostHistoryAndManifest(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		for n := 1; n <= 4; n++ {
			w := newWorld(t, mode)
			for i := range 4 {
				w.put(map[string]string{"a/1": fmt.Sprint(i)})
				w.promote()
				w.now = w.now.Add(time.Minute)
			}
			if err := errors.Join(os.Remove(w.repo().historyPath()),
				os.Remove(w.repo().store.ManifestPath(n))); err != nil {
				t.Fatal(err)
			}
			if done, err := w.repo().Recover(ctx); err != nil || w.chain() != "1<0 2<1 3<2 4<3" {
				t.Errorf("%d: %s: %v %v", n, w.chain(), done, err)
			}
			if done, err := w.repo().Recover(ctx); err != nil || len(done) > 0 {
				t.Errorf("%d: again: %v %v", n, done, err)
			}
			w.revert(0)
			wantItems(t, w, map[string]string{"a/1": "2"})
		}
	})
}

// If a kept tree has neither a history line nor a manifest, nothing proves whose it
// is. It is left alone and stops no command.
func TestLostLineAndManifest(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := newWorld(t, mode)
		for i := range 4 {
			w.put(map[string]string{"a/1": fmt.Sprint(i)})
			w.promote()
			w.now = w.now.Add(time.Minute)
		}
		w.rewrite(slices.Delete(w.lines(), 1, 2)...)
		if err := os.Remove(w.repo().store.ManifestPath(2)); err != nil {
			t.Fatal(err)
		}
		if done, err := w.repo().Recover(ctx); err != nil || w.chain() != "1<0 gap 3<2 4<3" {
			t.Errorf("%s: %v %v", w.chain(), done, err)
		}
		if st, err := w.repo().Status(ctx); err != nil || st.RecoveryPending {
			t.Errorf("%+v %v", st, err)
		}
		w.revert(0)
		wantItems(t, w, map[string]string{"a/1": "2"})
	})
}

// A manifest alone does not prove a switch: a promote that a hook stopped leaves one,
// to keep the number from being used again.
func TestAbandonedIsNoSwitch(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		for name, lose := range map[string]func(w *world) error{
			"gone":    func(w *world) error { return os.Remove(w.repo().historyPath()) },
			"emptied": func(w *world) error { return os.Truncate(w.repo().historyPath(), 0) },
			"damaged": func(w *world) error {
				lines := w.lines()
				lines[1][20] ^= 1
				w.rewrite(lines...)
				return nil
			},
		} {
			t.Run(name, func(t *testing.T) {
				w := twoGenerations(t, mode)
				w.veto(map[string]string{"a/3": "three"})
				w.put(map[string]string{"a/4": "four"})
				w.promote()
				w.veto(map[string]string{"a/5": "five"})
				if gone(w.repo().store.ManifestPath(5)) { // that of 3 went with the next promote
					t.Fatal("the newest number is not kept")
				}
				if err := lose(w); err != nil {
					t.Fatal(err)
				}
				done, err := w.repo().Recover(ctx)
				if err != nil || w.chain() != "1<0 2<1 4<2" {
					t.Errorf("%s: %v %v", w.chain(), done, err)
				}
				w.put(map[string]string{"a/6": "six"})
				if res := w.promote(); res.Generation != 6 {
					t.Errorf("the next is generation %d", res.Generation)
				}
				if res := w.revert(0); res.Origin != 4 {
					t.Errorf("a revert goes to %d", res.Origin)
				}
			})
		}
	})
}

// A tree that was never switched to is not taken for production when the history is
// lost.
func TestUnswitchedIsNoSwitch(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := newWorld(t, mode)
		for _, v := range []string{"a/1", "a/2"} {
			w.put(map[string]string{v: v})
			w.promote()
		}
		w.put(map[string]string{"a/3": "three"})
		w.step = func(name string) error {
			if name == "before-swap" {
				panic(errInjected)
			}
			return nil
		}
		func() {
			defer func() { _ = recover() }()
			_, _ = w.repo().Promote(ctx, PromoteOptions{})
		}()
		w.step = nil
		if err := os.Remove(w.repo().historyPath()); err != nil {
			t.Fatal(err)
		}
		if done, err := w.repo().Recover(ctx); err != nil || w.chain() != "1<0 2<1" {
			t.Errorf("%s: %v %v", w.chain(), done, err)
		}
		if gens, _ := w.repo().Generations(); fmt.Sprint(gens) != "[1 2]" {
			t.Errorf("there are generations %v", gens)
		}
		w.put(map[string]string{"a/4": "four"})
		if res := w.promote(); res.Generation != 4 {
			t.Errorf("the next is generation %d", res.Generation)
		}
	})
}

// Under layout 1, recovery could record an abandoned promote as a switch, and its
// first line could have no manifest before it. Both are accepted.
func TestHistoryOfLayout1(t *testing.T) {
	w := newWorld(t, "symlink")
	for i := range 3 {
		w.put(map[string]string{"a/1": fmt.Sprint(i)})
		w.promote()
	}
	line := func(n, from int) []byte {
		e := journal.Event{
			Head: journal.Head{Time: w.now, Kind: journal.KindPromote, Generation: n, From: from, Origin: n},
			Body: &journal.Switch{Grace: 7200, Recovered: true}}
		text, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		return durable.Line(text)
	}
	lines := w.lines()
	renamed := func(n int, e journal.Event) []byte { // generation 3 came from 1: 2 was abandoned
		e.Generation, e.From = n, 1
		text, _ := json.Marshal(e)
		return durable.Line(text)
	}
	e := journal.Parse(lines[2]).Events[0]
	for name, history := range map[string][][]byte{
		"abandoned": {lines[0], line(2, 1), renamed(3, e)},
		"begins":    {line(1, 77), lines[1], lines[2]},
	} {
		w.rewrite(history...)
		if st, err := w.repo().Status(ctx); err != nil || st.RecoveryPending {
			t.Errorf("%s: %+v %v", name, st, err)
		}
		if err := errors.Join(w.repo().Hold(ctx, "x"), w.repo().Unhold(ctx)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A recovery that is stopped while it rewrites the history leaves the old history or
// the new one.
func TestStoppedWhileMending(t *testing.T) {
	for _, at := range []string{"after-aside", "after-mend"} {
		w := newWorld(t, "symlink")
		for i := range 3 {
			w.put(map[string]string{"a/1": fmt.Sprint(i)})
			w.promote()
		}
		lines := w.lines()
		w.rewrite(lines[0], lines[2])
		w.step = func(name string) error {
			if name == at {
				return errInjected
			}
			return nil
		}
		if _, err := w.repo().Recover(ctx); !errors.Is(err, errInjected) {
			t.Fatal(at, err)
		}
		w.step = nil
		if _, err := w.repo().Recover(ctx); err != nil || w.chain() != "1<0 2<1 3<2" {
			t.Errorf("%s: %s: %v", at, w.chain(), err)
		}
	}
}
