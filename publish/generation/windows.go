package generation

import (
	"cmp"
	"iter"
	"slices"
	"time"
)

// Switch is a switch in the history, with what is needed to compute windows.
type Switch struct {
	Generation int   // the new production
	First      bool  // the first switch to Generation
	Left       []int // the generations that it retired
	Time       time.Time
	Grace      time.Duration // as recorded
	// Ended is the time of a gc that may have deleted what Generation dropped,
	// because its clock was ahead; zero for none.
	Ended time.Time
}

// Windows has the ends of the grace windows that each switch began. The lists are
// sorted by generation, for binary search: a history may have 100,000 switches.
type Windows struct {
	dropped  []window // for the paths that a generation dropped; see End
	recorded []window // the same, computed only with the grace recorded at the switch
	retired  []window // for the generations themselves
}

type window struct {
	generation int
	end        time.Time
}

func byGeneration(w window, n int) int { return cmp.Compare(w.generation, n) }

// ends sets the end of the window of a generation. The generation is usually the
// last in the list or comes after it, so that case is fast.
func ends(list []window, n int, end time.Time) []window {
	if len(list) == 0 || list[len(list)-1].generation < n {
		return append(list, window{n, end})
	}
	i, there := slices.BinarySearchFunc(list, n, byGeneration)
	if !there {
		return slices.Insert(list, i, window{n, end})
	}
	list[i].end = end
	return list
}

func endOf(list []window, n int) (time.Time, bool) {
	i, ok := slices.BinarySearchFunc(list, n, byGeneration)
	if !ok {
		return time.Time{}, false
	}
	return list[i].end, true
}

// WindowsOf computes the windows. A window lasts for the grace recorded at its
// switch, or for the configured grace if that is longer. switches yields in the
// order of the history, and is iterated twice.
func WindowsOf(switches iter.Seq[Switch], grace time.Duration) Windows {
	n := 0
	for range switches {
		n++
	}
	w := Windows{dropped: make([]window, 0, n), recorded: make([]window, 0, n), retired: make([]window, 0, n)}
	for s := range switches {
		end, recorded := s.Time.Add(max(s.Grace, grace)), s.Time.Add(s.Grace)
		if s.First {
			if !s.Ended.IsZero() && s.Ended.Before(recorded) {
				recorded = s.Ended
			}
			w.dropped, w.recorded = ends(w.dropped, s.Generation, end), ends(w.recorded, s.Generation, recorded)
		}
		for _, n := range s.Left {
			w.retired = ends(w.retired, n, end)
		}
	}
	return w
}

// End returns the end of the window for the paths that generation n dropped. If
// the history lost the line of n, it returns the end for the next generation,
// which is later. So a window is at worst too long.
func (w Windows) End(n int) (time.Time, bool) {
	i, _ := slices.BinarySearchFunc(w.dropped, n, byGeneration)
	if i == len(w.dropped) {
		return time.Time{}, false
	}
	return w.dropped[i].end, true
}

// Open reports whether a path that generation n dropped must still be there.
func (w Windows) Open(n int, now time.Time) bool {
	end, ok := w.End(n)
	// If the history does not tell when the window began, keep the path.
	return !ok || now.Before(end)
}

// WasOver reports whether a gc may have deleted what generation n dropped, before
// the configured grace was raised.
func (w Windows) WasOver(n int, now time.Time) bool {
	end, ok := endOf(w.recorded, n)
	return ok && !now.Before(end)
}

// Retired returns the end of the window of generation n itself, which began when
// another generation replaced it.
func (w Windows) Retired(n int) (time.Time, bool) { return endOf(w.retired, n) }

// After returns the windows after a switch that retires generation n, whose own
// window then ends at the time end.
func (w Windows) After(n int, end time.Time) Windows {
	w.retired = ends(slices.Clone(w.retired), n, end)
	return w
}
