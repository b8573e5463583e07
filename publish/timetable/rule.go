package timetable

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/adhocore/gronx"

	"example.com/publish/stage/lazyregexp"
)

// Rule says when something is done, as cron does.
type Rule struct {
	text string
	zone *time.Location
}

// errNever is for rules such as 0 0 31 2 *.
var errNever = errors.New("never fires: no date is like that")

// field is one of a rule, of cron's.
type field struct {
	name     string
	from, to int
	words    string // of three letters each, for from and on
}

var fields = []field{{"minute", 0, 59, ""}, {"hour", 0, 23, ""}, {"day", 1, 31, ""},
	{"month", 1, 12, "JANFEBMARAPRMAYJUNJULAUGSEPOCTNOVDEC"}, {"weekday", 0, 7, "SUNMONTUEWEDTHUFRISAT"}}

// part is what stands between two commas of a field.
var part = lazyregexp.New(`^(?:\*|([0-9]{1,4}|[A-Z]{3})(?:-([0-9]{1,4}|[A-Z]{3}))?)(?:/([0-9]{1,4}))?$`)

// maxRule is the most bytes of a rule.
const maxRule = 200

// ParseRule reads a rule of cron: minute, hour, day, month, weekday. Each is *, numbers,
// ranges, lists of those, or steps of * and of ranges, such as */15; months and weekdays
// may be words of three letters, and 7 is Sunday too. If day and weekday are both given,
// one of them is enough. What else a library may read, such as seconds, years or L, is
// refused. So is a rule that never fires.
func ParseRule(text, zone string) (Rule, error) {
	parts := strings.Fields(strings.ToUpper(text))
	if len(parts) != len(fields) || len(text) > maxRule {
		return Rule{}, fmt.Errorf("%q is no rule of cron such as 30 3 * * 1-5: minute, hour, day, month, weekday", text)
	}
	for i, f := range fields {
		for p := range strings.SplitSeq(parts[i], ",") {
			if !f.has(p) {
				return Rule{}, fmt.Errorf("%q: the %s %q is not from %d to %d, a range, a list, * or a step such as */2",
					text, f.name, strings.ToLower(p), f.from, f.to)
			}
		}
	}
	at, err := Zone(zone)
	if err != nil {
		return Rule{}, err
	}
	r := Rule{strings.Join(parts, " "), at}
	if _, ok := r.wall(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)); !ok {
		return Rule{}, fmt.Errorf("%q %w", text, errNever)
	}
	return r, nil
}

// has reports whether a part fits the field.
func (f field) has(text string) bool {
	m := part.FindStringSubmatch(text)
	if m == nil {
		return false
	}
	from, ok := f.number(m[1])
	to, ok2 := f.number(m[2])
	if m[1] != "" && (!ok || m[2] != "" && (!ok2 || to < from)) {
		return false
	}
	if m[3] == "" {
		return true
	}
	step, _ := strconv.Atoi(m[3])
	return step > 0 && step <= f.to && (m[1] == "" || m[2] != "")
}

// number reads a number or a word of the field.
func (f field) number(text string) (int, bool) {
	if at := strings.Index(f.words, text); text != "" && at >= 0 && at%3 == 0 {
		return f.from + at/3, true
	}
	n, err := strconv.Atoi(text)
	return n, err == nil && n >= f.from && n <= f.to
}

// Next returns the first time after t at which the rule fires; ok is false if there is
// none.
func (r Rule) Next(t time.Time) (next time.Time, ok bool) {
	// The library reckons with a wall clock that is never set, for which UTC stands. Its
	// own way over the changes of a zone ends in an error where midnight is skipped.
	local := t.In(r.zone)
	at := time.Date(local.Year(), local.Month(), local.Day(), local.Hour(), local.Minute(), local.Second(), 0, time.UTC)
	const most = 2 * 24 * 60 // a zone skips, or repeats, a day at most
	for range most {
		if at, ok = r.wall(at); !ok {
			return time.Time{}, false
		}
		if next, ok = r.instant(at); ok && next.After(t) {
			return next, true
		}
	}
	return time.Time{}, false
}

// wall is Next for a wall clock that is never set.
func (r Rule) wall(t time.Time) (time.Time, bool) {
	next, err := gronx.NextTickAfter(r.text, t, false)
	return next, err == nil && next.After(t)
}

// instant returns the first time at which the wall clock of the zone shows what at shows;
// ok is false if it never does.
func (r Rule) instant(at time.Time) (t time.Time, ok bool) {
	t = time.Date(at.Year(), at.Month(), at.Day(), at.Hour(), at.Minute(), 0, 0, r.zone)
	if t.Hour() != at.Hour() || t.Minute() != at.Minute() || t.Day() != at.Day() {
		return t, false
	}
	// It may have shown it before the zone changed last.
	if change, _ := t.ZoneBounds(); !change.IsZero() {
		_, now := t.Zone()
		_, before := change.Add(-time.Second).Zone()
		if first := t.Add(time.Duration(now-before) * time.Second); first.Before(change) && first.Before(t) {
			return first, true
		}
	}
	return t, true
}
