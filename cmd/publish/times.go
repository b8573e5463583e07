package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"time"

	"golang.org/x/term"
)

// isTerminal reports whether w is a terminal, so that a person reads it.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// moment is a time as scripts and pipes get it.
func moment(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// when is moment, on a terminal with the distance from now: people do not
// compute with UTC.
func (p *program) when(t time.Time) string {
	if !isTerminal(p.stdout) {
		return moment(t)
	}
	return moment(t) + " (" + distance(p.clock(), t) + ")"
}

// distance is how far t is from now: "in 1h58m", "3 days ago". It is rounded
// down, so that nobody counts on a window that has ended.
func distance(now, t time.Time) string {
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
