package publish

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"example.com/publish/publish/generation"
)

// On an overlay the inode numbers that a directory lists cannot be used, but trees are
// still reused.
func TestSpareOnAnOverlay(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root mounts")
	}
	both(t, func(t *testing.T, mode string) {
		base := t.TempDir()
		for _, d := range []string{"lower", "upper", "work", "at"} {
			must(t, os.Mkdir(filepath.Join(base, d), 0o755))
		}
		at := filepath.Join(base, "at")
		opts := fmt.Sprintf("lowerdir=%s/lower,upperdir=%[1]s/upper,workdir=%[1]s/work", base)
		if err := syscall.Mount("overlay", at, "overlay", 0, opts); err != nil {
			t.Skipf("mount: %v", err)
		}
		t.Cleanup(func() { _ = syscall.Unmount(at, syscall.MNT_DETACH) })
		w := newWorldIn(t, at, mode)
		seen := map[uint64]bool{}
		again := 0
		w.rounds(10, func(int) {
			checkSpare(t, w)
			dir := ino(t, w.production()+"/images")
			if seen[dir] {
				again++
			}
			seen[dir] = true
		})
		if again < 4 {
			t.Errorf("only %d trees came back", again)
		}
		checkRecovered(t, w)
	})
}

// A file that cannot be removed from the spare, or from the tree that is to become it,
// stops no command.
func TestSpareThatStays(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root makes files that nobody can remove")
	}
	both(t, func(t *testing.T, mode string) {
		w := newWorld(t, mode)
		w.rounds(4, nil)
		stuck := w.spare("images", "stuck.bin")
		must(t, os.WriteFile(stuck, []byte("common, too"), 0o444))
		if out, err := exec.Command("chattr", "+i", stuck).CombinedOutput(); err != nil {
			t.Skipf("chattr: %v %s", err, out)
		}
		store := filepath.Join(w.dir, "generations")
		t.Cleanup(func() { _ = exec.Command("chattr", "-R", "-i", store).Run() })
		w.rounds(3, nil)
		w.revert(0)
		st, err := w.repo().Status(ctx)
		must(t, err)
		if len(st.Leftovers) == 0 || st.RecoveryPending {
			t.Errorf("%+v", st.Leftovers)
		}
		// Its content is revoked: it is found, wherever it is now.
		if _, err := w.repo().Revoke(ctx, RevokeOptions{What: []string{"c/2"},
			Why: "leaked"}); kindOf(err) != Switched {
			t.Errorf("revoked, and it is there still: %v", err)
		}
		must(t, exec.Command("chattr", "-R", "-i", store).Run())
		if _, err := w.repo().Recover(ctx); err != nil {
			t.Error(err)
		}
		nowhere(t, w, "common, too")
		checkRecovered(t, w)
		if left, err := filepath.Glob(filepath.Join(store, ".*")); err != nil || len(left) > 1 || len(left) == 1 &&
			filepath.Base(left[0]) != generation.SpareName {
			t.Errorf("left: %v, %v", left, err)
		}
	})
}
