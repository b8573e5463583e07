package publish

import (
	"fmt"
	"math"
	"time"
)

// ParseMoment parses a time that a user gives to a filter: RFC 3339, a date (that day,
// UTC), or a duration before now. from and to are the first and the last instant of
// that time; they differ only for a date.
func ParseMoment(s string, now time.Time) (from, to time.Time, err error) {
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t.UTC(), t.UTC(), nil
	}
	if t, err := time.Parse(time.DateOnly, s); err == nil {
		return t, t.AddDate(0, 0, 1).Add(-time.Nanosecond), nil
	}
	if d, err := ParseDuration(s); err == nil {
		t := now.Add(-time.Duration(d)).UTC()
		return t, t, nil
	}
	return from, to, fmt.Errorf("%q is not a time such as 2026-01-31T12:00:00Z, 2026-01-31, or 7d for seven days ago",
		s)
}

// Distance is how far t is from now: "in 1h58m", "3 days ago". It is rounded
// down, so that nobody counts on a window that has ended.
func Distance(now, t time.Time) string {
	d := t.Sub(now)
	if d < 0 {
		d = -max(d, -math.MaxInt64) // Sub stops at the ends
	}
	const day = 24 * time.Hour
	var text string
	switch {
	case d < time.Second:
		return "now"
	case d < time.Minute:
		text = fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		text = fmt.Sprintf("%dm", d/time.Minute)
	case d < 2*day:
		text = fmt.Sprintf("%dh", d/time.Hour)
		if m := d % time.Hour / time.Minute; m > 0 {
			text += fmt.Sprintf("%dm", m)
		}
	case d < 100*day:
		text = fmt.Sprintf("%d days", d/day)
	case d < 730*day:
		text = fmt.Sprintf("%d months", d/(30*day))
	default:
		text = fmt.Sprintf("%d years", d/(365*day))
	}
	if t.After(now) {
		return "in " + text
	}
	return text + " ago"
}
