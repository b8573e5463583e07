package publish

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// One `sudo publish promote` among a user's must leave nothing in the
// repository that the user cannot delete, or write to again.
func TestRootGivesToOwner(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can give")
	}
	const owner = 12345
	both(t, func(t *testing.T, mode string) {
		w := newWorld(t, mode)
		own := func() {
			t.Helper()
			must(t, filepath.WalkDir(w.dir, func(p string, _ fs.DirEntry, err error) error {
				if err != nil {
					return err
				}
				return os.Lchown(p, owner, owner)
			}))
		}
		looked := func(what string) {
			t.Helper()
			must(t, filepath.WalkDir(w.dir, func(p string, d fs.DirEntry, err error) error {
				if err != nil {
					return err
				}
				fi, err := d.Info()
				if err != nil {
					return err
				}
				if st := fi.Sys().(*syscall.Stat_t); st.Uid != owner || st.Gid != owner {
					t.Errorf("after %s: %s belongs to %d:%d", what, strings.TrimPrefix(p, w.dir), st.Uid, st.Gid)
				}
				return nil
			}))
		}
		put := func(items map[string]string) {
			t.Helper()
			w.put(items)
			own()
		}
		put(map[string]string{"a/1": "one"})
		w.promote()
		looked("promote")
		put(map[string]string{"a/2": "two", "b/1": "bad"})
		w.promote()
		w.revert(0)
		looked("revert")
		_, _, err := w.repo().Reset(ctx)
		must(t, err)
		looked("stage reset")
		must(t, w.repo().Pin(ctx, 1, "kept"))
		put(map[string]string{"a/1": "one", "b/1": "bad", "c/1": "third"})
		_, err = w.repo().Promote(ctx, PromoteOptions{Force: true})
		must(t, err)
		_, err = w.repo().Revoke(ctx, RevokeOptions{What: []string{"b"}, Why: "leaked"})
		must(t, err)
		looked("revoke")
		must(t, os.Remove(filepath.Join(w.dir, ".publish", "history")))
		_, err = w.repo().Recover(ctx)
		must(t, err)
		looked("recover")
		w.now = w.now.Add(24 * time.Hour)
		w.gc()
		_, err = w.repo().Prune(ctx, PruneOptions{})
		must(t, err)
		looked("gc and prune")
	})
}
