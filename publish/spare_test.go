package publish

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"example.com/publish/publish/generation"
	"example.com/publish/stage/lock"
	"example.com/publish/stage/tree"
)

func (w *world) spare(parts ...string) string {
	return filepath.Join(append([]string{w.dir, "generations", generation.SpareName}, parts...)...)
}

func (w *world) hasSpare() bool { return !gone(w.spare()) }

// rounds makes n promotes. Each adds a version and removes one, next to a common part,
// so that each makes one generation due.
func (w *world) rounds(n int, each func(i int)) {
	w.t.Helper()
	for i := range n {
		w.put(map[string]string{"c/1": "common", "c/2": "common, too", "a/" + fmt.Sprint(i): fmt.Sprint("of ", i)})
		w.promote()
		w.now = w.now.Add(90 * time.Minute)
		if each != nil {
			each(i)
		}
	}
}

func itemPath(data string) string { return "images/" + sumOf(data)[:16] + ".bin" }

// A tree is reused in a later generation with the same directories, and clients see no
// difference from a new one.
func TestSpare(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := newWorldIn(t, fastDir(t), mode)
		seen := map[uint64]int{}
		again := 0
		w.rounds(100, func(i int) {
			checkSpare(t, w)
			if i >= 3 != w.hasSpare() {
				t.Fatalf("round %d: a spare: %v", i, w.hasSpare())
			}
			want := fmt.Sprint(map[string]string{"c/1": "common", "c/2": "common, too",
				"a/" + fmt.Sprint(i): fmt.Sprint("of ", i)})
			if got := fmt.Sprint(w.items()); got != want {
				t.Fatalf("round %d: %s", i, got)
			}
			if at := ino(t, w.production()+"/images"); seen[at] > 0 {
				again++
			} else {
				seen[at] = i + 1
			}
		})
		if again < 90 {
			t.Errorf("only %d trees came back", again)
		}
		kept, err := w.repo().Generations()
		must(t, err)
		for _, n := range kept {
			if report, _, err := w.repo().Verify(ctx, fmt.Sprint(n), false); err != nil || len(report.Findings) > 0 {
				t.Errorf("generation %d: %+v, %v", n, report, err)
			}
		}
		is := ino(t, w.spare())
		if res := w.revert(0); res.Unchanged || w.items()["a/98"] != "of 98" {
			t.Errorf("%+v", res)
		}
		if ino(t, w.production()+"/") != is {
			t.Error("the revert did not use the spare")
		}
		checkRecovered(t, w)
	})
}

func ino(t *testing.T, path string) uint64 {
	t.Helper()
	fi, err := os.Stat(path)
	must(t, err)
	return tree.StatOf(fi).Ino
}

// Whatever happens to the spare, production becomes what staging was.
func TestSpareIsChanged(t *testing.T) {
	common := itemPath("common")
	for name, change := range map[string]func(t *testing.T, w *world){
		"a file is replaced": func(t *testing.T, w *world) {
			must(t, os.Remove(w.spare(common)))
			must(t, os.WriteFile(w.spare(common), []byte("evil!!"), 0o444))
		},
		"a file is written to": func(t *testing.T,
			w *world) {
			must(t, os.WriteFile(w.spare("images/new.bin"), []byte("evil"), 0o444))
		},
		"an index is brought": func(t *testing.T, w *world) {
			must(t, os.WriteFile(w.spare("index.json"), []byte("[]"), 0o444))
		},
		"a number is brought": func(t *testing.T, w *world) {
			must(t, os.WriteFile(w.spare(generation.IdentityName), []byte("1\n"), 0o444))
		},
		"a directory is a link": func(t *testing.T, w *world) { linkAway(t, w.spare("images")) },
		"it is a link":          func(t *testing.T, w *world) { linkAway(t, w.spare()) },
		"it is a file": func(t *testing.T, w *world) {
			must(t, os.RemoveAll(w.spare()))
			must(t, os.WriteFile(w.spare(), nil, 0o644))
		},
		"it is empty": func(t *testing.T, w *world) {
			must(t, os.RemoveAll(w.spare()))
			must(t, os.Mkdir(w.spare(), 0o755))
		},
		"it is gone":              func(t *testing.T, w *world) { must(t, os.RemoveAll(w.spare())) },
		"nobody may look into it": func(t *testing.T, w *world) { must(t, os.Chmod(w.spare("images"), 0)) },
		"all may write to it":     func(t *testing.T, w *world) { must(t, os.Chmod(w.spare("images"), 0o777)) },
		"it has another file's link": func(t *testing.T, w *world) {
			must(t, os.Remove(w.spare(common)))
			must(t, os.Link(filepath.Join(w.production(), itemPath("common, too")), w.spare(common)))
		},
	} {
		for _, verb := range []string{"promote", "revert"} {
			t.Run(name+", "+verb, func(t *testing.T) {
				w := newWorldIn(t, fastDir(t), "symlink")
				w.rounds(4, nil)
				before := w.items()
				change(t, w)
				if verb == "revert" {
					w.revert(3)
					w.revert(4)
				} else {
					before["z/1"] = "zed"
					w.put(before)
					w.promote()
				}
				if got := w.items(); !maps.Equal(got, before) {
					t.Errorf("%v, want %v", got, before)
				}
				if fi, err := os.Stat(w.production() + "/images"); err != nil || fi.Mode().Perm() != 0o755 {
					t.Errorf("%v, %v", fi.Mode(), err)
				}
				w.now = w.now.Add(3 * time.Hour)
				w.gc()
				checkRecovered(t, w)
			})
		}
	}
}

// linkAway moves a directory and replaces it by a link to its new place.
func linkAway(t *testing.T, path string) {
	t.Helper()
	to := filepath.Join(t.TempDir(), "moved")
	if os.Rename(path, to) != nil { // another file system
		must(t, os.CopyFS(to, os.DirFS(path)))
		must(t, os.RemoveAll(path))
	}
	must(t, os.Symlink(to, path))
}

// If several trees are due, the newest becomes the spare and replaces the old one.
func TestSpareIsTheNewest(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := newWorldIn(t, fastDir(t), mode)
		w.rounds(4, nil)
		old := ino(t, w.spare())
		for i := range 3 {
			w.put(map[string]string{"c/1": "common", "b/" + fmt.Sprint(i): fmt.Sprint("b ", i)})
			r := w.repo()
			r.Config.Grace = Duration(9 * time.Hour) // nothing is due meanwhile
			_, err := r.Promote(ctx, PromoteOptions{})
			must(t, err)
		}
		kept, err := w.repo().Generations()
		must(t, err)
		newest := kept[len(kept)-2]
		is := ino(t, filepath.Join(w.dir, "generations", generation.Number(newest)))
		w.now = w.now.Add(20 * time.Hour)
		if res := w.gc(); len(res.Generations) < 2 || !slices.Contains(res.Generations, newest) {
			t.Fatalf("%+v", res)
		}
		if got := ino(t, w.spare()); got != is || got == old {
			t.Errorf("the spare is another tree: %d, want %d", got, is)
		}
		checkSpare(t, w)
		checkRecovered(t, w)
	})
}

// What expires in production is also removed from the spare, so that its bytes are
// free, and gc reports how many.
func TestSpareHoldsNothing(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := newWorldIn(t, fastDir(t), mode)
		w.cfg = func(c *Config) { c.Share = "copy" } // staging has no links to it
		big := map[string]string{"c/1": "common", "c/2": "large, and soon gone"}
		for i := range 3 {
			big["a/1"] = fmt.Sprint("v", i)
			w.put(big)
			w.promote()
			w.now = w.now.Add(30 * time.Minute)
		}
		delete(big, "c/2")
		w.put(big)
		w.promote() // carries c/2 for two hours
		w.now = epoch.Add(2*time.Hour + 35*time.Minute)
		w.gc() // generation 1 is due
		p := itemPath("large, and soon gone")
		if gone(w.spare(p)) {
			t.Fatal("the spare lacks what production carries")
		}
		for _, n := range []int{2, 3} { // its other names
			must(t, os.RemoveAll(filepath.Join(w.dir, "generations", generation.Number(n))))
		}
		w.now = w.now.Add(2 * time.Hour)
		plan, err := w.repo().GC(ctx, true)
		must(t, err)
		res := w.gc()
		if want := int64(len("large, and soon gone")); res.Bytes < want || plan.Bytes != res.Bytes || res.Files != 2 {
			t.Errorf("%+v, planned %+v", res, plan)
		}
		if !gone(w.spare(p)) || !gone(filepath.Join(w.production(), p)) {
			t.Error("it is there still")
		}
		if !w.hasSpare() {
			t.Error("the spare is gone")
		}
		checkRecovered(t, w)
	})
}

// A promote that fails gives the spare back, and a dry run leaves it alone.
func TestSpareComesBack(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := newWorldIn(t, fastDir(t), mode)
		w.rounds(4, nil)
		is := ino(t, w.spare())
		items := w.items()
		items["z/1"] = "zed"
		w.put(items)
		list := w.filesIn(w.spare())
		_, err := w.repo().Promote(ctx, PromoteOptions{DryRun: true})
		must(t, err)
		_, err = w.repo().Revert(ctx, RevertOptions{DryRun: true})
		must(t, err)
		if ino(t, w.spare()) != is || !maps.Equal(list, w.filesIn(w.spare())) {
			t.Error("a dry run changed the spare")
		}
		// The spare lacks a file, which is noticed only when the tree is made.
		must(t, os.Remove(filepath.Join(w.dir, "staging", itemPath("zed"))))
		if _, err := w.repo().Promote(ctx, PromoteOptions{}); err == nil {
			t.Fatal("promoted")
		}
		if !w.hasSpare() || ino(t, w.spare()) != is {
			t.Error("the spare did not come back")
		}
		checkSpare(t, w)

		for _, step := range []string{"prepared", "validated", "before-manifest"} {
			w.put(items)
			w.step = func(name string) error {
				if name == step {
					return errInjected
				}
				return nil
			}
			if _, err := w.repo().Promote(ctx, PromoteOptions{}); !errors.Is(err, errInjected) {
				t.Fatal(err)
			}
			w.step = nil
			if !w.hasSpare() || ino(t, w.spare()) != is {
				t.Errorf("%s: the spare did not come back", step)
			}
			checkSpare(t, w)
		}

		// Another process has the production lock, so the spare cannot be given back.
		w.step = func(name string) error {
			if name != "prepared" {
				return nil
			}
			unlock, err := w.repo().lock(ctx, productionLock, "revoke")
			must(t, err)
			t.Cleanup(unlock)
			return errInjected
		}
		if _, err := w.repo().Promote(ctx, PromoteOptions{}); !errors.Is(err, errInjected) {
			t.Fatal(err)
		}
		if w.hasSpare() {
			t.Error("the spare came back without the lock")
		}
		if left, err := filepath.Glob(filepath.Join(w.dir, "generations", ".*")); err != nil || len(left) > 0 {
			t.Errorf("left: %v, %v", left, err)
		}
	})
}

// A revoke deletes the spare, and searches what it cannot delete.
func TestRevokeWithASpare(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		for _, live := range []bool{true, false} {
			t.Run(fmt.Sprint("served ", live), func(t *testing.T) {
				w := newWorldIn(t, fastDir(t), mode)
				w.rounds(4, nil)
				what := "c/2"
				bad := "common, too"
				if !live {
					what, bad = "q/1", "staged alone"
					items := w.items()
					items[what] = bad
					w.put(items)
				}
				if !w.hasSpare() {
					t.Fatal("no spare")
				}
				_, err := w.repo().Revoke(ctx, RevokeOptions{What: []string{what}, Why: "leaked"})
				must(t, err)
				nowhere(t, w, bad)
				if w.hasSpare() {
					t.Error("the spare is there")
				}
				checkRecovered(t, w)
			})
		}
	})
}

// goRound switches production back and forth until the tree with this inode is live
// again, as another generation.
func (w *world) goRound(t *testing.T, was uint64) {
	t.Helper()
	for range 8 {
		kept, err := w.repo().Generations()
		must(t, err)
		w.revert(kept[len(kept)-2])
		w.now = w.now.Add(90 * time.Minute)
		w.gc()
		if ino(t, w.production()+"/") == was {
			return
		}
	}
	t.Fatal("the tree did not come back")
}

// pageWorld has a spare, and two kept generations with different bytes in a page.
func pageWorld(t *testing.T, mode string) *world {
	w := newWorldIn(t, fastDir(t), mode)
	w.rounds(4, nil)
	for _, text := range []string{"zero", "one"} {
		must(t, os.WriteFile(filepath.Join(w.dir, "staging", "page.html"), []byte(text), 0o644))
		w.promote()
		w.now = w.now.Add(75 * time.Minute)
	}
	w.gc()
	if !w.hasSpare() {
		t.Fatal("no spare")
	}
	return w
}

// The directory that a promote holds open as its base may meanwhile have become
// another generation. In that case an operator's revert stops the promote, and nothing
// that it linked from there is used.
func TestPromoteWhoseBaseComesBack(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := pageWorld(t, mode)
		was := ino(t, w.production()+"/")
		items := w.items()
		items["z/1"] = "zed"
		w.put(items)
		busy := false
		w.step = func(name string) error {
			if name == "spare-taken" && !busy {
				busy = true
				w.goRound(t, was)
			}
			return nil
		}
		_, err := w.repo().Promote(ctx, PromoteOptions{Force: true})
		w.step = nil
		if kindOf(err) != Refused {
			t.Error(err)
		}
		checkSpare(t, w)
		if res, err := w.repo().Promote(ctx, PromoteOptions{Force: true}); err != nil || res.Unchanged ||
			!maps.Equal(w.items(), items) {
			t.Errorf("%+v, %v", res, err)
		}
		checkRecovered(t, w)
	})
}

// If production's directory became another generation while a reset waited for
// staging, the reset starts again.
func TestResetWhoseBaseComesBack(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := pageWorld(t, mode)
		was := ino(t, w.production()+"/")
		unlock, err := w.repo().Stage.Exclusive(ctx, "test")
		must(t, err)
		r := w.repo()
		r.Stage.Waiting = func(lock.Holder) {
			w.goRound(t, was)
			unlock()
		}
		_, _, err = r.Reset(ctx)
		must(t, err)
		staged, live := w.filesIn(filepath.Join(w.dir, "staging")), w.served()
		if !maps.Equal(w.itemsIn(filepath.Join(w.dir, "staging")), w.items()) ||
			staged["page.html"] != live["page.html"] {
			t.Errorf("staging has %v, production %v", staged, live)
		}
		if res := w.promote(); !res.Unchanged {
			t.Errorf("%+v", res)
		}
	})
}

// A reader that holds a generation's directory open, for however long, and still finds
// its number after a read, has read that generation.
func TestReaderOfAnOldTree(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := newWorldIn(t, fastDir(t), mode)
		var mu sync.Mutex
		shown := map[int]string{} // by generation
		var readers sync.WaitGroup
		proved, refused := 0, 0
		read := func(root *os.Root, n int) {
			for range 40 {
				data, err := fs.ReadFile(root.FS(), "index.json")
				after, _ := fs.ReadFile(root.FS(), generation.IdentityName)
				mu.Lock()
				switch want, known := shown[n]; {
				case string(after) != fmt.Sprintln(n):
					refused++
				case err != nil:
					t.Errorf("generation %d: %v", n, err)
				case known && string(data) != want:
					t.Errorf("generation %d shows %s, not %s", n, data, want)
				default:
					proved++
				}
				mu.Unlock()
			}
		}
		var held []*os.Root
		numbers := map[*os.Root]int{}
		w.rounds(30, func(int) {
			n, err := generation.Identity(w.production())
			must(t, err)
			data, err := os.ReadFile(filepath.Join(w.production(), "index.json"))
			must(t, err)
			root, err := os.OpenRoot(w.production())
			must(t, err)
			mu.Lock()
			shown[n] = string(data)
			mu.Unlock()
			numbers[root] = n
			held = append(held, root)
			for _, root := range held[max(0, len(held)-4):] {
				readers.Go(func() { read(root, numbers[root]) })
			}
			readers.Wait()
			old := held[max(0, len(held)-3)]
			readers.Go(func() { read(old, numbers[old]) }) // beside the next promote
		})
		readers.Wait()
		for _, root := range held {
			must(t, root.Close())
		}
		if proved == 0 || refused == 0 {
			t.Errorf("%d reads were proved, %d were not", proved, refused)
		}
	})
}
