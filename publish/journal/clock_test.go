package journal

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

var epoch = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

// What a later line of kind clock says bounds all that is above it.
func TestCorrectTimes(t *testing.T) {
	at := func(hours int) time.Time { return epoch.Add(time.Duration(hours) * time.Hour) }
	line := func(kind Kind, hours int) Event { return Event{Kind: kind, Time: at(hours)} }
	for name, c := range map[string]struct {
		events []Event
		want   []int
	}{
		"none":        {[]Event{line(Promote, 9), line(Promote, 2)}, []int{9, 2}},
		"one":         {[]Event{line(Promote, 1), line(Hold, 90), line(Clock, 3), line(Promote, 4)}, []int{1, 3, 3, 4}},
		"ahead twice": {[]Event{line(Promote, 90), line(Clock, 3), line(Promote, 80), line(Clock, 5)}, []int{3, 3, 5, 5}},
		"wrong again": {[]Event{line(Promote, 90), line(Clock, 50), line(Promote, 51), line(Clock, 5)}, []int{5, 5, 5, 5}},
		"behind":      {[]Event{line(Promote, 90), line(Clock, 5), line(Promote, 91), line(Clock, 92)}, []int{5, 5, 91, 92}},
	} {
		correctTimes(c.events)
		var got []int
		for _, e := range c.events {
			got = append(got, int(e.Time.Sub(epoch)/time.Hour))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, not %v", name, got, c.want)
		}
	}
	if fmt.Sprint(correctTimes(nil)) != "map[]" {
		t.Error("nothing is something")
	}
}
