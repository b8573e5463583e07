package publish

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/publish/stage/durable"
)

// stuckFiles deletes like durable.RemoveAll, except for files whose bytes are in
// stuck, and their directories.
func stuckFiles(stuck map[string]bool) func(string) error {
	return func(path string) error {
		if len(stuck) == 0 {
			return durable.RemoveAll(path)
		}
		var first error
		var stays []string
		_ = filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return nil
			}
			if data, err := os.ReadFile(p); err == nil && stuck[string(data)] {
				stays = append(stays, p)
				if first == nil {
					first = &fs.PathError{Op: "remove", Path: p, Err: syscall.EPERM}
				}
			}
			return nil
		})
		if first == nil {
			return durable.RemoveAll(path)
		}
		_ = filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && !slices.Contains(stays, p) {
				return os.Remove(p)
			}
			return nil
		})
		return first
	}
}

// A file that cannot be deleted is reported and stops no command. It is deleted as
// soon as that is possible.
func TestLeftovers(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := newWorld(t, mode)
		w.stuck = map[string]bool{"one": true}
		w.put(map[string]string{"a/1": "one"})
		w.promote()
		w.put(map[string]string{"a/2": "two"})
		w.promote()
		w.now = w.now.Add(3 * time.Hour)
		res, err := w.repo().GC(ctx, false)
		must(t, err)
		if len(res.Generations) != 0 || len(res.Leftovers) != 2 {
			t.Errorf("gc: %+v", res)
		}
		want := func(paths ...string) {
			t.Helper()
			st, err := w.repo().Status(ctx)
			must(t, err)
			if len(st.Leftovers) != len(paths) || st.RecoveryPending {
				t.Fatalf("status: %+v, pending: %v, want %v", st.Leftovers, st.RecoveryPending, paths)
			}
			for i, l := range st.Leftovers {
				if !strings.HasPrefix(l.Path, paths[i]) || l.Owner == "" || l.Reason == "" || l.Remedy == "" {
					t.Errorf("%+v, want %s", l, paths[i])
				}
			}
			m, err := w.repo().Measure(ctx)
			must(t, err)
			for _, c := range m.Check(Thresholds{}) {
				if c.Name == "leftovers" && (c.OK != (len(paths) == 0) || int(*c.Value) != len(paths)) {
					t.Errorf("check: %+v, want %d", c, len(paths))
				}
			}
		}
		carried := map[string]string{"symlink": "generations/000002/images", "rename": "production/images"}[mode]
		want("generations/.trash-000001/images", carried)
		history := filepath.Join(w.dir, ".publish", "history")
		before, err := os.ReadFile(history)
		must(t, err)
		w.gc()
		if after, err := os.ReadFile(history); err != nil || string(after) != string(before) {
			t.Errorf("gc says again what it deletes: %s", after)
		}

		// Every verb still works.
		must(t, w.repo().Hold(ctx, "why"))
		must(t, w.repo().Unhold(ctx))
		w.put(map[string]string{"a/3": "three"})
		w.promote()
		must(t, w.repo().Pin(ctx, 2, "why"))
		must(t, w.repo().Unpin(ctx, 2))
		if res := w.revert(0); res.Generation != 4 {
			t.Errorf("%+v", res)
		}
		_, _, err = w.repo().Reset(ctx)
		must(t, err)
		_, err = w.repo().Prune(ctx, PruneOptions{})
		must(t, err)
		_, err = w.repo().Revoke(ctx, RevokeOptions{What: []string{"a/3"}, Why: "leaked"})
		must(t, err)
		_, err = w.repo().Recover(ctx)
		must(t, err)
		w.now = w.now.Add(3 * time.Hour)
		w.gc()
		if kept, err := w.repo().Generations(); err != nil || len(kept) != 1 {
			t.Errorf("kept: %v, %v", kept, err)
		}

		clear(w.stuck)
		w.gc()
		want()
		if list, err := os.ReadDir(filepath.Join(w.dir, "generations")); err != nil || len(list) > 1 {
			t.Errorf("%v, %v", list, err)
		}
		if !gone(filepath.Join(w.dir, ".publish", "leftovers")) {
			t.Error("leftovers are noted, and there are none")
		}
	})
}

// If a leftover has a name that is needed again, another name is used. The number of a
// tree that could not be deleted is not used again.
func TestLeftoverNames(t *testing.T) {
	w := newWorld(t, "symlink")
	w.stuck = map[string]bool{"junk": true}
	store := filepath.Join(w.dir, "generations")
	for _, name := range []string{".trash-000001", ".next-000002", ".revert-1", ".snapshot-1", ".trash-000007"} {
		must(t, os.MkdirAll(filepath.Join(store, name), 0o755))
		must(t, os.WriteFile(filepath.Join(store, name, "x"), []byte("junk"), 0o644))
	}
	w.put(map[string]string{"a/1": "one"})
	if res := w.promote(); res.Generation != 8 {
		t.Errorf("%+v", res)
	}
	must(t, os.Rename(filepath.Join(store, ".trash-000007"), filepath.Join(store, ".trash-000008")))
	w.put(map[string]string{"a/2": "two"})
	w.promote()
	w.now = w.now.Add(3 * time.Hour)
	if res := w.gc(); !slices.Equal(res.Generations, []int{8}) || len(res.Leftovers) != 5 {
		t.Errorf("%+v", res)
	}
	clear(w.stuck)
	w.gc()
	if list, err := os.ReadDir(store); err != nil || len(list) != 1 {
		t.Errorf("%v, %v", list, err)
	}
}

// While some revoked content cannot be deleted, revoke and recover say so.
func TestLeftoverRevoked(t *testing.T) {
	for _, place := range []string{"kept", "trash"} {
		t.Run(place, func(t *testing.T) {
			w := newWorld(t, "symlink")
			w.put(map[string]string{"a/1": "secret"})
			w.promote()
			w.put(map[string]string{"a/2": "two"})
			w.promote()
			w.stuck = map[string]bool{"secret": true}
			if place == "trash" {
				w.now = w.now.Add(3 * time.Hour)
				w.gc()
			}
			revoke := func() error {
				_, err := w.repo().Revoke(ctx, RevokeOptions{What: []string{sumOf("secret")}, Why: "leaked"})
				return err
			}
			left := func(err error) {
				t.Helper()
				if e := new(Error); !errors.As(err, &e) || e.Kind != Switched {
					t.Errorf("%v, want that something is left", err)
				}
			}
			left(revoke())
			left(revoke())
			_, err := w.repo().Recover(ctx)
			left(err)
			st, err := w.repo().Status(ctx)
			if err != nil || len(st.Leftovers) == 0 || !st.RecoveryPending {
				t.Errorf("%+v, %v", st, err)
			}
			w.put(map[string]string{"a/3": "three"})
			w.promote()
			w.revert(0)
			clear(w.stuck)
			must(t, revoke())
			nowhere(t, w, "secret")
			_, err = w.repo().Recover(ctx)
			must(t, err)
			if st, err := w.repo().Status(ctx); err != nil || len(st.Leftovers) != 0 || st.RecoveryPending {
				t.Errorf("%+v, %v", st, err)
			}
		})
	}
}
