package publish

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// A bind mount of a repository's folder does not look like a part of the repository,
// but files in it still belong to the repository.
func TestPlacesBehindBindMounts(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root mounts")
	}
	both(t, func(t *testing.T, mode string) {
		w := newWorld(t, mode)
		w.put(map[string]string{"a/1": "one"})
		w.promote()
		bind := func(of string) string {
			at := t.TempDir()
			if err := syscall.Mount(filepath.Join(w.dir, of), at, "", syscall.MS_BIND, ""); err != nil {
				t.Skipf("bind mount: %v", err)
			}
			t.Cleanup(func() { _ = syscall.Unmount(at, syscall.MNT_DETACH) })
			return at
		}
		images, staging, top := bind("production/images"), bind("staging/images"), bind(".")
		for _, path := range []string{images + "/x", staging + "/x", top + "/staging/x", top + "/production/images/x",
			top + "/x"} {
			if e := new(Error); !errors.As(w.repo().checkMove([]string{path}), &e) || e.Kind != Usage {
				t.Errorf("%s may be moved: %v", path, e)
			}
		}
		for _, dir := range []string{images, staging + "/new", top + "/.publish/new"} {
			if e := new(Error); !errors.As(Init(dir, choices, InitOptions{}), &e) || e.Kind != Usage {
				t.Errorf("a repository in %s: %v", dir, e)
			}
		}
		// The repository itself may be used under its second name.
		if err := w.repo().Config.checkProduction(top); err != nil {
			t.Error(err)
		}
		if err := w.repo().checkMove([]string{filepath.Join(t.TempDir(), "x")}); err != nil {
			t.Error(err)
		}
	})
}
