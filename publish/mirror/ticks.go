package mirror

import (
	"context"
	"encoding/json"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"example.com/publish/publish"
	"example.com/publish/publish/timetable"
	"example.com/publish/stage/durable"
)

// ticks is a file with the time up to which each schedule is done. All processes share it.
//
// A time is written after the jobs of the schedule were added. So a kill between the two
// loses no tick: the next runner adds the jobs again, and they join what is there. A
// schedule that is not in the file is new, and is done up to now. So is one whose rule was
// changed: it has another key, so that two runners with different configurations do not
// have each other's schedules begin anew for ever. All ticks between that time and now are
// one.
type ticks struct {
	path string
	now  func() time.Time
	mu   sync.Mutex
}

// done is up to when a schedule is done.
type done struct {
	Last time.Time `json:"last"`
}

// maxTicks is the most bytes of the file: that of the most schedules is smaller.
const maxTicks = 1 << 20

func (t *ticks) read() map[string]done {
	all := map[string]done{}
	data, err := durable.ReadFile(t.path, maxTicks)
	if err != nil || json.Unmarshal(data, &all) != nil || all == nil {
		return map[string]done{} // damaged: all begin anew
	}
	return all
}

// change calls f with what the file has, under its lock, and writes it if f says so.
func (t *ticks) change(ctx context.Context, f func(all map[string]done) bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	unlock, err := locked(ctx, t.path, t.now())
	if err != nil {
		return err
	}
	defer unlock()
	all := t.read()
	if !f(all) {
		return nil
	}
	data, err := marshal(all)
	if err != nil {
		return err
	}
	return durable.WriteFile(t.path, data, 0o644)
}

// settle makes the file fit the schedules and the clock: what is new is done up to now.
func (t *ticks) settle(ctx context.Context, list []schedule) error {
	if len(t.odd(t.read(), list)) == 0 {
		return nil
	}
	return t.change(ctx, func(all map[string]done) bool {
		odd := t.odd(all, list)
		maps.Copy(all, odd)
		return len(odd) > 0
	})
}

// odd returns what settle has to write.
//
// A clock that was set back must neither have a schedule fire twice nor stop it until the
// clock is where it was. So the next tick by the new clock counts as done, if it was so by
// the old one, and no further one.
func (t *ticks) odd(all map[string]done, list []schedule) map[string]done {
	now, out := t.now().UTC(), map[string]done{}
	for _, s := range list {
		d, ok := all[s.key()]
		if !ok {
			out[s.key()] = done{now}
			continue
		}
		if !d.Last.After(now.Add(clockSlack)) {
			continue
		}
		last := now
		if next, ok := s.rule.Next(now); ok && !next.After(d.Last) {
			last = next.UTC()
		}
		if !last.Equal(d.Last) {
			out[s.key()] = done{last}
		}
	}
	return out
}

// forget removes schedules that publish.yaml does not have any more. A run does so when it
// begins.
func (t *ticks) forget(ctx context.Context, list []schedule) error {
	if _, err := os.Lstat(t.path); err != nil {
		return ignoreMissing(err)
	}
	return t.change(ctx, func(all map[string]done) bool {
		n := len(all)
		maps.DeleteFunc(all, func(key string, _ done) bool {
			return !slices.ContainsFunc(list, func(s schedule) bool { return s.key() == key })
		})
		return len(all) < n
	})
}

// set notes that a schedule is done up to a time.
func (t *ticks) set(ctx context.Context, s schedule, at time.Time) error {
	return t.change(ctx, func(all map[string]done) bool {
		all[s.key()] = done{at.UTC()}
		return true
	})
}

// schedule is one that was read.
type schedule struct {
	publish.MirrorSchedule
	rule timetable.Rule
}

// key is the name of a schedule in the file of ticks.
func (s schedule) key() string { return s.Name + ": " + s.Schedule + " " + s.ZoneName() }

// due reports whether a schedule has a tick that is not done.
func (s schedule) due(d done, now time.Time) bool {
	next, ok := s.rule.Next(d.Last)
	return ok && !next.After(now)
}
