package timetable

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// day is the time that a wall clock takes to come round.
const day = 24 * time.Hour

// Window is a part of each day.
type Window struct {
	from, to time.Duration // since midnight, from 0 to less than a day; to before from: over midnight
	zone     *time.Location
}

var errWindow = errors.New("is no window such as 01:00-07:00 Asia/Shanghai")

// ParseWindow reads a window: HH:MM-HH:MM ZONE. It may go over midnight; it may end at
// 24:00. Two equal times are refused: they could mean all of the day, or nothing.
func ParseWindow(text string) (Window, error) {
	fields := strings.Fields(text)
	if len(fields) != 2 {
		if len(fields) == 1 && strings.Count(text, "-") == 1 && strings.Contains(text, ":") {
			return Window{}, fmt.Errorf("%q has no time zone: write it as %s UTC", text, fields[0])
		}
		return Window{}, fmt.Errorf("%q %w", text, errWindow)
	}
	begin, end, _ := strings.Cut(fields[0], "-")
	from, ok := timeOfDay(begin)
	to, ok2 := timeOfDay(end)
	if !ok || !ok2 || from == day {
		return Window{}, fmt.Errorf("%q %w", text, errWindow)
	}
	if from == to%day {
		return Window{}, fmt.Errorf("%q begins and ends at the same time", text)
	}
	zone, err := Zone(fields[1])
	if err != nil {
		return Window{}, fmt.Errorf("%q: %w", text, err)
	}
	return Window{from, to % day, zone}, nil
}

// timeOfDay reads HH:MM, from 00:00 to 24:00.
func timeOfDay(text string) (time.Duration, bool) {
	if len(text) != 5 || text[2] != ':' {
		return 0, false
	}
	n := [2]int{}
	for i, c := range []byte(text[:2] + text[3:]) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n[i/2] = 10*n[i/2] + int(c-'0')
	}
	d := time.Duration(n[0])*time.Hour + time.Duration(n[1])*time.Minute
	return d, n[1] < 60 && d <= day
}

func (w Window) String() string {
	at := func(d time.Duration) string { return fmt.Sprintf("%02d:%02d", d/time.Hour, d%time.Hour/time.Minute) }
	return at(w.from) + "-" + at(w.to) + " " + w.zone.String()
}

// Open reports whether the window is open.
func (w Window) Open(t time.Time) bool {
	at := wall(t.In(w.zone))
	if w.from < w.to {
		return w.from <= at && at < w.to
	}
	return at >= w.from || at < w.to
}

// Next returns the first time from t on at which the window is open: t itself, if it is
// open then.
func (w Window) Next(t time.Time) time.Time {
	// Between two changes of the zone the wall clock runs evenly.
	const changes = 1000 // more than a zone has
	for range changes {
		if w.Open(t) {
			return t
		}
		t = t.In(w.zone)
		opens := t.Add((w.from - wall(t) + day) % day)
		_, change := t.ZoneBounds()
		if change.IsZero() || opens.Before(change) {
			return opens
		}
		t = change
	}
	return t
}

// wall is what the wall clock shows, since midnight.
func wall(t time.Time) time.Duration {
	h, m, s := t.Clock()
	return time.Duration(h)*time.Hour + time.Duration(m)*time.Minute + time.Duration(s)*time.Second +
		time.Duration(t.Nanosecond())
}
