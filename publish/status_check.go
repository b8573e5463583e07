package publish

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"example.com/publish/publish/journal"
	"github.com/dustin/go-humanize"
	"github.com/dustin/go-humanize/english"
)

// Thresholds are the limits that a check compares the measures with. A nil limit is
// not checked.
type Thresholds struct {
	MaxAge    *time.Duration // since the last promote that stayed
	MaxWait   *time.Duration // since staging or production changed, while they differ
	MinFree   *int64         // bytes
	MaxErrors *int64         // findings in staging that would stop a promote
	MaxLag    time.Duration  // since the oldest switch that a target does not have
	MaxQueue  *time.Duration // since the oldest job of the mirror that is due became so
}

// Check is the result of one check. Value and Limit are seconds, bytes or counts; for
// a yes-or-no question they are 1 or 0.
type Check struct {
	Name    string `json:"name"`
	OK      bool   `json:"ok"`
	Value   *int64 `json:"value"` // null: not known
	Limit   int64  `json:"limit"`
	Message string `json:"message"` // the fact, for people
}

// Check compares the measures with the thresholds. It always checks for an unfinished
// command, a clock behind the history, a failed health check and leftovers, because
// they are never right.
func (m *Measures) Check(t Thresholds) []Check {
	unfinished := "a command did not end: publish recover, or the next command, finishes it"
	switch {
	case len(m.Missing) > 0:
		unfinished = "the repository lost " + strings.Join(m.Missing, ", ") + ": publish recover makes that anew"
	case m.HistoryFlaw != "":
		unfinished = "in the history, " + m.HistoryFlaw + ": publish recover repairs it"
	case slices.Contains(m.LocksUnknown, "production"):
		unfinished = "a command is at work or did not end: only the owner of the repository can tell which"
	}
	out := []Check{
		yesOrNo("recovery", m.Unfinished, "nothing to recover", unfinished),
		yesOrNo("clock", m.ClockBehind, "the clock is sound",
			"the clock is behind the newest line of the history: nothing is deleted; "+ClockRemedy),
		yesOrNo("health", m.Production != nil && m.Production.Health == journal.HealthFailed, "production is healthy",
			"production failed its health check, and nobody has switched since"),
	}
	left := yesOrNo("leftovers", len(m.Leftovers) > 0, "nothing is left over", "")
	if n := len(m.Leftovers); n > 0 {
		left.Message = fmt.Sprintf("%s cannot be deleted: %s", english.Plural(n, "thing", ""), m.Leftovers[0])
		*left.Value = int64(n)
	}
	out = append(out, left)
	if m.Production != nil && (m.SignaturesDue || m.Production.Signatures != nil) {
		out = append(out, yesOrNo("signatures", m.SignaturesDue, "the signatures are good",
			"half of the time is over for which the signatures are good, or there are none: publish sign makes new ones"))
	}
	out = append(out, m.checkMirror(t.MaxQueue)...)
	out = append(out, m.checkTargets(t.MaxLag)...)
	if t.MaxAge != nil {
		// Only promotes count that stayed: a revert does not bring new content.
		c := Check{Name: "age", Limit: int64(*t.MaxAge / time.Second), Message: "nothing was promoted yet"}
		if m.LastPromote != nil {
			c.hold(m.Time.Sub(*m.LastPromote), *t.MaxAge, "the last promote was %s ago")
		}
		out = append(out, c)
	}
	if t.MaxWait != nil {
		c := Check{Name: "staged", OK: true, Value: new(int64), Limit: int64(*t.MaxWait / time.Second),
			Message: "nothing waits in staging"}
		switch {
		case m.Waiting == nil:
		case m.Hold != nil:
			c.Message = "promotes are held"
		default:
			c.hold(m.Time.Sub(*m.Waiting), *t.MaxWait,
				"staging differs from production, and nothing has changed for %s")
		}
		out = append(out, c)
	}
	if t.MinFree != nil {
		c := Check{Name: "free", Limit: *t.MinFree, Message: "the free space is unknown"}
		if m.FreeBytes >= 0 {
			c.Value, c.OK = &m.FreeBytes, m.FreeBytes >= *t.MinFree
			c.Message = fmt.Sprintf("%s are free%s", humanize.IBytes(uint64(m.FreeBytes)),
				beyond(c.OK, "less than "+humanize.IBytes(uint64(*t.MinFree))))
		}
		out = append(out, c)
	}
	if t.MaxErrors != nil {
		n := int64(m.Staging.Errors)
		ok := n <= *t.MaxErrors
		out = append(out, Check{Name: "errors", OK: ok, Value: &n, Limit: *t.MaxErrors,
			Message: fmt.Sprintf("staging has %s%s", english.Plural(int(n), "error", ""),
				beyond(ok, fmt.Sprintf("more than %d: publish validate lists them", *t.MaxErrors)))})
	}
	return out
}

// hold compares an age with its limit. text is a format with a verb for the age.
func (c *Check) hold(age, limit time.Duration, text string) {
	age = max(0, age)
	n := int64(age / time.Second)
	c.Value, c.OK = &n, age <= limit
	c.Message = fmt.Sprintf(text, rough(age)) + beyond(c.OK, "more than "+rough(limit))
}

func yesOrNo(name string, bad bool, good, ill string) Check {
	c := Check{Name: name, OK: !bad, Value: new(int64), Message: good}
	if bad {
		*c.Value, c.Message = 1, ill
	}
	return c
}

func beyond(ok bool, text string) string {
	if ok {
		return ""
	}
	return ", " + text
}

// rough formats a duration for people: a long one in days and hours.
func rough(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d >= 2*day && d%day < time.Hour:
		return fmt.Sprintf("%dd", d/day)
	case d >= 2*day:
		return fmt.Sprintf("%dd%dh", d/day, d%day/time.Hour)
	}
	return Duration(d.Truncate(time.Second)).String()
}
