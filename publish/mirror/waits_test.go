package mirror

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"example.com/publish/publish/mirror/pins"
	"example.com/publish/stage/catalog"
)

// A run that goes on waits for a lock file that is damaged, such as half merged: no restart
// would mend it.
func TestRunWaitsForLockFile(t *testing.T) {
	p := newPlace(t, "")
	want := p.hub.image(app, "layer")
	id := p.ask(app)[0]
	inner, stop := context.WithCancel(ctx)
	defer stop()
	warned := make(chan string, 10)
	p.Warn = func(text string) { warned <- text }
	// It is damaged while the job runs.
	p.hub.before = func(context.Context, catalog.Digest) error {
		p.hub.before = nil
		return os.WriteFile(p.Pins.Path(), []byte("<<<<<<< HEAD\n"), 0o644)
	}
	done := make(chan error)
	go func() {
		_, err := p.Run(inner, RunOptions{})
		done <- err
	}()
	select {
	case text := <-warned:
		if !strings.Contains(text, pins.Name+":1: ") {
			t.Errorf("warning: %s", text)
		}
	case err := <-done:
		t.Fatalf("it ended: %v", err)
	}
	must(t, os.Remove(p.Pins.Path()))
	for p.job(id).State != Staged {
		time.Sleep(10 * time.Millisecond)
	}
	stop()
	must(t, <-done)
	close(warned)
	for text := range warned {
		if strings.Contains(text, pins.Name) {
			t.Errorf("warning: %s", text)
		}
	}
	if p.staged(app) != want.String() {
		t.Errorf("%+v", p.job(id))
	}
}
