package mirror

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"example.com/publish/stage/durable"
	"example.com/publish/stage/lock"
)

// sender sends what waits for one receiver.
type sender struct {
	Receiver
	wake chan struct{}

	mu    sync.Mutex
	idle  *sync.Cond           // of busy and asked
	busy  bool                 // it is sending
	asked bool                 // it was woken since it began
	tries map[string]int       // of each notice that failed
	after map[string]time.Time // which is not tried before
	hold  time.Time            // nothing is tried before
	holds int                  // how often in a row that was so
}

// keptNotices is how long a receiver is tried.
const keptNotices = 24 * time.Hour

// noticePause is how long to wait after a try that failed, by its number.
func noticePause(tries int) time.Duration {
	return min(time.Second<<min(tries-1, 12), 5*time.Minute)
}

// wakeAll has what waits be sent.
func (o *outbox) wakeAll() {
	for _, s := range o.sending {
		s.mu.Lock()
		s.asked = true
		s.mu.Unlock()
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// start begins to send, until ctx ends.
func (o *outbox) start(ctx context.Context) {
	for _, s := range o.sending {
		o.all.Go(func() {
			for {
				select {
				case <-ctx.Done():
					s.end()
					return
				case <-s.wake:
				}
				o.send(ctx, s)
			}
		})
	}
}

// end lets nobody wait for the sender any more.
func (s *sender) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy, s.asked = false, false
	s.idle.Broadcast()
}

// send sends what is due to one receiver, the oldest first.
func (o *outbox) send(ctx context.Context, s *sender) {
	s.mu.Lock()
	s.busy, s.asked = true, false
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.busy = false
		s.idle.Broadcast()
	}()
	if !s.mayTry("") {
		return
	}
	names, err := o.names(s.Key())
	if err != nil {
		o.trouble(s, err)
		return
	}
	if !slices.ContainsFunc(names, s.mayTry) {
		return
	}
	// Another process may be at it.
	path := o.path(s.Key(), "lock")
	if _, state := lock.Look(path); state == lock.Held {
		return
	}
	if err := lock.Create(path, lock.Private()); err != nil {
		o.trouble(s, err)
		return
	}
	s.forget("")
	unlock, err := lock.Acquire(ctx, path, lock.Options{Verb: "mirror run", Now: o.Now()})
	if err != nil {
		return
	}
	defer unlock()
	for _, name := range names {
		if ctx.Err() != nil {
			return
		}
		if !s.mayTry(name) {
			continue
		}
		if err := o.sendOne(ctx, s, name); err != nil {
			// It may have been delivered, and is so again: not at each glance.
			if s.failed(name, err, o.pause) == 1 {
				o.warn("notices: %s: %s", s, err)
			}
			return
		}
	}
}

// trouble is for an error that is about no notice: it is told once, and not tried again at
// each glance.
func (o *outbox) trouble(s *sender, err error) {
	if s.failed("", err, o.pause) == 1 {
		o.warn("notices: %s: %s", s, err)
	}
}

// names returns the notices that wait for a receiver, the oldest first.
func (o *outbox) names(key string) ([]string, error) {
	f, err := durable.OpenDir(o.path(key))
	if err != nil {
		return nil, ignoreMissing(err)
	}
	list, err := f.Readdirnames(-1)
	list = slices.DeleteFunc(list, func(name string) bool {
		return strings.HasPrefix(name, ".") || !strings.HasSuffix(name, ".json")
	})
	slices.Sort(list)
	return list, errors.Join(err, f.Close())
}

// sendOne sends one notice, and removes it when it is delivered, or too old. The error is
// one of this side.
func (o *outbox) sendOne(ctx context.Context, s *sender, name string) error {
	path := o.path(s.Key(), name)
	data, err := durable.ReadFile(path, maxNotice)
	if errors.Is(err, fs.ErrNotExist) {
		s.forget(name)
		return nil // another process sent it
	}
	var w waitingNotice
	var n Notice
	if err == nil {
		if err = json.Unmarshal(data, &w); err == nil {
			err = json.Unmarshal(w.Notice, &n)
		}
	}
	if err != nil {
		o.warn("notices: %s: is damaged, and is dropped: %s", path, err)
		return os.Remove(path)
	}
	err = s.Deliver(ctx, Delivery{ID: n.Delivery, Event: n.Event, Body: w.Notice})
	if err == nil {
		s.forget(name)
		s.went()
		if err := o.reach("sent"); err != nil {
			return err
		}
		return ignoreMissing(os.Remove(path))
	}
	if ctx.Err() != nil {
		return nil // it was interrupted
	}
	age := o.Now().Sub(w.Queued)
	if age < -clockSlack { // the clock was set back: its day begins anew
		w.Queued = o.Now().UTC()
		if data, err := json.Marshal(w); err == nil {
			_ = durable.WriteFile(path, data, 0o600)
		}
	}
	if age > keptNotices {
		o.warn("notices: %s: %s of %s was not delivered for a day, and is dropped: %s", s, n.Event, n.Canonical, err)
		s.forget(name)
		err := o.Queue.Note(ctx, Event{Event: NoticeDropped, ID: n.ID, Reference: n.Reference, Canonical: n.Canonical,
			Digest: n.Digest, Detail: fmt.Sprintf("%s: %s, delivery %s: %s", s, n.Event, n.Delivery, err)})
		if err != nil {
			return err
		}
		return ignoreMissing(os.Remove(path))
	}
	if s.failed(name, err, o.pause) == 1 {
		o.warn("notices: %s: %s of %s: %s; it is tried again for a day", s, n.Event, n.Canonical, err)
	}
	return nil
}

// mayTry reports whether a notice may be tried now. Pauses are by the clock of the machine,
// which does not go back.
func (s *sender) mayTry(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	return !now.Before(s.hold) && !now.Before(s.after[name])
}

func (s *sender) forget(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.tries, name)
	delete(s.after, name)
}

func (s *sender) went() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holds = 0
}

// failed notes that a notice was not delivered, and returns how often it was tried. Unless
// it may be at fault itself, the others wait too.
func (s *sender) failed(name string, err error, pause func(int) time.Duration) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tries[name]++
	s.after[name] = time.Now().Add(pause(s.tries[name]))
	if only := Unwanted(nil); !errors.As(err, &only) || !only.Unwanted() {
		s.holds++
		s.hold = time.Now().Add(pause(s.holds))
	}
	return s.tries[name]
}

// NoticeDropped is the event of a notice that no try delivered.
const NoticeDropped = "notice-dropped"

// maxNotice is the most bytes of a file of a notice.
const maxNotice = 4 * maxJob

// firstTry is how long flush waits for what was not tried yet, however short the patience.
const firstTry = 10 * time.Second

// flush waits until all that waits was delivered, or until no more can be for now: another
// process is at it, or the next try is later than the time that is left.
func (o *outbox) flush(ctx context.Context, left time.Duration) {
	end := time.Now().Add(left)
	ctx, cancel := context.WithDeadline(ctx, time.Now().Add(max(left, firstTry)))
	defer cancel()
	for ctx.Err() == nil {
		o.wakeAll()
		next := time.Time{}
		for key, s := range o.sending {
			s.wait(ctx)
			if at, ok := o.due(key, s); ok && (next.IsZero() || at.Before(next)) {
				next = at
			}
		}
		if next.IsZero() || next.After(end) {
			return
		}
		timer := time.NewTimer(time.Until(next))
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// wait waits until all that is due was tried, or ctx ends.
func (s *sender) wait(ctx context.Context) {
	defer context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.idle.Broadcast()
	})()
	s.mu.Lock()
	defer s.mu.Unlock()
	for (s.busy || s.asked) && ctx.Err() == nil {
		s.idle.Wait()
	}
}

// due returns when the next notice of a receiver is tried; ok is false if none waits that
// this process tried.
func (o *outbox) due(key string, s *sender) (at time.Time, ok bool) {
	names, err := o.names(key)
	if err != nil {
		return at, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range names {
		if t, tried := s.after[name]; tried && (!ok || t.Before(at)) {
			at, ok = t, true
		}
	}
	if ok && s.hold.After(at) {
		at = s.hold
	}
	return at, ok
}
