package journal

import (
	"iter"
	"slices"
	"time"

	"example.com/publish/stage/durable"
)

// History answers questions about the lines of a history. The times in its
// answers are corrected by lines of kind clock; only Events has the times as
// they were written.
type History struct {
	Sealed
	Events []Event // of this file, as they were written
	// Stray is the path of a closed file that does not belong before this one;
	// "" for none. See Log.Read.
	Stray string

	p *past
	// older reads the lines before the checkpoint, and reports whether all of
	// them are there; nil if there is no checkpoint, or they were read already.
	older func() (*past, bool)
	lost  *past // the summary before older did not find all lines; else nil

	sequence int       // number of this file, from 1; only file 1 begins without a checkpoint
	segments []segment // the closed files before it
	first    Made      // the newest switch of the closed files
	begins   int64     // length of the checkpoint line
	appended bool

	lines    int // of a history that was resumed: see Resume
	olderErr error
}

// Parse reads one file of a history. It opens no other file, so what the
// checkpoint left out stays unknown.
func Parse(data []byte) *History {
	h := &History{p: newPast(), sequence: 1}
	lines := 0
	h.Sealed = ReadSealed(data, func(text []byte) bool {
		if lines++; lines == 1 && isCheckpoint(text) {
			c, err := readCheckpoint(text)
			if err != nil {
				return false
			}
			h.p, h.sequence, h.segments, h.first, h.begins = c.Past, c.Sequence, c.Segments, c.Past.Last,
				int64(len(durable.Line(text)))
			return true
		}
		e, ok := eventOf(text)
		if ok {
			h.add(e)
		}
		return ok && e.Kind.Known()
	})
	return h
}

func (h *History) add(e Event) {
	h.Events = append(h.Events, e)
	h.p.add(&e)
}

// Last returns the newest switch.
func (h *History) Last() (Made, bool) { return h.p.Last, h.p.Last.Kind != "" }

// Made returns the switch that made generation n.
func (h *History) Made(n int) (Made, bool) {
	if h.p.Named.has(n) {
		h.know(n)
	}
	if m, ok := h.p.First[n]; ok {
		return *m, true
	}
	return Made{}, false
}

// Before returns the origin of the content that was live just before generation
// origin first went live.
func (h *History) Before(origin int) (int, bool) {
	made, ok := h.Made(origin)
	if !ok || made.From == 0 {
		return 0, false
	}
	from, ok := h.Made(made.From)
	return from.Origin, ok
}

// Top returns the highest generation that a line is about.
func (h *History) Top() int { return h.p.Top }

// Named reports whether a switch names generation n.
func (h *History) Named(n int) bool { return h.p.Named.has(n) }

// Generations returns the generations that a switch names, in ascending order.
func (h *History) Generations() iter.Seq[int] {
	return func(yield func(int) bool) {
		for _, s := range h.p.Named {
			for n := s.lo; n <= s.hi; n++ {
				if !yield(n) {
					return
				}
			}
		}
	}
}

// Revoked reports whether anything was ever revoked.
func (h *History) Revoked() bool { return h.p.Revoked }

// Adopted reports whether generation n was adopted.
func (h *History) Adopted(n int) bool { return h.p.Adopted.has(n) }

// Health returns the last result of the health check of generation n; "" if
// none was recorded.
func (h *History) Health(n int) string {
	h.know(n)
	return h.p.Health[n]
}

// Hold returns the hold in force.
func (h *History) Hold() (Head, bool) { return h.p.Hold, h.p.Hold.Kind != "" }

// Pin returns the pin of generation n in force.
func (h *History) Pin(n int) (Head, bool) {
	if pin, ok := h.p.Pins[n]; ok {
		return *pin, true
	}
	return Head{}, false
}

// Newest returns the latest time of any line; the zero time for an empty history.
func (h *History) Newest() time.Time { return h.p.Newest }

// LastPromote returns the time of the newest promote or adoption whose health
// check did not fail.
func (h *History) LastPromote() (time.Time, bool) {
	for _, c := range slices.Backward(h.p.Promotes) {
		if h.Health(c.Generation) != HealthFailed {
			return c.Time, true
		}
	}
	if !h.p.Fewer || h.older == nil {
		return time.Time{}, false
	}
	h.all()
	return h.LastPromote()
}

// Turned returns the first revert or relink after generation was: somebody
// changed production by other means than a promote.
func (h *History) Turned(was int) (Head, bool) {
	if was < h.p.since {
		h.all()
	}
	for _, e := range h.p.Turns {
		if e.Generation > was || e.Kind == KindRelink && e.From >= was {
			return e, true
		}
	}
	return Head{}, false
}

// Shown returns the generations that were production, newest first. A
// generation that was production several times comes several times.
func (h *History) Shown() iter.Seq[Made] {
	return func(yield func(Made) bool) {
		h.all()
		for _, c := range slices.Backward(h.p.Changes) {
			if m, ok := h.p.First[c.Generation]; ok && !yield(*m) {
				return
			}
		}
	}
}

// Redacted returns how many lines of the tombstones file the newest line of kind
// redact covers.
func (h *History) Redacted() (lines int, ok bool) { return max(h.p.Redacted, 0), h.p.Redacted >= 0 }

// Freed reports whether a gc recorded that it deletes generation n.
func (h *History) Freed(n int) bool { return h.p.Freed.has(n) }

// FreedAll reports whether an earlier gc already recorded that it deletes all of
// these items, while generation n was production. That gc failed to delete some
// of them, and the next gc tries again without another line.
func (h *History) FreedAll(items []FreedItem, n int) bool {
	if n <= h.p.Cut && n != h.p.SaidOf {
		h.all()
	}
	for _, i := range items {
		if of, said := h.p.Said[i.Path]; i.Path == "" && !h.p.Freed.has(i.Generation) || i.Path != "" &&
			(!said || of != n) {
			return false
		}
	}
	return true
}

// Changes returns the switches in order, with what is needed to compute windows.
func (h *History) Changes() iter.Seq[Change] {
	return func(yield func(Change) bool) {
		for _, c := range h.p.Changes {
			if h.p.Clocks > 0 && c.First {
				c.Ended = h.p.Ended[c.Generation]
			}
			if !yield(c) {
				return
			}
		}
	}
}

// Flaws returns where the chain is broken. tip is the switch that the manifest
// of production records; nil for none. If the history does not have tip yet, it
// must continue the chain: a command that was killed after its switch leaves
// exactly one line to write.
//
// lost reports whether nothing is left of a generation. In layout 1 and
// earlier, recovery could record a switch whose From it had no line for. If
// that generation is lost, this is not a flaw.
func (h *History) Flaws(tip *Event, lost func(n int) bool) []Flaw {
	var out []Flaw
	for _, f := range h.p.Flaws {
		if f.Kind == Lost {
			h.know(f.Generation)
		}
		if f.Kind != Lost || !h.p.recorded(f.Generation) || !lost(f.From) {
			out = append(out, f)
		}
	}
	if tip != nil && !h.p.Chain.Made.has(tip.Generation) {
		if f, broken := h.p.Chain.judge(&tip.Head, false); broken {
			out = append(out, f)
		}
	}
	return out
}

// recorded reports whether the last switch to a generation was recorded by
// recovery.
func (p *past) recorded(n int) bool {
	if recovered, ok := p.Recovered[n]; ok {
		return recovered
	}
	m, ok := p.First[n]
	return ok && m.Recovered
}
