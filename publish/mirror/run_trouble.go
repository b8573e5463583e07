package mirror

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"sync"
	"syscall"
	"time"
)

// What may pass: the disk is full or refuses to be written, or the machine is short of
// something. It is not the job's fault, and a runner waits for it.
var passing = []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EIO, syscall.EROFS, syscall.EMFILE, syscall.ENFILE,
	syscall.ENOMEM}

func passes(err error) bool {
	for _, e := range passing {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// queueError is an error of the queue itself, while a job runs.
type queueError struct{ error }

func (e *queueError) Unwrap() error { return e.error }

// Pauses between two tries to write to the queue.
const (
	firstPause = 100 * time.Millisecond
	mostPause  = 30 * time.Second
)

// keepAt calls write until it goes well, or fails for good: the error is nil, or the last
// one. It ends when ctx ends, and of a run with Once after the patience.
func (r *runner) keepAt(ctx context.Context, what string, write func() error) error {
	waited := time.Duration(0)
	for pause := firstPause; ; pause = min(2*pause, mostPause) {
		err := write()
		if r.told.warn(r.Mirror, what, unlessEnded(ctx, err)); err == nil || !passes(err) {
			return err
		}
		if ctx.Err() != nil || r.opt.Once && waited >= r.opt.Patience {
			return err
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-timer.C:
			waited += pause
		}
		timer.Stop()
	}
}

// told are the warnings of a run. Each is given once, until it is over.
type told struct {
	mu   sync.Mutex
	last map[string]string // by what it is about
	bad  map[string]bool   // files of the queue that are damaged
}

// warn gives a warning about an error, unless it gave the same before; nil ends it.
func (t *told) warn(m *Mirror, what string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err == nil {
		delete(t.last, what)
		return
	}
	text := err.Error()
	for _, e := range append(slices.Clone(passing), fs.ErrPermission) { // the path may be that of a temporary file
		if errors.Is(err, e) {
			text = e.Error()
		}
	}
	if t.last == nil {
		t.last = map[string]string{}
	}
	if t.last[what] != text {
		t.last[what] = text
		m.warn("%s: %s", what, err)
	}
}

// problems warns of files of the queue, of each once.
func (t *told) problems(m *Mirror, list []Problem) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.bad == nil {
		t.bad = map[string]bool{}
	}
	for _, p := range list {
		if !t.bad[p.Path] {
			t.bad[p.Path] = true
			m.warn("%s", p)
		}
	}
}

// lookEvery is how often a runner looks at all files of the queue.
const lookEvery = time.Minute

// inspect warns of damaged files of the queue.
func (r *runner) inspect() error {
	if !r.inspected.IsZero() && time.Since(r.inspected) < lookEvery {
		return nil
	}
	_, bad, err := r.Queue.List()
	if err != nil {
		return err
	}
	r.told.problems(r.Mirror, bad)
	r.inspected = time.Now()
	return nil
}

// tally counts jobs, and not how often something happened to them.
type tally struct {
	Summary       // but for the counts
	staged, other int
	failed        map[string]bool // they may be retried
	postponed     map[string]bool // they may end later
}

func (t *tally) count(j Job) (ended bool) {
	if t.failed == nil {
		t.failed, t.postponed = map[string]bool{}, map[string]bool{}
	}
	delete(t.failed, j.ID)
	delete(t.postponed, j.ID)
	switch j.State {
	case Staged, Published:
		t.staged++
	case Failed:
		t.failed[j.ID] = true
	case Pending, Waiting:
		t.postponed[j.ID] = true
		return false
	default:
		t.other++
	}
	return true
}

func (t *tally) summary() Summary {
	out := t.Summary
	out.Staged, out.Failed, out.Other, out.Postponed = t.staged, len(t.failed), t.other, len(t.postponed)
	return out
}
