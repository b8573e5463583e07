package retention

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"example.com/publish/stage/glob"
)

// Policy is the list of rules; the first that matches a product decides. The
// zero Policy keeps everything.
type Policy struct {
	Rules []Rule
}

// Rule says what to keep of the products that Match matches. See the package's
// comment for what each keep means and how they combine.
type Rule struct {
	// Match is a glob over a whole product name, case-sensitive: * is any run
	// of characters, also : and /, so that debian:* matches
	// debian:12:default:amd64; ? is any one character, [a-z] one of a class,
	// [^a-z] one outside it, \ takes the next character as it is.
	Match string

	KeepLast    int           // versions; 0: not set
	KeepDaily   int           // days; 0: not set
	KeepWeekly  int           // ISO weeks; 0: not set
	KeepMonthly int           // months; 0: not set
	KeepWithin  time.Duration // 0: not set
	KeepAll     bool          // publish.yaml: keep: all

	RemoveExpired bool // publish.yaml: expired: remove

	// MinVersions is never undercut. nil, not written, means
	// DefaultMinVersions; only a written 0 lets every version go.
	MinVersions *int
}

// DefaultMinVersions is min_versions where a rule does not write it.
const DefaultMinVersions = 1

// Beyond these a number is taken for a slip: a million is a version an hour
// for a century, and no image is kept for longer. Names have minutes, so a
// shorter keep_within is most likely a number that lost its unit.
const (
	maxCount  = 1_000_000
	minWithin = time.Minute
	maxWithin = 100 * 366 * 24 * time.Hour
)

// RuleFor returns a function that returns the number of the rule for a product,
// counted from 1; 0: none. Two goroutines must not call it at once.
func (p Policy) RuleFor() func(product string) int {
	rs := newRules(p)
	return func(product string) int { return rs.find(product) + 1 }
}

// RuleError is what is wrong with one key of one rule.
type RuleError struct {
	Rule    int    // counted from 1
	Match   string // the rule's pattern
	Key     string // as in publish.yaml: match, keep, keep_last, ...
	Problem string
}

func (e *RuleError) Error() string {
	return fmt.Sprintf("%s: %s: %s", ruleName(e.Rule, e.Match), e.Key, e.Problem)
}

// ruleName names a rule for people; n counts from 1.
func ruleName(n int, match string) string { return fmt.Sprintf("rule %d (%s)", n, match) }

// Check reports everything that is wrong with the policy: the error joins a
// *RuleError for each problem, in the order of the rules. It is nil for a
// policy without rules.
func (p Policy) Check() error {
	var errs []error
	first := map[string]int{}
	for i, r := range p.Rules {
		bad := func(key, format string, args ...any) {
			errs = append(errs, &RuleError{Rule: i + 1, Match: r.Match, Key: key,
				Problem: fmt.Sprintf(format, args...)})
		}
		if problem := globProblem(r.Match); problem != "" {
			bad("match", "%s", problem)
		} else if n, ok := first[r.Match]; ok {
			bad("match", "rule %d has the same pattern and comes first", n)
		} else {
			first[r.Match] = i + 1
		}
		r.check(bad)
	}
	return errors.Join(errs...)
}

// check calls bad with each fault in a rule's values.
func (r Rule) check(bad func(key, format string, args ...any)) {
	count := func(key string, n int) {
		switch {
		case n < 0:
			bad(key, "%d is negative; to keep everything, write keep: all", n)
		case n > maxCount:
			bad(key, "%d is more than %d; to keep everything, write keep: all", n, maxCount)
		}
		if r.KeepAll && n != 0 && key != "min_versions" {
			bad("keep", "all contradicts %s: %d", key, n)
		}
	}
	count("keep_last", r.KeepLast)
	switch {
	case r.KeepWithin < 0:
		bad("keep_within", "%s is negative", r.KeepWithin)
	case r.KeepWithin > 0 && r.KeepWithin < minWithin:
		bad("keep_within", "%s is less than a minute: write a unit, such as 30d", r.KeepWithin)
	case r.KeepWithin > maxWithin:
		bad("keep_within", "%s is more than a hundred years; to keep everything, write keep: all",
			formatDays(r.KeepWithin))
	}
	if r.KeepAll && r.KeepWithin != 0 {
		bad("keep", "all contradicts keep_within: %s", formatDays(r.KeepWithin))
	}
	count("keep_daily", r.KeepDaily)
	count("keep_weekly", r.KeepWeekly)
	count("keep_monthly", r.KeepMonthly)
	if r.MinVersions != nil {
		count("min_versions", *r.MinVersions)
	}

	// Nothing but the default floor is most likely an unfinished rule, or
	// one that means to remove what has expired and to keep the rest.
	keeps := r.KeepAll || r.KeepLast != 0 || r.KeepWithin != 0 || r.KeepDaily != 0 || r.KeepWeekly != 0 ||
		r.KeepMonthly != 0
	switch {
	case keeps:
	case r.RemoveExpired:
		bad("expired",
			"the rule does not say what to keep of the versions that have not expired: add keep: all or one of keep_*")
	case r.MinVersions == nil:
		bad("keep", "the rule does not say what to keep: write keep: all, one of keep_*, or min_versions")
	}
}

func (r Rule) minVersions() int {
	if r.MinVersions == nil {
		return DefaultMinVersions
	}
	return *r.MinVersions
}

// noSlash makes path.Match, whose * and ? stop at a slash, take the slash for
// a character like any other: it does so with NUL, which stands for the slash
// on both sides.
func noSlash(s string) string { return strings.ReplaceAll(s, "/", "\x00") }

// globProblem returns what is wrong with a pattern, "" if nothing is.
func globProblem(pattern string) string {
	if pattern == "" {
		return "is empty; * matches every product"
	}
	if err := glob.CheckPart(pattern); err != nil {
		return fmt.Sprintf("%q %s", pattern, err)
	}
	return ""
}

// formatDays writes a duration in days where it is whole days, else in Go's
// units without zeros at the end: 30d, 36h, 1h30m.
func formatDays(d time.Duration) string {
	if d != 0 && d%(24*time.Hour) == 0 {
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
