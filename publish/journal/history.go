package journal

import (
	"encoding/json"
	"iter"
	"slices"
	"time"
)

// History is what the lines of a history say. Times are corrected by lines of
// kind clock, but for those of Events.
type History struct {
	Sealed
	Events []Event // as they were written
	*past
}

// Parse reads the data of a history.
func Parse(data []byte) *History {
	h := &History{past: newPast()}
	h.Sealed = ReadSealed(data, func(text []byte) bool {
		var e Event
		if json.Unmarshal(text, &e) != nil {
			return false
		}
		h.add(e)
		return e.Kind.Known()
	})
	return h
}

func (h *History) add(e Event) {
	h.Events = append(h.Events, e)
	h.past.add(&e)
}

// Append adds an event whose line of so many bytes was appended to the file.
func (h *History) Append(e Event, bytes int) {
	h.Whole += int64(bytes)
	h.add(e)
}

// Last returns the newest switch.
func (h *History) Last() (Made, bool) { return h.last, h.last.Kind != "" }

// Made returns the switch that made generation n.
func (h *History) Made(n int) (Made, bool) {
	if m, ok := h.first[n]; ok {
		return *m, true
	}
	return Made{}, false
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

// Top returns the highest number that a line names.
func (h *History) Top() int { return h.top }

// Named reports whether a switch names generation n.
func (h *History) Named(n int) bool { return h.named.has(n) }

// Adopted reports whether generation n was adopted.
func (h *History) Adopted(n int) bool { return h.adopted.has(n) }

// Health returns what the health check of generation n said last; "" when none
// was recorded.
func (h *History) Health(n int) string { return h.health[n] }

// Hold returns the hold in force.
func (h *History) Hold() (Head, bool) { return h.hold, h.hold.Kind != "" }

// Pin returns the pin of generation n in force.
func (h *History) Pin(n int) (Head, bool) {
	if pin, ok := h.pins[n]; ok {
		return *pin, true
	}
	return Head{}, false
}

// Newest is the time of the newest line, or the zero time.
func (h *History) Newest() time.Time { return h.newest }

// LastPromote is when content last came from staging or by adoption, and stayed.
func (h *History) LastPromote() (time.Time, bool) {
	for _, c := range slices.Backward(h.promotes) {
		if h.health[c.Generation] != "failed" {
			return c.Time, true
		}
	}
	return time.Time{}, false
}

// Turned returns the first line that reports a change of production away from
// what promotes made of it, after generation was.
func (h *History) Turned(was int) (Head, bool) {
	for _, e := range h.turns {
		if e.Generation > was || e.Kind == KindRelink && e.From >= was {
			return e, true
		}
	}
	return Head{}, false
}

// Switches are the switches, newest first.
func (h *History) Switches() iter.Seq[Head] {
	return func(yield func(Head) bool) {
		for _, e := range slices.Backward(h.Events) {
			if e.Kind.Switch() && !yield(e.Head) {
				return
			}
		}
	}
}

// Redacted returns how many lines of tombstones the newest line of kind redact
// is about.
func (h *History) Redacted() (lines int, ok bool) { return max(h.redacted, 0), h.redacted >= 0 }

// Freed reports whether a gc has said that it deletes generation n.
func (h *History) Freed(n int) bool { return h.freed.has(n) }

// FreedAll reports whether a gc has said before that it deletes all of this, of
// production n: then something could not be deleted, and is tried again without
// a line.
func (h *History) FreedAll(items []FreedItem, n int) bool {
	for _, i := range items {
		if of, said := h.said[i.Path]; i.Path == "" && !h.freed.has(i.Generation) || i.Path != "" && (!said || of != n) {
			return false
		}
	}
	return true
}

// Changes are the switches in their order, as windows are counted from them.
func (h *History) Changes() iter.Seq[Change] {
	return func(yield func(Change) bool) {
		for _, c := range h.changes {
			if h.clocks > 0 && c.First {
				c.Ended = h.ended[c.Generation]
			}
			if !yield(c) {
				return
			}
		}
	}
}

// Flaws returns where the chain is broken. tip is the switch that production's
// manifest records; nil for none. A production that the history does not name
// yet has to continue the chain: a command that was killed behind its switch
// leaves one line to write. That recovery up to layout 1 found nothing of a
// generation before the lines that it made is no flaw: lost reports whether
// nothing is left of one.
func (h *History) Flaws(tip *Event, lost func(n int) bool) []Flaw {
	var out []Flaw
	for _, f := range h.flaws {
		if f.Kind != Lost || !h.recorded(f.Generation) || !lost(f.From) {
			out = append(out, f)
		}
	}
	if tip != nil && !h.chain.Made.has(tip.Generation) {
		if f, broken := h.chain.judge(&tip.Head, false); broken {
			out = append(out, f)
		}
	}
	return out
}

// recorded reports whether the last switch to a generation was recorded by
// recovery.
func (p *past) recorded(n int) bool {
	if recovered, ok := p.recovered[n]; ok {
		return recovered
	}
	m, ok := p.first[n]
	return ok && m.Recovered
}
