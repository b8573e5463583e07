package publish

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// After a repair the builders can again write to exactly the same folders. Their group
// is taken from what is left.
func TestMissingPartsOfBuilders(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root may give a folder to another group")
	}
	const gid = 54321
	for _, lost := range []string{"staging", ".publish/trash", ".publish/staging.lock", "staging .publish/trash",
		"staging .publish/staging.lock .publish/lock",
		".publish/trash .publish/prepare.lock generations"} {
		w := newWorld(t, "symlink")
		for _, dir := range []string{"staging", ".publish/trash"} {
			path := filepath.Join(w.dir, dir)
			if err := errors.Join(os.Chown(path, -1, gid), os.Chmod(path, 0o775|fs.ModeSetgid)); err != nil {
				t.Fatal(err)
			}
		}
		w.repo().mendLocks()
		for part := range strings.FieldsSeq(lost) {
			if err := os.RemoveAll(filepath.Join(w.dir, part)); err != nil {
				t.Fatal(err)
			}
		}
		if done, err := w.repo().Recover(ctx); err != nil || len(done) == 0 {
			t.Fatalf("%s: %v %v", lost, done, err)
		}
		for part, want := range map[string]fs.FileMode{"staging": 0o775 | fs.ModeSetgid,
			".publish/trash": 0o775 | fs.ModeSetgid, ".publish/staging.lock": 0o660,
			".publish/lock": 0o600, ".publish/prepare.lock": 0o600, ".publish/manifests": 0o755, "generations": 0o755} {
			fi, err := os.Stat(filepath.Join(w.dir, part))
			if err != nil {
				t.Fatal(err)
			}
			builders := want.Perm()&0o020 != 0
			if got := fi.Mode() &^ fs.ModeDir; got != want || (fi.Sys().(*syscall.Stat_t).Gid == gid) != builders {
				t.Errorf("%s lost: %s has %s and group %d", lost, part, got, fi.Sys().(*syscall.Stat_t).Gid)
			}
		}
	}
}

// If a folder is a link to a volume that is not mounted, it is not made again. The
// hint says what is wrong.
func TestPartThatLeadsNowhere(t *testing.T) {
	w := newWorld(t, "symlink")
	staging := filepath.Join(w.dir, "staging")
	if err := errors.Join(os.RemoveAll(staging), os.Symlink("/nowhere/at/all", staging)); err != nil {
		t.Fatal(err)
	}
	r := w.repo()
	_, err := r.Promote(ctx, PromoteOptions{})
	var e *Error
	if err = r.Explain(err); !errors.As(err, &e) || !strings.Contains(e.Hint, "is a dangling link") {
		t.Errorf("%v", err)
	}
	if _, err := r.Recover(ctx); err != nil {
		t.Errorf("recover: %v", err)
	}
	if text, err := os.Readlink(staging); err != nil || text != "/nowhere/at/all" {
		t.Errorf("staging is %s, %v", text, err)
	}
}
