package journal

import (
	"slices"
	"testing"
	"time"
)

var epoch = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

// A line of kind clock limits the times of all lines before it.
func TestCorrectTimes(t *testing.T) {
	at := func(hours int) time.Time { return epoch.Add(time.Duration(hours) * time.Hour) }
	line := func(kind Kind, hours int) Event {
		e := Event{Head: Head{Kind: kind, Time: at(hours)}}
		if kind.Switch() {
			e.Body = &Switch{}
		}
		return e
	}
	for name, c := range map[string]struct {
		events []Event
		want   []int // of the switches
		newest int
	}{
		"none": {[]Event{line(KindPromote, 9), line(KindPromote, 2)}, []int{9, 2}, 9},
		"one": {[]Event{line(KindPromote, 1), line(KindHold, 90), line(KindClock, 3), line(KindPromote, 4)},
			[]int{1, 4}, 4},
		"a hold": {[]Event{line(KindPromote, 1), line(KindHold, 90), line(KindClock, 3)}, []int{1}, 3},
		"ahead twice": {[]Event{line(KindPromote, 90), line(KindClock, 3), line(KindPromote, 80), line(KindClock, 5)},
			[]int{3, 5}, 5},
		"wrong again": {[]Event{line(KindPromote, 90), line(KindClock, 50), line(KindPromote, 51), line(KindClock, 5)},
			[]int{5, 5}, 5},
		"behind": {[]Event{line(KindPromote, 90), line(KindClock, 5), line(KindPromote, 91), line(KindClock, 92)},
			[]int{5, 91}, 92},
	} {
		h := Parse(nil)
		for _, e := range c.events {
			h.add(e)
		}
		var got []int
		for s := range h.Changes() {
			got = append(got, int(s.Time.Sub(epoch)/time.Hour))
		}
		if !slices.Equal(got, c.want) || !h.Newest().Equal(at(c.newest)) {
			t.Errorf("%s: %v, not %v; newest %s", name, got, c.want, h.Newest())
		}
		if hold, ok := h.Hold(); ok && hold.Time.After(h.Newest()) {
			t.Errorf("%s: held since %s", name, hold.Time)
		}
	}
}
