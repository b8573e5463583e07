package publish

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"example.com/publish/publish/generation"
	"example.com/publish/stage/catalog"
)

// wantHeld checks what production's index holds, by content.
func wantHeld(t *testing.T, w *world, contents ...string) {
	t.Helper()
	_, held := w.named()
	for _, data := range contents {
		if !held[sumOf(data)] {
			t.Errorf("the index does not hold %q", data)
		}
		delete(held, sumOf(data))
	}
	if len(held) > 0 {
		t.Errorf("the index holds %v as well", held)
	}
}

// heldWorld has a generation whose index holds one content.
func heldWorld(t *testing.T, mode string) *world {
	w := newWorld(t, mode)
	w.format = naming{}
	w.put(map[string]string{"a/1": "one", "b/1": "b"})
	w.promote()
	w.now = w.now.Add(time.Minute)
	w.put(map[string]string{"a/2": "two", "b/1": "b"})
	w.promote()
	wantHeld(t, w, "one")
	return w
}

// A manifest that is made anew has what the index holds, and it goes with its window.
func TestHeldAfterLostManifest(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := heldWorld(t, mode)
		must(t, os.Remove(filepath.Join(w.dir, ".publish", "manifests", "000002")))
		if _, err := w.repo().Recover(ctx); err != nil {
			t.Fatal(err)
		}
		wantVerified(t, w)
		wantHeld(t, w, "one")
		w.put(map[string]string{"a/3": "three", "b/1": "b"})
		w.promote()
		wantHeld(t, w, "one", "two")
		w.now = w.now.Add(2 * time.Hour)
		w.gc()
		wantHeld(t, w)
		wantVerified(t, w)
	})
}

func wantVerified(t *testing.T, w *world) {
	t.Helper()
	report, _, err := w.repo().Verify(ctx, "", false)
	if err != nil || len(report.Findings) > 0 {
		t.Errorf("verify: %+v, %v", report, err)
	}
}

// A kept tree that another program makes production has an index that names the same of
// its own, and holds something else: it is newer.
func TestHeldInAnotherTree(t *testing.T) {
	w := newWorld(t, "symlink")
	w.format = naming{}
	for _, items := range []map[string]string{{"a/2": "two"}, {"a/1": "one"}, {"a/2": "two"}} {
		w.put(items)
		w.promote()
		w.now = w.now.Add(time.Minute)
	}
	wantHeld(t, w, "one")
	was, err := os.Stat(filepath.Join(w.production(), "index.json"))
	must(t, err)
	must(t, os.Remove(w.production()))
	must(t, os.Symlink(filepath.Join("generations", generation.Number(1)), w.production()))
	if _, err := w.repo().Recover(ctx); err != nil {
		t.Fatal(err)
	}
	is, err := os.Stat(filepath.Join(w.production(), "index.json"))
	must(t, err)
	if wantHeld(t, w); is.ModTime().Unix() <= was.ModTime().Unix() {
		t.Errorf("its time is %s, after %s", is.ModTime(), was.ModTime())
	}
}

// A gc makes the index shorter before it deletes what the index held. Stopped at any
// step of that, the next one does the rest.
func TestHeldUntilDeleted(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		for _, at := range []string{"after-gc-history", "after-rewrite", "after-uncarry"} {
			w := heldWorld(t, mode)
			w.now = w.now.Add(3 * time.Hour)
			path := filepath.Join(w.production(), "images", sumOf("one")[:16]+".bin")
			w.step = func(name string) error {
				if name != at {
					return nil
				}
				if _, held := w.named(); len(held) > 0 != (at == "after-gc-history") {
					t.Errorf("%s: the index holds %v", at, held)
				}
				if gone(path) != (at == "after-uncarry") {
					t.Errorf("%s: the file is gone: %v", at, gone(path))
				}
				return errInjected
			}
			if _, err := w.repo().GC(ctx, false); err == nil {
				t.Errorf("%s: the gc was not stopped", at)
			}
			w.step = nil
			wantVerified(t, w)
			w.gc()
			wantHeld(t, w)
			wantVerified(t, w)
			if !gone(path) {
				t.Errorf("%s: %s is still there", at, path)
			}
		}
	})
}

// What somebody adds to a document for clients, or takes away, is found.
func TestVerifyServed(t *testing.T) {
	for what, change := range map[string]func(w *world, f naming, data []byte) []byte{
		"takes away": func(w *world, f naming, data []byte) []byte { return f.Own(data) },
		"adds": func(w *world, f naming, data []byte) []byte {
			n := f.Names("index.json", data)
			n[0].Digest.Hex, n[0].Kind = sumOf("another"), catalog.NamedHeld
			return f.Hold(data, n)
		},
		"delays": func(w *world, f naming, data []byte) []byte {
			n := f.Names("index.json", data)
			for i := range n {
				n[i].Until = n[i].Until.Add(time.Second)
			}
			return f.Hold(data, n)
		},
	} {
		t.Run(what, func(t *testing.T) {
			w := heldWorld(t, "symlink")
			wantVerified(t, w)
			path := filepath.Join(w.production(), "index.json")
			data, err := os.ReadFile(path)
			must(t, err)
			must(t, os.Chmod(path, 0o644))
			must(t, os.WriteFile(path, change(w, naming{}, data), 0o644))
			report, _, err := w.repo().Verify(ctx, "", false)
			if err != nil || len(report.Findings) == 0 || report.Findings[0].Code != "served" {
				t.Errorf("%+v, %v", report, err)
			}
			wantItems(t, w, map[string]string{"a/2": "two", "b/1": "b"}) // its own is right
		})
	}
}
