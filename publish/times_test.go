package publish

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// timed is a file as a web server sees it.
type timed struct {
	data string
	time time.Time
}

func (w *world) timed() map[string]timed {
	w.t.Helper()
	out := map[string]timed{}
	for p, data := range w.served() {
		fi, err := os.Stat(filepath.Join(w.production(), p))
		must(w.t, err)
		out[p] = timed{data, fi.ModTime()}
	}
	return out
}

// risen compares what is served with what was served: a path with other bytes has a
// later time, in whole seconds, and a path with the same bytes has the same time.
func (w *world) risen(was map[string]timed) map[string]timed {
	w.t.Helper()
	is := w.timed()
	for p, now := range is {
		before, ok := was[p]
		switch {
		case !ok:
		case now.data == before.data && !now.time.Equal(before.time):
			w.t.Errorf("%s: the same bytes, and its time was %s, is %s", p, before.time, now.time)
		case now.data != before.data && now.time.Unix() <= before.time.Unix():
			w.t.Errorf("%s: other bytes, and its time was %s, is %s", p, before.time, now.time)
		}
	}
	return is
}

// A revoke switches while a promote is being prepared. The promote's files are newer
// than those of the revoke.
func TestTimesAfterRevokeInPromote(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := newWorld(t, mode)
		w.put(map[string]string{"a/1": "one", "b/1": "two"})
		w.promote()
		was := w.timed()
		for _, same := range []bool{false, true} {
			next := map[string]string{"a/1": "one", "c/1": "three"}
			if same { // the same index, byte for byte, as the revoke writes
				next = map[string]string{"a/1": "one"}
				w.put(map[string]string{"a/1": "one", "b/1": "two"})
				_, err := w.repo().Promote(ctx, PromoteOptions{Force: true})
				must(t, err)
				was = w.risen(was)
			}
			w.put(next)
			must(t, os.WriteFile(filepath.Join(w.dir, "staging/new.txt"), []byte("new"), 0o644))
			r := w.repo()
			r.step = func(name string) error {
				if name != "prepared" {
					return nil
				}
				r.step = nil
				w.now = w.now.Add(10 * time.Second)
				_, err := w.repo().Revoke(ctx, RevokeOptions{What: []string{"b/1"}, Why: "leaked"})
				was = w.risen(was)
				return err
			}
			_, err := r.Promote(ctx, PromoteOptions{Force: true})
			must(t, err)
			was = w.risen(was)
		}
	})
}

// A path whose window has ended is served until a gc, with its times.
func TestTimesOfCarriedPath(t *testing.T) {
	w := newWorld(t, "symlink")
	w.put(map[string]string{"a/1": "one"})
	page := filepath.Join(w.dir, "staging/page.txt")
	must(t, os.WriteFile(page, []byte("old"), 0o644))
	w.promote()
	must(t, os.Chtimes(filepath.Join(w.production(), "page.txt"), time.Time{}, epoch.Add(90*time.Minute)))
	was := w.timed()
	for i := range 2 { // within the window, and after it
		must(t, os.Remove(page))
		w.now = w.now.Add(time.Minute)
		w.promote()
		was = w.risen(was)
		w.now = w.now.Add(time.Duration(i) * 3 * time.Hour)
		must(t, os.WriteFile(page, []byte{'n', byte('0' + i)}, 0o644))
		w.promote()
		was = w.risen(was)
	}
}

// If production is restored, or another program points it at an older tree, it has
// older content. Its files get new times, so that clients notice.
func TestTimesOfWhatIsPutBack(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := newWorld(t, mode)
		w.put(map[string]string{"a/1": "one"})
		must(t, os.WriteFile(filepath.Join(w.dir, "staging/page.txt"), []byte("page"), 0o644))
		w.promote()
		w.now = w.now.Add(time.Minute)
		w.put(map[string]string{"a/2": "two"})
		w.promote()
		was := w.timed()
		must(t, os.RemoveAll(w.production()))
		if mode == "symlink" {
			must(t, os.Symlink("generations/000001", w.production()))
		}
		w.now = w.now.Add(time.Minute)
		_, err := w.repo().Recover(ctx)
		must(t, err)
		w.risen(was)
	})
}

// A file that changes under its name must be newer for web servers and clients, which
// compare whole seconds. A file that does not change must keep its time.
func TestModificationTimes(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := newWorld(t, mode)
		w.now = time.Now() // the kernel sets file times, so use its clock
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
