package generation

import (
	"iter"
	"maps"
	"slices"
	"time"
)

// Switch is what windows are counted from: one line of the history.
type Switch struct {
	Generation int   // that production became
	First      bool  // for the first time
	Left       []int // what production was before
	Time       time.Time
	Grace      time.Duration // as it was recorded
	// Ended is when a gc, by a clock that was ahead, may have deleted what this
	// generation dropped; zero for never.
	Ended time.Time
}

// Windows are the ends of the grace windows that began with each switch.
type Windows struct {
	dropped  map[int]time.Time // of what generation n no longer had; see End
	recorded map[int]time.Time // the same, by the grace recorded at the switch alone
	retired  map[int]time.Time // of generation n itself
	known    []int             // the keys of dropped, sorted
}

// WindowsOf computes the end of each window: the longer of the grace recorded at
// the switch and the grace configured now. The switches are in the order of the
// history.
func WindowsOf(switches iter.Seq[Switch], grace time.Duration) Windows {
	w := Windows{dropped: map[int]time.Time{}, recorded: map[int]time.Time{}, retired: map[int]time.Time{}}
	for s := range switches {
		end := s.Time.Add(max(s.Grace, grace))
		if s.First {
			w.dropped[s.Generation], w.recorded[s.Generation] = end, s.Time.Add(s.Grace)
			if !s.Ended.IsZero() && s.Ended.Before(w.recorded[s.Generation]) {
				w.recorded[s.Generation] = s.Ended
			}
		}
		for _, n := range s.Left {
			w.retired[n] = end
		}
	}
	w.known = slices.Sorted(maps.Keys(w.dropped))
	return w
}

// End is when the window ends of what generation n dropped. If the history lost
// the line of n, the next that it knows came after it: a window that began with
// that one is too long rather than too short.
func (w Windows) End(n int) (time.Time, bool) {
	i, _ := slices.BinarySearch(w.known, n)
	if i == len(w.known) {
		return time.Time{}, false
	}
	return w.dropped[w.known[i]], true
}

// Open reports whether a path that generation n dropped must still be there.
func (w Windows) Open(n int, now time.Time) bool {
	end, ok := w.End(n)
	// Of a switch that history does not name nothing is known: keep.
	return !ok || now.Before(end)
}

// WasOver reports whether a gc, before the configured grace was raised, may have
// deleted what generation n dropped.
func (w Windows) WasOver(n int, now time.Time) bool {
	end, ok := w.recorded[n]
	return ok && !now.Before(end)
}

// Retired is when the window of generation n itself ends, which began when
// production left it.
func (w Windows) Retired(n int) (time.Time, bool) {
	end, ok := w.retired[n]
	return end, ok
}

// After are the windows as a switch will leave them that retires generation n,
// whose own window then ends at the time end.
func (w Windows) After(n int, end time.Time) Windows {
	w.retired = maps.Clone(w.retired)
	w.retired[n] = end
	return w
}
