package publish

import (
	"testing"
	"time"
)

func TestDistance(t *testing.T) {
	now := time.Date(2026, 1, 10, 12, 0, 0, 0, time.UTC)
	const day = 24 * time.Hour
	for d, want := range map[time.Duration]string{
		0:                              "now",
		-999 * time.Millisecond:        "now",
		time.Second:                    "in 1s",
		-59*time.Second - 1:            "59s ago",
		time.Minute:                    "in 1m",
		-time.Hour + 1:                 "59m ago",
		2 * time.Hour:                  "in 2h",
		2*time.Hour - time.Second:      "in 1h59m",
		118 * time.Minute:              "in 1h58m",
		-47*time.Hour - 30*time.Minute: "47h30m ago",
		-3*day - 23*time.Hour:          "3 days ago",
		99 * day:                       "in 99 days",
		-100 * day:                     "3 months ago",
		3 * 365 * day:                  "in 3 years",
		time.Duration(-1 << 63):        "292 years ago",
	} {
		if got := Distance(now, now.Add(d)); got != want {
			t.Errorf("%s: %q, want %q", d, got, want)
		}
	}
}
