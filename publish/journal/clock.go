package journal

import "time"

// correctTimes gives each line that says a later time than a later line of kind
// clock the time of that one: when it was really written, nothing tells; not
// after the clock was set right, that is sure.
//
// It returns the generations of whose switches a gc, by the wrong clock, may
// have deleted what they dropped, and when.
func correctTimes(events []Event) map[int]time.Time {
	clocks := 0
	for _, e := range events {
		if e.Kind == Clock {
			clocks++
		}
	}
	if clocks == 0 {
		return nil
	}
	written := make([]time.Time, len(events))
	var limit time.Time
	for i := len(events) - 1; i >= 0; i-- {
		e := &events[i]
		if written[i] = e.Time; !limit.IsZero() && e.Time.After(limit) {
			e.Time = limit
		}
		if e.Kind == Clock {
			limit = e.Time
		}
	}
	// What a gc knew: the times as they were written before it, corrected by
	// lines of kind clock before it.
	type window struct {
		generation int
		begin      time.Time
		grace      time.Duration
	}
	ended := map[int]time.Time{}
	var open []window
	for i, e := range events {
		switch {
		case e.Kind.Switch():
			open = append(open, window{e.Generation, written[i], time.Duration(e.Grace) * time.Second})
		case e.Kind == Clock:
			for k := range open {
				if open[k].begin.After(written[i]) {
					open[k].begin = written[i]
				}
			}
		case e.Kind == GC:
			still := open[:0]
			for _, w := range open {
				if written[i].Before(w.begin.Add(w.grace)) {
					still = append(still, w)
				} else if _, ok := ended[w.generation]; !ok {
					ended[w.generation] = e.Time
				}
			}
			open = still
		}
	}
	return ended
}
