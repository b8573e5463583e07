package publish

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/publish/stage/durable"
)

// closedWorld is a chainWorld whose history has four closed files.
func closedWorld(t *testing.T, mode string) *world {
	w := newWorldIn(t, fastDir(t), mode)
	next := func(items map[string]string, end bool) {
		if w.closeBytes = 0; end {
			w.closeBytes = 1
		}
		w.put(items)
		w.promote()
		w.now = w.now.Add(time.Minute)
	}
	next(map[string]string{"a/1": "one"}, false)
	next(map[string]string{"a/2": "two"}, true)
	next(map[string]string{"a/3": "three"}, false)
	must(t, w.repo().Pin(ctx, 2, "golden"))
	w.closeBytes = 1
	w.revert(1)
	w.now = w.now.Add(time.Minute)
	next(map[string]string{"a/5": "five"}, true)
	w.closeBytes = 0
	must(t, w.repo().Hold(ctx, "weekend"))
	must(t, w.repo().Unhold(ctx))
	w.veto(map[string]string{"a/6": "six"})
	w.now = w.now.Add(time.Minute)
	next(map[string]string{"a/7": "seven"}, true)
	w.closeBytes = 0
	must(t, w.repo().Hold(ctx, "night"))
	if n := len(w.closedFiles()); n != 4 {
		t.Fatalf("%d files are closed", n)
	}
	return w
}

// closed returns the path of the n-th closed file.
func (w *world) closed(n int) string { return fmt.Sprintf("%s.%06d", w.repo().historyPath(), n) }

func (w *world) read(path string) []byte {
	w.t.Helper()
	data, err := os.ReadFile(path)
	must(w.t, err)
	return data
}

// answers are what commands report from the history.
func (w *world) answers() string {
	w.t.Helper()
	st, err := w.repo().Status(ctx)
	must(w.t, err)
	st.RecoveryPending, st.HistoryFlaw = false, ""
	plan, err := w.repo().GC(ctx, true)
	must(w.t, err)
	shown, err := w.repo().Show(ctx, "2")
	must(w.t, err)
	text, err := json.MarshalIndent([]any{st.Production, st.Generations, st.Hold, st.RevertUntil, plan, shown}, "", "")
	must(w.t, err)
	return string(text)
}

// damages are the kinds of damage to the files of a closedWorld, and whether commands
// still work without a recovery.
var damages = map[string]struct {
	do   func(w *world) error
	goes bool
	lost bool // lines are lost whose facts neither manifests nor checkpoints have
}{
	"a closed file is lost":          {func(w *world) error { return os.Remove(w.closed(2)) }, true, false},
	"the first closed file is lost":  {func(w *world) error { return os.Remove(w.closed(1)) }, true, false},
	"the newest closed file is lost": {func(w *world) error { return os.Remove(w.closed(4)) }, true, false},
	"two closed files are lost": {func(w *world) error {
		return errors.Join(os.Remove(w.closed(2)), os.Remove(w.closed(3)))
	}, true, false},
	"all closed files are lost": {func(w *world) error {
		return errors.Join(os.Remove(w.closed(1)), os.Remove(w.closed(2)), os.Remove(w.closed(3)),
			os.Remove(w.closed(4)))
	}, true, false},
	"a closed file is emptied": {func(w *world) error { return os.Truncate(w.closed(3), 0) }, true, false},
	"a closed file is cut at a line": {func(w *world) error {
		data := w.read(w.closed(3))
		return os.Truncate(w.closed(3), int64(bytes.LastIndexByte(data[:len(data)-1], '\n')+1))
	}, true, false},
	"a closed file is torn": {func(w *world) error {
		return os.Truncate(w.closed(2), int64(len(w.read(w.closed(2)))-5))
	}, true, false},
	"a line of a closed file":        {func(w *world) error { return flip(w.closed(2), -20) }, true, false},
	"the checkpoint of a closed one": {func(w *world) error { return flip(w.closed(3), 30) }, true, false},
	"the file is lost":               {func(w *world) error { return os.Remove(w.repo().historyPath()) }, false, true},
	"the file is emptied": {func(w *world) error { return os.Truncate(w.repo().historyPath(), 0) }, false,
		true},
	"the checkpoint": {func(w *world) error { return flip(w.repo().historyPath(), 30) }, false, false},
	"the checkpoint's line is lost": {func(w *world) error {
		data := w.read(w.repo().historyPath())
		return os.WriteFile(w.repo().historyPath(), data[bytes.IndexByte(data, '\n')+1:], 0o644)
	}, false, false},
	"the file and the newest closed one are lost": {func(w *world) error {
		return errors.Join(os.Remove(w.repo().historyPath()), os.Remove(w.closed(4)))
	}, false, true},
	"the checkpoint, and a line of the newest closed one": {func(w *world) error {
		return errors.Join(flip(w.repo().historyPath(), 30), flip(w.closed(4), -20))
	}, false, true},
	"an older file is put back": {func(w *world) error {
		return os.WriteFile(w.repo().historyPath(), w.read(w.closed(4)), 0o644)
	}, true, true},
	"a much older file is put back": {func(w *world) error {
		return os.WriteFile(w.repo().historyPath(), w.read(w.closed(2)), 0o644)
	}, false, true},
	"the file is a closed one": {func(w *world) error { return os.Rename(w.closed(4), w.repo().historyPath()) }, true,
		true},
	"it was being closed": {func(w *world) error { return os.Link(w.repo().historyPath(), w.closed(5)) }, true,
		false},
	"it was being closed, and was copied": {func(w *world) error {
		data := w.read(w.repo().historyPath())
		return os.WriteFile(w.closed(5), data[:bytes.LastIndexByte(data[:len(data)-1], '\n')+1], 0o644)
	}, true, false},
	"another file is there": {func(w *world) error { return os.WriteFile(w.closed(5), w.read(w.closed(2)), 0o644) },
		false, false},
}

// flip inverts one bit of a file. A negative at counts from the end.
func flip(path string, at int) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	data[(at+len(data))%len(data)] ^= 1
	return os.WriteFile(path, data, 0o644)
}

// After any damage to the files of the history, commands work or refuse. After a
// recovery they know everything that can still be proved, and no remaining line is
// lost.
func TestClosedHistoryIsDamaged(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		for name, c := range damages {
			t.Run(name, func(t *testing.T) {
				w := closedWorld(t, mode)
				chain, answers, served := w.chain(), w.answers(), fmt.Sprint(w.served())
				if chain != "1<0 2<1 3<2 4<3 5<4 7<5" {
					t.Fatal(chain)
				}
				all := map[string]bool{}
				for _, line := range w.lines() {
					all[string(line)] = true
				}
				must(t, c.do(w))
				left := w.lines()
				if st, err := w.repo().Status(ctx); c.goes && err != nil || !c.goes && err == nil &&
					!st.RecoveryPending {
					t.Errorf("status: %+v %v", st, err)
				}
				if c.goes && c.lost {
					// Nothing proves this.
				} else if c.goes {
					if got := w.answers(); got != answers {
						t.Errorf("before the recovery: %s", cmp.Diff(answers, got))
					}
				} else if err := w.repo().Unpin(ctx, 2); err == nil {
					t.Error("a command does not notice")
				} else if e := new(Error); !errors.As(err, &e) || !strings.Contains(e.Hint, "publish recover") {
					t.Errorf("a command says: %v", err)
				}
				done, err := w.repo().Recover(ctx)
				if err != nil {
					t.Fatalf("%v: %v", done, err)
				}
				if again, err := w.repo().Recover(ctx); err != nil || len(again) > 0 {
					t.Fatalf("%v; again: %v %v", done, again, err)
				}
				if st, err := w.repo().Status(ctx); err != nil || st.RecoveryPending || st.HistoryFlaw != "" {
					t.Errorf("%v: %+v %v", done, st, err)
				}
				for _, line := range left {
					if all[string(line)] && !slices.ContainsFunc(w.lines(),
						func(l []byte) bool { return bytes.Equal(l, line) }) {
						t.Errorf("%v: lost is %s", done, line)
					}
				}
				if got := w.chain(); got != chain {
					t.Errorf("%v: the switches are %s", done, got)
				}
				if got := w.answers(); got != answers && !c.lost {
					t.Errorf("%v: after it: %s", done, cmp.Diff(answers, got))
				}
				events, err := w.repo().History(HistoryFilter{})
				if err != nil || len(events) < 6 {
					t.Errorf("%v: %d events: %v", done, len(events), err)
				}
				if got := fmt.Sprint(w.served()); got != served {
					t.Error("production changed")
				}
				w.put(map[string]string{"a/9": "nine"})
				must(t, errors.Join(w.repo().Unhold(ctx)))
				w.closeBytes = 1
				if res := w.promote(); res.Generation != 8 {
					t.Errorf("the next is generation %d", res.Generation)
				}
				if again, err := w.repo().Recover(ctx); err != nil || len(again) > 0 {
					t.Errorf("after the next promote: %v %v", again, err)
				}
				if got := w.chain(); got != chain+" 8<7" {
					t.Errorf("after the next promote the switches are %s", got)
				}
			})
		}
	})
}

// A recovery that is stopped while it repairs files of the history can be repeated.
func TestStoppedWhileRepairingClosedHistory(t *testing.T) {
	for name, c := range damages {
		t.Run(name, func(t *testing.T) {
			for _, at := range []string{"after-aside", "after-segment-anew", "after-mend", "after-stray"} {
				w := closedWorld(t, "symlink")
				must(t, c.do(w))
				hit := false
				w.step = func(step string) error {
					if step == at && !hit {
						hit = true
						return errInjected
					}
					return nil
				}
				if _, err := w.repo().Recover(ctx); hit != errors.Is(err, errInjected) {
					t.Fatal(at, err)
				}
				w.step = nil
				done, err := w.repo().Recover(ctx)
				if err != nil {
					t.Fatalf("%s: %v", at, err)
				}
				if got := w.chain(); got != "1<0 2<1 3<2 4<3 5<4 7<5" {
					t.Errorf("%s: %v: the switches are %s", at, done, got)
				}
				if again, err := w.repo().Recover(ctx); err != nil || len(again) > 0 {
					t.Errorf("%s: %v: again: %v %v", at, done, again, err)
				}
				lines := w.lines()
				for i, line := range lines {
					if text, ok := durable.Unline(bytes.TrimSuffix(line, []byte("\n"))); !ok ||
						slices.ContainsFunc(lines[:i], func(l []byte) bool { return bytes.Equal(l, line) }) {
						t.Errorf("%s: %v: there twice is %s", at, done, text)
					}
				}
			}
		})
	}
}

// What made the kept generations is told without the closed files.
func TestMadeWithoutClosedFiles(t *testing.T) {
	w := closedWorld(t, "symlink")
	for _, path := range w.closedFiles() {
		must(t, os.Remove(path))
	}
	kept, err := w.repo().Generations()
	must(t, err)
	made, err := w.repo().Made(append(kept, 99))
	must(t, err)
	if len(kept) < 4 || len(made) != len(kept) {
		t.Errorf("kept are %v; made: %v", kept, made)
	}
	for _, n := range kept {
		if m := made[n]; m.Generation != n || !m.Kind.Switch() || m.Time.IsZero() {
			t.Errorf("generation %d: %+v", n, m)
		}
	}
}

// If a history file cannot be closed, there is only a warning.
func TestHistoryIsNotClosed(t *testing.T) {
	w := newWorld(t, "symlink")
	w.closeBytes = 1
	for _, at := range []string{"after-segment", "after-checkpoint"} {
		w.put(map[string]string{"a/" + at: at})
		w.step = func(step string) error {
			if step == at {
				return errInjected
			}
			return nil
		}
		w.promote()
		w.step = nil
		if done, err := w.repo().Recover(ctx); err != nil || len(done) > 0 {
			t.Errorf("%s: %v %v", at, done, err)
		}
	}
	// Something else has the name of the closed file.
	must(t, os.Mkdir(w.closed(len(w.closedFiles())+1), 0o755))
	w.put(map[string]string{"a/3": "three"})
	if _, err := w.repo().Promote(ctx, PromoteOptions{}); err != nil {
		if done, err := w.repo().Recover(ctx); err != nil {
			t.Errorf("%v %v", done, err)
		}
		w.promote()
	}
	if got := w.chain(); got != "1<0 2<1 3<2" {
		t.Error(got)
	}
	if matches, _ := filepath.Glob(filepath.Join(w.dir, ".publish/.history*")); len(matches) > 0 {
		t.Errorf("left are %v", matches)
	}
}
