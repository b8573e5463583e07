package mirror

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"example.com/publish/stage/durable"
	"example.com/publish/stage/lock"
)

// outbox has what receivers are still to be told: a folder for each of them, and in it a
// file for each notice. It is filled from the history of the queue, which says of each
// change before it is made: so nothing has to be written at the same moment as a change.
//
// The file cursor has the place in the history up to which all notices are files. The
// files are durable before the cursor is. After a kill in between the same lines are read
// again, and have the same names. A notice is sent only after the cursor has passed its
// line, and its file is removed when the receiver has it: so it is told at least once, and
// told again, with the same delivery, if a kill comes between these two.
type outbox struct {
	*Mirror
	dir   string
	step  func(name string) error // tests stop it at a point; nil otherwise
	pause func(tries int) time.Duration

	at      Cursor // what was read
	begun   bool
	sending map[string]*sender
	all     sync.WaitGroup
}

// newOutbox returns the outbox of a mirror.
func (m *Mirror) newOutbox() *outbox {
	o := &outbox{Mirror: m, dir: dir(m.Repo, "outbox"), pause: noticePause, sending: map[string]*sender{}}
	if m.noticePause != nil {
		o.pause = m.noticePause
	}
	for _, r := range m.Receivers {
		s := &sender{Receiver: r, wake: make(chan struct{}, 1), tries: map[string]int{}, after: map[string]time.Time{}}
		s.idle = sync.NewCond(&s.mu)
		o.sending[r.Key()] = s
	}
	return o
}

func (o *outbox) reach(name string) error {
	if o.step == nil {
		return nil
	}
	return o.step(name)
}

func (o *outbox) path(parts ...string) string {
	return filepath.Join(append([]string{o.dir}, parts...)...)
}

// feed makes files of what the history says since the last time.
func (o *outbox) feed(ctx context.Context) error {
	if len(o.sending) == 0 {
		if _, err := os.Lstat(o.dir); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return durable.RemoveAll(o.dir) // who is told later is not told of the past
	}
	if o.begun {
		if end, err := o.Queue.End(); err != nil || end == o.at {
			return err
		}
	}
	unlock, err := o.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	from, err := o.cursor()
	if err != nil {
		return err
	}
	o.at, o.begun = from, true
	for {
		events, next, err := o.Queue.Since(ctx, o.at)
		if err != nil {
			return err
		}
		if len(events) == 0 {
			return nil
		}
		told, err := o.put(ctx, events, next)
		if err != nil {
			return err
		}
		// What tells nobody anything may be read again.
		if told || len(events) >= maxSince || next.Part != from.Part {
			if err := o.setCursor(next); err != nil {
				return err
			}
		}
		o.at = next
	}
}

func (o *outbox) lock(ctx context.Context) (unlock func(), err error) {
	if err := durable.MkdirAll(o.dir, 0o755); err != nil {
		return nil, err
	}
	if err := lock.Create(o.path("lock"), lock.Private()); err != nil {
		return nil, err
	}
	return lock.Acquire(ctx, o.path("lock"), lock.Options{Verb: "mirror run", Now: o.Now(), Wait: -1})
}

// cursor returns the place from which on the history is read. The first time that is its
// end: the past is told to nobody. The caller holds the lock.
func (o *outbox) cursor() (at Cursor, err error) {
	data, err := durable.ReadFile(o.path("cursor"), 1<<10)
	if err == nil {
		err = json.Unmarshal(data, &at)
	}
	if err == nil && (!o.begun || at.after(o.at)) {
		return at, o.sweep()
	}
	if err == nil {
		return o.at, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		o.warn("%s: %s; notices begin anew", o.path("cursor"), err)
	}
	if at, err = o.Queue.End(); err != nil {
		return at, err
	}
	return at, errors.Join(o.setCursor(at), o.sweep())
}

// after reports whether a place comes after another one.
func (c Cursor) after(other Cursor) bool {
	return c.Part > other.Part || c.Part == other.Part && c.Offset > other.Offset
}

func (o *outbox) setCursor(at Cursor) error {
	data, err := marshal(at)
	if err != nil {
		return err
	}
	if err := o.reach("cursor"); err != nil {
		return err
	}
	return durable.WriteFile(o.path("cursor"), data, 0o644)
}

// sweep removes the folders of receivers that publish.yaml does not have any more.
func (o *outbox) sweep() error {
	list, err := os.ReadDir(o.dir)
	if err != nil {
		return err
	}
	for _, e := range list {
		if e.IsDir() && o.sending[e.Name()] == nil {
			if err := durable.RemoveAll(o.path(e.Name())); err != nil {
				return err
			}
		}
	}
	for key := range o.sending {
		if err := durable.MkdirAll(o.path(key), 0o700); err != nil { // an error may have more than others should read
			return err
		}
	}
	return durable.SyncDir(o.dir)
}

// put makes the files of events, durably, and reports whether there were any.
func (o *outbox) put(ctx context.Context, events []Placed, next Cursor) (told bool, err error) {
	for i, e := range events {
		if !noticed[e.Event.Event] {
			continue
		}
		j, real, err := o.happened(ctx, events, i, next)
		if err != nil {
			return told, err
		}
		if !real {
			continue
		}
		n := o.noticeOf(ctx, e.Event, j)
		body, err := json.Marshal(n)
		if err != nil {
			return told, err
		}
		file, err := json.Marshal(waitingNotice{o.Now().UTC(), body})
		if err != nil {
			return told, err
		}
		// Sorted by name they are in the order of the history.
		name := fmt.Sprintf("%08d-%012d-%s.json", e.At.Part, e.At.Offset, n.Delivery)
		for key, s := range o.sending {
			if !s.Wants(n.Event) {
				continue
			}
			if err := o.reach("put"); err != nil {
				return told, err
			}
			if err := durable.WriteFile(o.path(key, name), file, 0o600); err != nil {
				return told, err
			}
			told = true
		}
	}
	return told, nil
}

// happened reports whether the change was made that the i-th event says, and returns the
// job as it is now, if there is one. A line is written before its change, and a kill may
// have come in between; the line is there again once the change is made.
func (o *outbox) happened(ctx context.Context, events []Placed, i int, next Cursor) (*Job, bool, error) {
	e := events[i].Event
	if e.ID == "" {
		return nil, true, nil
	}
	j, err := o.Queue.look(e.ID)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, e.Event != string(Denied), nil // such a job is made with its line; others were swept
	case err != nil:
		return nil, true, nil // its file is damaged, and the line has what matters
	case e.Event == Drifted:
		return &j, true, nil
	}
	// What comes next says whether the job had ended. All changes whose lines were read
	// were made before that: so if nothing comes next, the job itself says it.
	for rest := events[i+1:]; ; {
		for _, later := range rest {
			if later.ID == e.ID && later.Event.Event != Joined && later.Event.Event != AskedToStop {
				return &j, follows(e.Event, later.Event.Event), nil
			}
		}
		if j.State.Ended() && (e.Event != string(Published) || j.State == Published) {
			return &j, true, nil
		}
		if rest, next, err = o.Queue.Since(ctx, next); err != nil || len(rest) == 0 {
			return &j, false, err
		}
	}
}

// follows reports whether a job for which one event was made can have the other one next.
func follows(event, next string) bool {
	switch event {
	case string(Staged):
		return next == string(Published) || next == Amended
	case string(Failed):
		return next == Retried || next == Amended
	}
	return next == Amended
}
