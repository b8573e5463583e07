package generation

import (
	"cmp"
	"iter"
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

// Windows are the ends of the grace windows that began with each switch. All
// lists are sorted by generation; a history may have 100,000 switches.
type Windows struct {
	dropped  []window // of what a generation no longer had; see End
	recorded []window // the same, by the grace recorded at the switch alone
	retired  []window // of a generation itself
}

type window struct {
	generation int
	end        time.Time
}

func byGeneration(w window, n int) int { return cmp.Compare(w.generation, n) }

// ends sets the end of the window of a generation. Most often that is a new one,
// or the newest.
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

// WindowsOf computes the end of each window: the longer of the grace recorded at
// the switch and the grace configured now. The switches are in the order of the
// history, and are asked for twice.
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

// End is when the window ends of what generation n dropped. If the history lost
// the line of n, the next that it knows came after it: a window that began with
// that one is too long rather than too short.
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
	// Of a switch that history does not name nothing is known: keep.
	return !ok || now.Before(end)
}

// WasOver reports whether a gc, before the configured grace was raised, may have
// deleted what generation n dropped.
func (w Windows) WasOver(n int, now time.Time) bool {
	end, ok := endOf(w.recorded, n)
	return ok && !now.Before(end)
}

// Retired is when the window of generation n itself ends, which began when
// production left it.
func (w Windows) Retired(n int) (time.Time, bool) { return endOf(w.retired, n) }

// After are the windows as a switch will leave them that retires generation n,
// whose own window then ends at the time end.
func (w Windows) After(n int, end time.Time) Windows {
	w.retired = ends(slices.Clone(w.retired), n, end)
	return w
}
