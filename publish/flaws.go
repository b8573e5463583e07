package publish

import (
	"example.com/publish/publish/generation"
	"example.com/publish/publish/journal"
)

// flaws returns where the chain of the history is broken. A kept tree below
// production that no line made is a flaw, though the chain may be closed: lost
// are the switch to it, and the one back.
func (r *Repo) flaws(h *journal.History, tip *Event) []journal.Flaw {
	out := h.Flaws(tip, func(n int) bool { return !tells(r.store, n) })
	if tip == nil {
		return out
	}
	kept, err := r.store.Kept(tip.Generation)
	if err != nil {
		return out // whoever needs the trees tells
	}
	for _, n := range kept {
		if n < tip.Generation && !h.Named(n) && r.store.Holds(n) {
			out = append(out, journal.Flaw{Kind: journal.Lost, Generation: n, From: n})
		}
	}
	return out
}

// historyFlaw says what the history lost or has out of place; "" for nothing.
func (r *Repo) historyFlaw(s *state) string {
	if broken := r.flaws(s.history, s.tip()); len(broken) > 0 {
		return broken[0].String()
	}
	if missing := r.journal().Missing(s.history); len(missing) > 0 {
		return r.short(missing[0]) + " " + journal.ErrSegment.Error()
	}
	return ""
}

// tells reports whether something is left from which the line of generation n
// can be made.
func tells(store *generation.Store, n int) bool {
	return n > 0 && (!gone(store.ManifestPath(n)) || store.Holds(n))
}

// whole refuses to go on with a history that lost what recover can make anew:
// windows are counted from it. What nothing is left of stops nobody.
func (r *Repo) whole(s *state) error {
	for _, f := range r.flaws(s.history, s.tip()) {
		if f.Kind == journal.Moved || f.Kind == journal.Lost && !tells(r.store, f.From) {
			continue
		}
		return &Error{Path: r.historyPath(), Fact: f.String(),
			Hint: "run publish recover: it keeps the file as " + r.short(asideName(r.historyPath())) +
				" and makes what is missing anew from the manifests"}
	}
	return nil
}

// tip is the switch that production's manifest records; nil when there is none.
func (s *state) tip() *Event {
	if s.current == nil {
		return nil
	}
	return tipOf(&s.current.Head)
}
