package publish

import (
	"slices"

	"example.com/publish/publish/generation"
	"example.com/publish/publish/journal"
)

// KeptBy is the reason why gc does not delete a generation.
type KeptBy = generation.KeptBy

// The reasons: see package generation.
const (
	KeptByWindow = generation.KeptByWindow
	KeptByPin    = generation.KeptByPin
	KeptByKeep   = generation.KeptByKeep
)

// tenures returns how long gc keeps each of the kept generations, except production,
// given the windows.
func (r *Repo) tenures(h *journal.History, kept []int, w generation.Windows) map[int]generation.Tenure {
	pinned := func(n int) bool { _, ok := h.Pin(n); return ok }
	return generation.Tenures(kept, w, pinned, r.Config.Generations.Keep)
}

// beside returns the generations that are kept beside production, sorted.
func (r *Repo) beside(s *state) ([]int, error) {
	kept, err := r.store.Kept(s.current.Generation)
	return slices.DeleteFunc(kept, func(n int) bool { return n == s.current.Generation }), err
}

// revertTenure returns how long the previous content is kept; zero if there is none.
func (r *Repo) revertTenure(s *state) generation.Tenure {
	if s.current == nil {
		return generation.Tenure{}
	}
	origin, ok := s.before()
	if !ok {
		return generation.Tenure{}
	}
	kept, err := r.beside(s)
	if err != nil {
		return generation.Tenure{}
	}
	return r.contentTenure(s.history, origin, kept, s.windows)
}

// revertTenureAfter returns what revertTenure will return after a switch to the
// content of an origin; 0 is new content.
func (r *Repo) revertTenureAfter(s *state, origin int) generation.Tenure {
	was, ok := s.current.Origin, true
	if origin != 0 {
		was, ok = s.history.Before(origin)
	}
	if !ok {
		return generation.Tenure{}
	}
	kept, err := r.store.Kept(s.current.Generation)
	if err != nil {
		return generation.Tenure{}
	}
	return r.contentTenure(s.history, was, kept, s.windows.After(s.current.Generation, s.now.Add(r.grace())))
}

// contentTenure returns how long a tree with the content of an origin is kept.
func (r *Repo) contentTenure(h *journal.History, origin int, kept []int, w generation.Windows) generation.Tenure {
	var longest generation.Tenure
	for n, t := range r.tenures(h, kept, w) {
		if made, ok := h.Made(n); ok && made.Origin == origin && t.Outlasts(longest) {
			longest = t
		}
	}
	return longest
}
