package mirror

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A run that goes on for months removes what is old while it runs, not only at its end.
func TestRunTidies(t *testing.T) {
	p := newPlace(t, "")
	w := &world{t, p.Queue, p.clock}
	old := w.add("old").ID
	must(t, w.claim().Finish(Published, nil))
	p.clock.move(KeptDone + time.Hour)
	d := digestOf("left")
	left := filepath.Join(p.Repo.Dir, ".publish/mirror/content/sha256", d.Hex)
	must(t, os.MkdirAll(filepath.Dir(left), 0o755))
	must(t, os.WriteFile(left, []byte("left"), 0o644))

	inner, stop := context.WithTimeout(ctx, time.Minute)
	defer stop()
	done := make(chan error)
	go func() {
		_, err := p.Run(inner, RunOptions{})
		done <- err
	}()
	gone := func() bool {
		_, job := p.Queue.Get(old)
		_, content := os.Lstat(left)
		return job != nil && errors.Is(content, os.ErrNotExist)
	}
	for !gone() && inner.Err() == nil {
		time.Sleep(10 * time.Millisecond)
	}
	if !gone() {
		t.Error("what is old is still there")
	}
	stop()
	must(t, <-done)
}
