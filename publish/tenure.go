package publish

import (
	"maps"
	"slices"
	"time"

	"example.com/publish/publish/journal"
)

// KeptBy is what keeps a generation beside production from gc.
type KeptBy string

const (
	KeptByWindow KeptBy = "window" // until it ends
	KeptByPin    KeptBy = "pin"    // until unpin
	KeptByKeep   KeptBy = "keep"   // generations: {keep: N}: until it is none of the newest N
)

// tenure is how long gc leaves a generation. Of a pinned one, and of one that
// the configuration keeps, nobody knows how long: until is zero.
type tenure struct {
	by    KeptBy // "": history does not tell when its window began; gc leaves it
	until time.Time
}

// longer reports whether t outlasts u.
func (t tenure) longer(u tenure) bool {
	rank := map[KeptBy]int{KeptByWindow: 1, KeptByKeep: 2, KeptByPin: 3}
	return rank[t.by] > rank[u.by] || t.by == u.by && t.until.After(u.until)
}

// end is until in the form of an answer; nil when there is none.
func (t tenure) end() *time.Time {
	if t.by != KeptByWindow {
		return nil
	}
	end := t.until.UTC().Truncate(time.Second)
	return &end
}

// tenures tells how long gc leaves each of the kept generations, production's
// excepted, given when the windows of retired ones end. It is what gc goes by,
// and what status, promote and the metrics foretell.
func (r *Repo) tenures(h *journal.History, kept []int, retired map[int]time.Time) map[int]tenure {
	out := map[int]tenure{}
	keep := r.Config.Generations.Keep
	for _, n := range slices.Backward(kept) {
		end, known := retired[n]
		switch _, pin := h.Pin(n); {
		case pin:
			out[n] = tenure{by: KeptByPin}
		case keep > 0:
			keep--
			out[n] = tenure{by: KeptByKeep}
		case known:
			out[n] = tenure{by: KeptByWindow, until: end}
		default:
			out[n] = tenure{}
		}
	}
	return out
}

// beside returns the generations that are kept beside production, sorted.
func (r *Repo) beside(s *state) ([]int, error) {
	kept, err := r.kept(s.current.Generation)
	return slices.DeleteFunc(kept, func(n int) bool { return n == s.current.Generation }), err
}

// revertTenure is how long the content before the current one is kept; zero
// when there is none.
func (r *Repo) revertTenure(s *state) tenure {
	if s.current == nil {
		return tenure{}
	}
	origin, ok := r.before(s)
	if !ok {
		return tenure{}
	}
	kept, err := r.beside(s)
	if err != nil {
		return tenure{}
	}
	return r.contentTenure(s.history, origin, kept, s.windows.retired)
}

// revertTenureAfter is what revertTenure will be once production is switched
// to the content of an origin; 0 is new content.
func (r *Repo) revertTenureAfter(s *state, origin int) tenure {
	was, ok := s.current.Origin, true
	if origin != 0 {
		was, ok = s.history.Before(origin)
	}
	if !ok {
		return tenure{}
	}
	kept, err := r.kept(s.current.Generation)
	if err != nil {
		return tenure{}
	}
	retired := maps.Clone(s.windows.retired)
	retired[s.current.Generation] = s.now.Add(r.grace())
	return r.contentTenure(s.history, was, kept, retired)
}

// contentTenure is how long some tree with the content of an origin is kept.
func (r *Repo) contentTenure(h *journal.History, origin int, kept []int, retired map[int]time.Time) tenure {
	var longest tenure
	for n, t := range r.tenures(h, kept, retired) {
		if made, ok := h.Made(n); ok && made.Origin == origin && t.longer(longest) {
			longest = t
		}
	}
	return longest
}
