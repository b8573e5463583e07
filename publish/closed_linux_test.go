package publish

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A disk that is full when the history is to be closed is a warning. The change
// is made, no line is lost, and the file is closed when there is room again.
func TestDiskIsFullWhileHistoryCloses(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root mounts")
	}
	both(t, func(t *testing.T, mode string) {
		disk := t.TempDir()
		if err := syscall.Mount("none", disk, "tmpfs", 0, "size=4m"); err != nil {
			t.Skipf("mount: %v", err)
		}
		t.Cleanup(func() { _ = syscall.Unmount(disk, syscall.MNT_DETACH) })
		w := newWorldIn(t, disk, mode)
		w.put(map[string]string{"a/1": "one"})
		w.promote()
		w.closeBytes = 1
		filler := filepath.Join(disk, "filler")
		w.step = func(step string) error {
			if step == "after-segment" {
				fill(t, filler)
			}
			return nil
		}
		w.put(map[string]string{"a/2": "two"})
		var warnings []string
		r := w.repo()
		r.opt.Warn = func(s string) { warnings = append(warnings, s) }
		if res, err := r.Promote(ctx, PromoteOptions{}); err != nil || res.Generation != 2 {
			t.Fatalf("%+v, %v", res, err)
		}
		if len(warnings) != 1 || !strings.Contains(warnings[0], "was not closed") ||
			!strings.Contains(warnings[0], syscall.ENOSPC.Error()) {
			t.Errorf("warnings: %q", warnings)
		}
		if got := w.chain(); got != "1<0 2<1" {
			t.Errorf("the switches are %s", got)
		}
		if done, err := w.repo().Recover(ctx); err != nil || len(done) > 0 {
			t.Errorf("recovery, while the disk is full: %v %v", done, err)
		}
		checkRecovered(t, w)

		must(t, os.Remove(filler))
		w.step = nil
		// What a command leaves that is killed while it writes the checkpoint.
		must(t, os.WriteFile(filepath.Join(w.dir, ".publish", ".history123"), []byte("half"), 0o644))
		must(t, w.repo().Hold(ctx, "weekend"))
		if n := len(w.closedFiles()); n != 1 {
			t.Errorf("%d files are closed", n)
		}
		if data := w.read(w.repo().historyPath()); !strings.Contains(string(data), `{"kind":"checkpoint"`) {
			t.Errorf("the file is %q", data)
		}
		if left, _ := filepath.Glob(filepath.Join(w.dir, ".publish/.history*")); len(left) > 0 {
			t.Errorf("left are %v", left)
		}
		if got := w.chain(); got != "1<0 2<1" {
			t.Errorf("the switches are %s", got)
		}
		if events, err := w.repo().History(HistoryFilter{}); err != nil || len(events) != 3 {
			t.Errorf("%d events: %v", len(events), err)
		}
		checkRecovered(t, w)
	})
}

// fill writes a file until the disk is full.
func fill(t *testing.T, path string) {
	f, err := os.Create(path)
	must(t, err)
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}
