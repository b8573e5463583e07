package publish

import (
	"example.com/publish/publish/generation"
	"example.com/publish/publish/journal"
)

// flaws returns where the chain of the history is broken. A kept tree with a lower
// number than production, which no line mentions, is also a flaw, even if the chain is
// closed: then the switch to it and the switch away from it are both lost.
func flaws(store *generation.Store, h *journal.History, tip *journal.Event) []journal.Flaw {
	out := h.Flaws(tip, func(n int) bool { return !tells(store, n) })
	if tip == nil {
		return out
	}
	kept, err := store.Kept(tip.Generation)
	if err != nil {
		return out // a caller that needs the trees reports the error
	}
	for _, n := range kept {
		if n < tip.Generation && !h.Named(n) && store.Holds(n) {
			out = append(out, journal.Flaw{Kind: journal.Lost, Generation: n, From: n})
		}
	}
	return out
}

// historyFlaw says what the history lost or has out of place; "" if it is whole.
func (r *Repo) historyFlaw(s *state) string {
	if r.shared != nil {
		return ""
	}
	if broken := flaws(r.store, s.history, s.tip()); len(broken) > 0 {
		return broken[0].String()
	}
	if missing := r.journal().Missing(s.history); len(missing) > 0 {
		return r.short(missing[0]) + " " + journal.ErrSegment.Error()
	}
	return ""
}

// tells reports whether the line of generation n can be rebuilt from its manifest or
// tree.
func tells(store *generation.Store, n int) bool {
	return n > 0 && (!gone(store.ManifestPath(n)) || store.Holds(n))
}

// whole returns an error if the history has lost lines that recover can rebuild,
// because windows are computed from them. Lines that cannot be rebuilt stop no
// command.
func (r *Repo) whole(s *state) error {
	for _, f := range flaws(r.store, s.history, s.tip()) {
		if f.Kind == journal.Moved || f.Kind == journal.Lost && !tells(r.store, f.From) {
			continue
		}
		return &Error{Path: r.historyPath(), Fact: f.String(),
			Hint: "run publish recover: it keeps the file as " + r.short(asideName(r.historyPath())) +
				" and rebuilds what is missing from the manifests"}
	}
	return nil
}

// tip is the switch that production's manifest records; nil if there is no production.
func (s *state) tip() *journal.Event {
	if s.current == nil {
		return nil
	}
	return tipOf(&s.current.Head)
}
