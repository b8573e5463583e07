package publish

import (
	"fmt"
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
