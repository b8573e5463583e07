package publish

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/publish/publish/generation"
)

func needRoot(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root mounts, and makes files immutable")
	}
}

// Part of a retired generation really cannot be deleted: all of it, a file, a
// directory, or a mount point.
func TestLeftoversOfSystem(t *testing.T) {
	needRoot(t)
	immutable := func(t *testing.T, path string) (undo func()) {
		if out, err := exec.Command("chattr", "+i", path).CombinedOutput(); err != nil {
			t.Skipf("chattr: %v: %s", err, out)
		}
		return func() { _ = exec.Command("chattr", "-R", "-i", path).Run() }
	}
	file := func(dir string) string {
		list, err := filepath.Glob(filepath.Join(dir, "images/*.bin"))
		must(t, err)
		return list[0]
	}
	for name, f := range map[string]func(t *testing.T, dir string) (undo func()){
		"tree":      func(t *testing.T, dir string) func() { return immutable(t, dir) },
		"directory": func(t *testing.T, dir string) func() { return immutable(t, filepath.Join(dir, "images")) },
		"file": func(t *testing.T, dir string) func() {
			must(t, os.WriteFile(filepath.Join(dir, "images/strange"), nil, 0o644))
			return immutable(t, filepath.Join(dir, "images/strange"))
		},
		"file that is shared": func(t *testing.T, dir string) func() { return immutable(t, file(dir)) },
		"mount": func(t *testing.T, dir string) func() {
			mnt, other := filepath.Join(dir, "images/mnt"), t.TempDir()
			must(t, os.Mkdir(mnt, 0o755))
			must(t, os.WriteFile(filepath.Join(other, "precious"), nil, 0o644))
			if err := syscall.Mount(other, mnt, "", syscall.MS_BIND, ""); err != nil {
				t.Skipf("mount: %v", err)
			}
			return func() {
				if gone(filepath.Join(other, "precious")) {
					t.Error("what was mounted was deleted")
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "symlink")
			store := filepath.Join(w.dir, "generations")
			w.put(map[string]string{"a/1": "one", "b/1": "both"})
			w.promote()
			w.put(map[string]string{"b/1": "both"})
			w.promote()
			undo := f(t, filepath.Join(store, "000001"))
			defer undo()
			unmount := func() {
				for _, at := range []string{"000001", ".trash-000001"} {
					_ = syscall.Unmount(filepath.Join(store, at, "images/mnt"), syscall.MNT_DETACH)
				}
			}
			defer unmount()
			w.now = w.now.Add(3 * time.Hour)
			if res := w.gc(); len(res.Leftovers) == 0 || len(res.Generations) != 0 {
				t.Errorf("%+v", res)
			}
			w.put(map[string]string{"c/1": "three"})
			w.promote()
			w.revert(0)
			if st, err := w.repo().Status(ctx); err != nil || len(st.Leftovers) == 0 || st.RecoveryPending {
				t.Errorf("%+v, %v", st, err)
			}
			undo()
			_ = exec.Command("chattr", "-R", "-i", store).Run()
			unmount()
			w.now = w.now.Add(3 * time.Hour)
			w.gc()
			if st, err := w.repo().Status(ctx); err != nil || len(st.Leftovers) != 0 {
				t.Errorf("%+v, %v", st, err)
			}
			checkSpare(t, w)
			if list, err := filepath.Glob(filepath.Join(store, "[^.]*")); err != nil || len(list) != 1 {
				t.Errorf("%v, %v", list, err)
			}
			if list, err := filepath.Glob(filepath.Join(store, ".[^s]*")); err != nil || len(list) != 0 {
				t.Errorf("%v, %v", list, err)
			}
		})
	}
}

// lowerLayer mounts an overlay over the world's repository, as in a container whose
// image contains it, and moves the world there.
func lowerLayer(t *testing.T, w *world) {
	top := t.TempDir()
	for _, d := range []string{"upper", "work", "mnt"} {
		must(t, os.Mkdir(filepath.Join(top, d), 0o755))
	}
	mnt := filepath.Join(top, "mnt")
	opt := "lowerdir=" + w.dir + ",upperdir=" + filepath.Join(top, "upper") + ",workdir=" + filepath.Join(top, "work")
	if err := syscall.Mount("overlay", mnt, "overlay", 0, opt); err != nil {
		t.Skipf("overlay: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(mnt, syscall.MNT_DETACH) })
	w.dir = mnt
}

// A directory of an image's layer cannot be renamed, so gc deletes it in place. A
// partly deleted tree is never taken for a generation.
func TestGCInOverlay(t *testing.T) {
	needRoot(t)
	for _, stop := range []string{"", "after-trash"} {
		w := newWorld(t, "symlink")
		w.put(map[string]string{"a/1": "one"})
		w.promote()
		w.put(map[string]string{"a/2": "two"})
		w.promote()
		lowerLayer(t, w)
		w.now = w.now.Add(3 * time.Hour)
		if stop != "" {
			w.step = func(name string) error {
				if name == stop {
					return errInjected
				}
				return nil
			}
			if _, err := w.repo().GC(ctx, false); err == nil {
				t.Error("it was stopped, and said nothing")
			}
			w.step = nil
			if kept, err := w.repo().Generations(); err != nil || !slices.Equal(kept, []int{2}) {
				t.Errorf("half a tree is kept: %v, %v", kept, err)
			}
			if _, err := w.repo().Revert(ctx, RevertOptions{To: 1}); kindOf(err) != NotFound {
				t.Errorf("reverted to half a tree: %v", err)
			}
		}
		w.gc()
		if list, err := os.ReadDir(filepath.Join(w.dir, "generations")); err != nil || len(list) != 1 {
			t.Errorf("%v, %v", list, err)
		}
		w.put(map[string]string{"a/3": "three"})
		if res := w.promote(); res.Generation != 3 {
			t.Errorf("%+v", res)
		}
		w.revert(0)
		w.now = w.now.Add(3 * time.Hour)
		w.gc()
	}
}

// Directories of an image's layer cannot be exchanged, and the error says so.
func TestExchangeInOverlay(t *testing.T) {
	needRoot(t)
	w := newWorld(t, "rename")
	w.put(map[string]string{"a/1": "one"})
	w.promote()
	lowerLayer(t, w)
	w.put(map[string]string{"a/2": "two"})
	_, err := w.repo().Promote(ctx, PromoteOptions{})
	if kindOf(err) != Usage || !strings.Contains(err.Error(), "lower layer") {
		t.Errorf("%v", err)
	}
	if got := w.items(); got["a/1"] != "one" || len(got) != 1 {
		t.Errorf("production: %v", got)
	}
	if list, err := os.ReadDir(filepath.Join(w.dir, "generations")); err != nil || len(list) != 0 {
		t.Errorf("%v, %v", list, err)
	}
}

// A tree that never was production, and that cannot be renamed, is not taken for one
// that was.
func TestAbandonedThatStays(t *testing.T) {
	needRoot(t)
	w := newWorld(t, "symlink")
	next := func(v string) *Result {
		w.put(map[string]string{v: v})
		return w.promote()
	}
	next("a/1")
	stays := filepath.Join(w.dir, "generations", generation.Number(2))
	w.step = func(name string) error {
		if name != "before-swap" {
			return nil
		}
		if out, err := exec.Command("chattr", "+i", stays).CombinedOutput(); err != nil {
			t.Skipf("chattr: %v: %s", err, out)
		}
		return errInjected
	}
	defer func() { _ = exec.Command("chattr", "-i", stays).Run() }()
	w.put(map[string]string{"a/2": "two"})
	if _, err := w.repo().Promote(ctx, PromoteOptions{}); err == nil {
		t.Fatal("nothing stopped it")
	}
	w.step = nil
	for _, v := range []string{"a/3", "a/4"} {
		next(v)
		if done, err := w.repo().Recover(ctx); err != nil {
			t.Fatal(done, err)
		}
	}
	if chain := w.chain(); chain != "1<0 3<1 4<3" {
		t.Error(chain)
	}
	must(t, exec.Command("chattr", "-i", stays).Run())
	if _, err := w.repo().Recover(ctx); err != nil || !gone(stays) {
		t.Errorf("it is still there: %v", err)
	}
}
