package bucket

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"example.com/publish/publish/fault"
)

// What a gc deletes can be what another machine is about to name: it sees that the object is
// there, sends nothing, and commits. No condition on the delete can prevent that. So
// deleting has three parts:
//
//  1. The keys are condemned: their list is committed in the pointer. Whoever has looked
//     before that must commit on top of it, reads the list, and waits. Collections tells
//     him that what he saw earlier may be gone.
//  2. The objects are deleted. Requests are sent only within Lease of Due.Last.
//  3. The list is cleared, by a second commit: at once if the answer to each request is
//     known. Else a request may be lingering in a network, and would delete what somebody
//     uploads anew. So it is cleared when all of them are void.

const (
	deleteBatch = 1000 // keys in one request
	// maxOff is how far the clock of a machine that deletes may be off: it is in its
	// signatures, and they are valid that much longer.
	maxOff = time.Minute
	linger = MaxSkew + maxOff
)

// deleting is what one gc is deleting.
type deleting struct {
	nonce   string
	until   time.Time // by the clock for durations: send nothing after it
	unknown bool      // a request was sent, and may take effect later
	stay    []Stay
}

var errTaken = errors.New("another gc has taken over")

// fresh returns the pointer, which must be base still, with the time now. start is when, by
// the clock for durations, it was not later than that time.
func (s *Site) fresh(ctx context.Context, base *Pointer) (now *Pointer, start time.Time, err error) {
	start = s.now()
	now, err = s.Read(ctx)
	switch {
	case err != nil:
		return nil, start, err
	case base != nil && now.Nonce != base.Nonce:
		return nil, start, &MovedError{Now: now}
	case now.Date.Before(start.Add(-maxOff)) || now.Date.After(s.now().Add(maxOff)):
		return nil, start, &fault.Error{Fact: fmt.Sprintf("the clock of this machine and that of the object store "+
			"differ by %s: nothing is deleted", now.Date.Sub(start).Abs().Round(time.Second)), Hint: "set the clock"}
	}
	return now, start, nil
}

// condemn commits the list of keys on top of base, which is fresh. void is when requests of
// gcs before are void.
func (s *Site) condemn(ctx context.Context, base *Pointer, start time.Time, keys []string, void time.Time,
	c change) (*Pointer, *deleting, error) {
	birth, err := s.joined()
	if err != nil {
		return nil, nil, err
	}
	nonce := NewNonce()
	data := packList(keys)
	if err := s.step("before-list"); err != nil {
		return nil, nil, err
	}
	u := Upload{Key: lists + nonce, Body: bodyOf(data), Type: typePlain}
	if _, err := s.make(ctx, u, birth.Repository); err != nil {
		return nil, nil, err
	}
	if err := s.step("after-list"); err != nil {
		return nil, nil, err
	}
	mutate := c.mutate
	c.nonce = nonce
	c.mutate = func(next *Pointer) {
		if mutate != nil {
			mutate(next)
		}
		next.Condemned = &Due{Key: u.Key, SHA256: u.Body.SHA256, Nonce: nonce, Count: len(keys), Since: base.Date,
			Last: base.Date, Void: void}
		next.Collections++
	}
	now, err := s.commit(ctx, base, c)
	if err != nil {
		return nil, nil, err
	}
	s.mu.Lock()
	for _, key := range keys {
		delete(s.present, key)
	}
	s.mu.Unlock()
	return now, &deleting{nonce: nonce, until: start.Add(Lease / 2)}, nil
}

// delete deletes condemned keys. It stops with errTaken if somebody else does it.
func (s *Site) delete(ctx context.Context, d *deleting, keys []string, all bool) error {
	for batch := range slices.Chunk(keys, s.batch) {
		if err := s.step("before-delete"); err != nil {
			return err
		}
		for try := 1; ; try++ {
			for !s.now().Before(d.until) { // again, if saying so took too long: this process may have slept
				if err := s.seen(ctx, d); err != nil {
					return err
				}
			}
			stay, err := s.Store.Delete(ctx, batch, all)
			again := false
			for _, one := range stay {
				again = again || !known(one.Err)
			}
			d.unknown = d.unknown || again || err != nil && !known(err)
			if err == nil && (!again || try == tries) {
				d.stay = append(d.stay, stay...)
				break
			}
			if err != nil && (known(err) || try == tries || ctx.Err() != nil) {
				return err
			}
			if err := s.sleep(ctx, s.backoff(try)); err != nil {
				return err
			}
		}
		if err := s.step("after-delete"); err != nil {
			return err
		}
	}
	return nil
}

// mine commits a change of what d has condemned, as long as that is in the pointer.
func (s *Site) mine(ctx context.Context, d *deleting, then func(now *Pointer, due *Due) *Due) (*Pointer, error) {
	for try := 1; ; try++ {
		start := s.now()
		now, err := s.Read(ctx)
		if err != nil {
			return nil, err
		}
		if now.Condemned == nil || now.Condemned.Nonce != d.nonce {
			return now, errTaken
		}
		due := *now.Condemned
		after, err := s.commit(ctx, now, change{nonce: NewNonce(), mutate: func(next *Pointer) {
			next.Condemned = then(now, &due)
		}})
		if err == nil {
			d.until = start.Add(Lease / 2)
			return after, nil
		}
		if moved := new(MovedError); !errors.As(err, &moved) {
			return nil, err
		}
		if err := s.sleep(ctx, s.backoff(try)); err != nil {
			return nil, err
		}
	}
}

// seen says that the gc is alive.
func (s *Site) seen(ctx context.Context, d *deleting) error {
	_, err := s.mine(ctx, d, func(now *Pointer, due *Due) *Due {
		due.Last = now.Date
		return due
	})
	return err
}

// finish clears what d has condemned, or says from when on it may be cleared. It returns the
// pointer.
func (s *Site) finish(ctx context.Context, d *deleting) (*Pointer, error) {
	if err := s.step("before-clear"); err != nil {
		return nil, err
	}
	list := ""
	now, err := s.mine(ctx, d, func(now *Pointer, due *Due) *Due {
		list = due.Key
		if d.unknown && now.Date.Add(linger).After(due.Void) {
			due.Void = now.Date.Add(linger)
		}
		if due.Void.After(now.Date) {
			due.Last, due.Left = now.Date, true
			return due
		}
		return nil
	})
	if errors.Is(err, errTaken) {
		return now, nil // who has taken over clears it
	}
	if err != nil {
		return nil, err
	}
	if now.Condemned == nil {
		if _, err := s.Store.Delete(ctx, []string{list}, false); err != nil {
			s.warn(fmt.Sprintf("%s: is not deleted: %v", list, err)) // nothing names it
		}
	}
	return now, s.step("after-clear")
}

// voidAfter is when requests of the gc that has condemned due are void, if it is dead.
func voidAfter(due *Due) time.Time {
	if end := due.Last.Add(Lease + linger); !due.Left && end.After(due.Void) {
		return end
	}
	return due.Void
}

// takeOver ends what a gc that died has condemned. It returns the pointer, in which nothing is
// condemned, or what others are still deleting.
func (s *Site) takeOver(ctx context.Context, base *Pointer, start time.Time) (*Pointer, error) {
	due := base.Condemned
	if due == nil || !due.Left && base.Date.Before(due.Last.Add(Lease)) || due.Left && base.Date.Before(due.Void) {
		return base, nil
	}
	keys, err := s.list(ctx, base)
	if err != nil {
		return nil, err
	}
	d := &deleting{nonce: NewNonce(), until: start.Add(Lease / 2)}
	_, err = s.commit(ctx, base, change{nonce: NewNonce(), mutate: func(next *Pointer) {
		taken := *due
		taken.Nonce, taken.Last, taken.Void, taken.Left = d.nonce, base.Date, voidAfter(due), false
		next.Condemned = &taken
	}})
	if err != nil {
		return nil, err
	}
	if err := s.delete(ctx, d, keys, false); err != nil && !errors.Is(err, errTaken) {
		return nil, err
	}
	return s.finish(ctx, d)
}

// Erase deletes objects at once, in every version that the store keeps, whatever names them.
// They are condemned as by a gc, together with what a gc is deleting now, so that it does not
// wait for one. It returns those that stay. After an error some may be left: call it again.
func (s *Site) Erase(ctx context.Context, keys []string) ([]Stay, error) {
	keys = slices.Compact(slices.Sorted(slices.Values(keys)))
	if len(keys) == 0 {
		return nil, nil
	}
	for _, key := range keys {
		if s.ours(key) {
			return nil, fmt.Errorf("%s: is never deleted", key)
		}
	}
	d, old, err := s.doom(ctx, keys)
	if err != nil {
		return nil, err
	}
	err = s.delete(ctx, d, keys, true)
	if err == nil {
		err = s.delete(ctx, d, old, false)
	}
	if err == nil || d.unknown && ctx.Err() == nil {
		_, ferr := s.finish(ctx, d)
		err = errors.Join(err, ferr)
	}
	return slices.DeleteFunc(d.stay, func(st Stay) bool { return !slices.Contains(keys, st.Key) }), err
}

// doom condemns keys, and with them what is condemned already, which it returns.
func (s *Site) doom(ctx context.Context, keys []string) (*deleting, []string, error) {
	for try := 1; ; try++ {
		base, start, err := s.fresh(ctx, nil)
		if err != nil {
			return nil, nil, err
		}
		var old []string
		var void time.Time
		if base.Condemned != nil {
			old, err = s.list(ctx, base)
			void = voidAfter(base.Condemned)
		}
		var d *deleting
		if err == nil {
			all := slices.Concat(keys, old)
			slices.Sort(all)
			_, d, err = s.condemn(ctx, base, start, slices.Compact(all), void, change{})
		}
		if moved := new(MovedError); err == nil || !errors.As(err, &moved) {
			return d, slices.DeleteFunc(old, func(key string) bool { return slices.Contains(keys, key) }), err
		}
		if err := s.sleep(ctx, s.backoff(try)); err != nil {
			return nil, nil, err
		}
	}
}

// ours reports whether a key is of the protocol itself, which deletes no such object.
func (s *Site) ours(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return key == birthKey || key == turnKey || s.birth != nil && key == s.birth.Pointer
}
