package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"example.com/publish/scripts/interop/oracle"
)

// world is one repository with what writes and reads it.
type world struct {
	options
	t          *tally
	server     oracle.Server
	writer     *writer
	production string
	caches     string // of Incus clients
	transport  *http.Transport
}

// newWorld makes a repository with a first generation, and serves it.
func newWorld(o options, mode, dir string) (*world, error) {
	w := &world{options: o, t: newTally(), caches: filepath.Join(dir, "caches"),
		transport: &http.Transport{MaxIdleConnsPerHost: o.readers}}
	repo, conf := filepath.Join(dir, "repo"), filepath.Join(dir, "nginx")
	w.production = filepath.Join(repo, "production")
	w.writer = &writer{program: o.publish, repo: repo, t: w.t}
	// nginx's workers are another user.
	if err := errors.Join(os.Chmod(dir, 0o755), os.Mkdir(conf, 0o755), os.Mkdir(w.caches, 0o755)); err != nil {
		return nil, err
	}
	var err error
	if w.writer.images, err = makeImages(filepath.Join(dir, "images"), 6, 8); err != nil {
		return nil, err
	}
	if _, _, err := w.writer.publish("init", "--switch", mode); err != nil {
		return nil, err
	}
	config := fmt.Sprintf("switch: %s\ngrace: %v\norphan_grace: 1s\nretention: [{match: '*', keep_last: 3}]\n", mode,
		o.grace)
	if err := os.WriteFile(filepath.Join(repo, "publish.yaml"), []byte(config), 0o644); err != nil {
		return nil, err
	}
	for i := 0; i < len(w.writer.images); i += 4 {
		if _, _, err := w.writer.publish("stage", "add", w.writer.images[i]); err != nil {
			return nil, err
		}
	}
	if _, _, err := w.writer.publish("promote"); err != nil {
		return nil, err
	}
	if w.options.server == "publish" {
		w.server, err = oracle.StartPublish(o.publish, repo, conf)
		w.writer.switched = w.noOlder
		return w, err
	}
	w.server, err = oracle.StartNginx(conf, w.production)
	return w, err
}

// run lets two writers and all readers work for the duration, and until the
// tally shows something. Readers give up what they then hold.
func (w *world) run(ctx context.Context) error {
	start := time.Now()
	work, stop := context.WithCancelCause(ctx)
	var group sync.WaitGroup
	launch := func(do func(context.Context) error) {
		group.Go(func() {
			if err := do(work); err != nil {
				stop(err)
			}
		})
	}
	for range 2 {
		launch(w.writer.write)
	}
	for i := range w.readers {
		launch(w.reader(i))
	}
	for (time.Since(start) < w.duration || !w.t.shows(w.believe > w.grace)) && sleep(work, 50*time.Millisecond) {
	}
	stop(errEnded)
	group.Wait()
	w.t.took = time.Since(start)
	if err := context.Cause(work); err != errEnded {
		return err
	}
	return nil
}

var errEnded = errors.New("the run has ended")

// noOlder asks for the index when a switch has ended: it is of that generation, or of a
// later one. Only a server that looks before it answers promises that.
func (w *world) noOlder(generation int) error {
	shown, err := identity(w.client(w.transport, &w.t.http), w.server.Address())
	if err != nil {
		return err
	}
	if n, err := strconv.Atoi(shown); err != nil || n < generation {
		w.t.torn(held{reader: "after a switch"}, fmt.Errorf("generation %d is production, %s is served", generation, shown))
	}
	return nil
}

// end stops the server and looks at what is left.
func (w *world) end() error {
	w.transport.CloseIdleConnections()
	err := w.server.Stop()
	total, bad, logErr := w.server.Answers()
	w.t.incus = int64(total) - w.t.http.Load()
	if w.t.failures == 0 && len(bad) != w.t.absent {
		logErr = errors.Join(logErr, fmt.Errorf("the server logged %d answers that are errors, readers saw %d: %q", len(bad),
			w.t.absent, bad))
	}
	_, _, verifyErr := w.writer.publish("verify")
	var freedErr error
	w.t.freed, freedErr = w.writer.freed()
	return errors.Join(err, logErr, verifyErr, freedErr)
}

// sleep reports whether it was not cut short.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
