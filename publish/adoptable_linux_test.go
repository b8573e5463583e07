package publish

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A mount point cannot be replaced, and the error comes before anything is copied. If
// the tree stays where it is, it may be a mount point.
func TestAdoptMountPoint(t *testing.T) {
	needRoot(t)
	both(t, func(t *testing.T, mode string) {
		w := newWorld(t, mode)
		live := filepath.Join(filepath.Dir(w.dir), "live")
		must(t, os.Mkdir(live, 0o755))
		if err := syscall.Mount("none", live, "tmpfs", 0, ""); err != nil {
			t.Skipf("mount: %v", err)
		}
		t.Cleanup(func() { _ = syscall.Unmount(live, syscall.MNT_DETACH) })
		must(t, stageItems(live, map[string]string{"a/1": "one"}))
		w.cfg = func(c *Config) { c.Production = live }
		_, _, err := w.repo().Adopt(ctx, live, "")
		if kindOf(err) != Usage || !strings.Contains(err.Error(), "is a mount point") {
			t.Errorf("%v", err)
		}
		if list, err := os.ReadDir(filepath.Join(w.dir, "generations")); err != nil || len(list) != 0 {
			t.Errorf("%v, %v", list, err)
		}
		w.cfg = nil
		if _, _, err := w.repo().Adopt(ctx, live, ""); err != nil {
			t.Fatal(err)
		}
		if got := w.items(); got["a/1"] != "one" {
			t.Errorf("%v", got)
		}
	})
}
