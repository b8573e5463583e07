// Package journal is the record of a repository: which generation became
// production, when, by whom and why, and what was deleted since.
//
// A history is append-only. Each line is sealed with a checksum, and is durable
// before the next step of a verb. A torn last line, left by a crash, was never
// promised to anybody: readers pass it over, recovery cuts it off and derives it
// again from the manifest. Any other damaged line is evidence, from which
// windows are counted: it is refused, and repaired only on request, with the
// file as it was set aside.
//
// The package knows the lines and what they say together. What a tree or a
// manifest says comes in as values.
package journal

import (
	"encoding/json"
	"slices"
	"time"
)

// History is what the lines of a history say.
type History struct {
	Events []Event
	ended  map[int]time.Time // see CorrectTimes
	Sealed
}

// Parse reads the data of a history. Times are as they were written.
func Parse(data []byte) *History {
	h := &History{}
	h.Sealed = ReadSealed(data, func(text []byte) bool {
		var e Event
		if json.Unmarshal(text, &e) != nil {
			return false
		}
		h.Events = append(h.Events, e)
		return e.Kind.Known()
	})
	return h
}

// Append adds an event whose line of so many bytes was appended to the file.
func (h *History) Append(e Event, bytes int) {
	h.Whole += int64(bytes)
	h.Events = append(h.Events, e)
	if e.Kind == Clock {
		h.CorrectTimes()
	}
}

// CorrectTimes corrects the times of the events by lines of kind clock.
func (h *History) CorrectTimes() { h.ended = correctTimes(h.Events) }

// Ended returns when a gc, by a clock that was wrong, may have deleted what
// generation n had dropped.
func (h *History) Ended(n int) (time.Time, bool) {
	at, ok := h.ended[n]
	return at, ok
}

// Last returns the newest switch.
func (h *History) Last() (Event, bool) {
	for _, e := range slices.Backward(h.Events) {
		if e.Kind.Switch() {
			return e, true
		}
	}
	return Event{}, false
}

// Made returns the switch that made generation n.
func (h *History) Made(n int) (Event, bool) {
	for _, e := range h.Events {
		if e.Kind.Switch() && e.Generation == n {
			return e, true
		}
	}
	return Event{}, false
}

// Before returns the origin of the content that was live just before the
// content of an origin first was.
func (h *History) Before(origin int) (int, bool) {
	made, ok := h.Made(origin)
	if !ok || made.From == 0 {
		return 0, false
	}
	from, ok := h.Made(made.From)
	return from.Origin, ok
}

// Health returns what the health check of generation n said; "" when none was
// recorded.
func (h *History) Health(n int) string {
	for _, e := range slices.Backward(h.Events) {
		if e.Kind == Health && e.Generation == n {
			return e.Health
		}
	}
	return ""
}

// Hold returns the hold in force.
func (h *History) Hold() (Event, bool) {
	for _, e := range slices.Backward(h.Events) {
		switch e.Kind {
		case Hold:
			return e, true
		case Unhold:
			return Event{}, false
		}
	}
	return Event{}, false
}

// Pins returns the pins in force by generation.
func (h *History) Pins() map[int]Event {
	out := map[int]Event{}
	for _, e := range h.Events {
		switch e.Kind {
		case Pin:
			out[e.Generation] = e
		case Unpin:
			delete(out, e.Generation)
		}
	}
	return out
}

// Newest is the time of the newest line, or the zero time.
func (h *History) Newest() time.Time {
	var t time.Time
	for _, e := range h.Events {
		if e.Time.After(t) {
			t = e.Time
		}
	}
	return t
}

// LastPromote is when content last came from staging, and stayed; nil if none
// did.
func (h *History) LastPromote() *time.Time {
	for _, e := range slices.Backward(h.Events) {
		if (e.Kind == Promote || e.Kind == Adopt) && h.Health(e.Generation) != "failed" {
			at := e.Time.UTC()
			return &at
		}
	}
	return nil
}

// Freed returns the generations that a gc has said it deletes.
func (h *History) Freed() map[int]bool {
	out := map[int]bool{}
	for _, e := range h.Events {
		if e.Kind == GC && e.Freed != nil {
			for _, n := range e.Freed.Generations {
				out[n] = true
			}
		}
	}
	return out
}

// FreedAll reports whether a gc has said before that it deletes all of this, of
// production n: then something could not be deleted, and is tried again without
// a line.
func (h *History) FreedAll(items []FreedItem, n int) bool {
	said := map[FreedItem]bool{}
	for _, e := range h.Events {
		if e.Kind == GC && e.Freed != nil {
			for _, i := range e.Freed.Items {
				said[FreedItem{Generation: i.Generation, Path: i.Path}] = i.Path == "" || e.Generation == n
			}
		}
	}
	return !slices.ContainsFunc(items, func(i FreedItem) bool { return !said[FreedItem{Generation: i.Generation, Path: i.Path}] })
}
