package retention

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"time"
)

// Apply decides on every version of items at the time now. It writes to none
// of its arguments. A policy that Check refuses keeps everything, with the
// reason "invalid policy".
func Apply(items []Item, p Policy, now time.Time) Result {
	res := Result{Keep: []Decision{}, Remove: []Decision{}, Unmatched: []Unmatched{}}
	valid := p.Check() == nil
	rules := newRules(p)
	for rest := merge(items); len(rest) > 0; {
		product := rest[0].Product
		n := slices.IndexFunc(rest, func(v *Item) bool { return v.Product != product })
		if n < 0 {
			n = len(rest)
		}
		versions := rest[:n]
		rest = rest[n:]

		i := -1
		if valid {
			i = rules.find(product)
		}
		var reasons [][]string
		switch {
		case !valid:
			reasons = same(versions, reasonInvalid)
		case i < 0:
			reasons = same(versions, reasonNoRule)
		default:
			reasons = p.Rules[i].keep(versions, now)
		}
		res.add(versions, reasons, p, i, now)
	}
	if valid {
		res.Unmatched = rules.unmatched()
	}
	return res
}

// add files each version under Keep, or under Remove where reasons has none.
func (res *Result) add(versions []*Item, reasons [][]string, p Policy, rule int, now time.Time) {
	notKept := ""
	if rule >= 0 {
		notKept = fmt.Sprintf(reasonNotKept, ruleName(rule+1, p.Rules[rule].Match))
	}
	for j, v := range versions {
		d := Decision{Product: v.Product, Version: v.Version, Ref: v.Ref, Reasons: reasons[j], Bytes: v.Bytes, Rule: rule + 1}
		if d.Reasons != nil {
			res.Keep = append(res.Keep, d)
			continue
		}
		if p.Rules[rule].RemoveExpired {
			d.Reasons = v.expired(now)
		}
		if v.Skipped {
			d.Reasons = append(d.Reasons, reasonSkipped)
		}
		d.Reasons = append(d.Reasons, notKept)
		res.Remove = append(res.Remove, d)
	}
}

// keep returns the reasons to keep each of one product's versions, which are
// sorted newest first; nil for those to remove.
func (r Rule) keep(versions []*Item, now time.Time) [][]string {
	reasons := make([][]string, len(versions))
	for i, v := range versions {
		if r.KeepAll && !r.gone(v, now) {
			reasons[i] = append(reasons[i], reasonAll)
		}
		if v.class() != never {
			continue
		}
		if !v.Complete {
			reasons[i] = append(reasons[i], reasonIncomplete)
		}
		if v.Time.IsZero() {
			reasons[i] = append(reasons[i], reasonUndated)
		}
	}
	text, numbers := orders(versions)
	r.count(versions, text, now, func(i int, reason string) { reasons[i] = append(reasons[i], reason) }, reasons)
	if numbers != nil {
		r.count(versions, numbers, now, func(i int, reason string) {
			if !slices.Contains(reasons[i], reason) {
				reasons[i] = append(reasons[i], fmt.Sprintf(reasonNumbers, reason))
			}
		}, reasons)
	}
	return reasons
}

// orders returns the places of versions, which are sorted by name, newest
// first: by the names as text and, where it differs, as numbers; else nil.
func orders(versions []*Item) (text, numbers []int) {
	text = make([]int, len(versions))
	for i := range text {
		text[i] = i
	}
	numbers = slices.Clone(text)
	slices.SortStableFunc(numbers, func(a, b int) int { return cmp.Compare(versions[b].Rank, versions[a].Rank) })
	if slices.Equal(text, numbers) {
		numbers = nil
	}
	return text, numbers
}

// The classes of versions: one of a lower class takes a place in the counts of
// its own class and of those above, and in no other.
const (
	never   = iota - 1 // is kept, and never counts
	listed             // clients list it
	skipped            // clients skip it
	undated            // clients skip it, and its name has no time
	classes = iota - 1
)

func (v *Item) class() int {
	switch {
	case v.Skipped && v.Time.IsZero():
		return undated
	case v.Skipped:
		return skipped
	case !v.Complete || v.Time.IsZero():
		return never
	}
	return listed
}

// gone reports whether the rule takes a version for expired.
func (r Rule) gone(v *Item, now time.Time) bool { return r.RemoveExpired && v.expired(now) != nil }

// tally is the counting of one class.
type tally struct {
	count         int   // of versions that have not expired
	live, expired []int // places of the newest, as many as min_versions needs
	periods       [3]period
}

// count calls because with each version that a keep wants, and the reason. The order is
// newest first. min_versions comes last, for versions that have no reason yet.
func (r Rule) count(
	versions []*Item, order []int, now time.Time, because func(i int, reason string), reasons [][]string,
) {
	var tallies [classes]tally
	for c := range tallies {
		tallies[c].periods = [3]period{
			{left: r.KeepDaily, reason: reasonDaily, name: dayName},
			{left: r.KeepWeekly, reason: reasonWeekly, name: weekName},
			{left: r.KeepMonthly, reason: reasonMonthly, name: monthName},
		}
	}
	for _, i := range order {
		v := versions[i]
		own := v.class()
		if own == never {
			continue
		}
		gone := r.gone(v, now)
		var names [len(tally{}.periods)]string // of the periods, each made once
		for c := own; c < classes; c++ {
			t := &tallies[c]
			if gone {
				t.expired = r.few(t.expired, i)
				continue
			}
			t.live = r.few(t.live, i)
			if t.count++; c == own && t.count <= r.KeepLast {
				because(i, fmt.Sprintf(reasonLast, r.KeepLast))
			}
			if v.Time.IsZero() {
				continue
			}
			if c == own && r.KeepWithin > 0 && !v.Time.Before(now.Add(-r.KeepWithin)) {
				because(i, fmt.Sprintf(reasonWithin, formatDays(r.KeepWithin)))
			}
			for k := range t.periods {
				p := &t.periods[k]
				if p.left > 0 && names[k] == "" {
					names[k] = p.name(v.Time.UTC())
				}
				if p.take(names[k]) && c == own {
					because(i, fmt.Sprintf(p.reason, names[k]))
				}
			}
		}
	}
	for c := range tallies {
		floor := slices.Concat(tallies[c].live, tallies[c].expired)
		for _, i := range floor[:min(r.minVersions(), len(floor))] {
			if reasons[i] != nil || versions[i].class() != c {
				continue
			}
			why := fmt.Sprintf(reasonMin, r.minVersions())
			if r.RemoveExpired {
				for _, e := range versions[i].expired(now) {
					why = fmt.Sprintf(reasonAlthough, why, e)
				}
			}
			because(i, why)
		}
	}
}

// A period hands out the first version of each of a number of days, weeks or
// months.
type period struct {
	left   int // how many more
	reason string
	name   func(time.Time) string
	seen   map[string]bool
}

// take reports whether a version in the period of this name is the first of it,
// and one of the periods that are still to be had.
func (p *period) take(name string) bool {
	if p.left == 0 || p.seen[name] {
		return false
	}
	if p.seen == nil {
		p.seen = map[string]bool{}
	}
	p.seen[name] = true
	p.left--
	return true
}

// few adds a place to those that min_versions can take.
func (r Rule) few(places []int, i int) []int {
	if len(places) < r.minVersions() {
		places = append(places, i)
	}
	return places
}

func dayName(t time.Time) string   { return t.Format(time.DateOnly) }
func monthName(t time.Time) string { return t.Format("2006-01") }
func weekName(t time.Time) string {
	year, week := t.ISOWeek()
	return fmt.Sprintf("%04d-W%02d", year, week)
}

// expired returns why a version has expired, nil when it has not. An expiry is
// an instant; the end of support is a day, and the product is supported until
// that day ends in UTC.
func (v *Item) expired(now time.Time) (reasons []string) {
	if !v.Expires.IsZero() && !now.Before(v.Expires) {
		reasons = append(reasons, fmt.Sprintf(reasonExpired, dayName(v.Expires.UTC())))
	}
	if !v.SupportEOL.IsZero() {
		year, month, day := v.SupportEOL.UTC().Date()
		if !now.Before(time.Date(year, month, day+1, 0, 0, 0, 0, time.UTC)) {
			reasons = append(reasons, fmt.Sprintf(reasonUnsupport, dayName(v.SupportEOL.UTC())))
		}
	}
	return reasons
}

// merge returns the versions that items describe, by product, then newest
// first, each once.
func merge(items []Item) []*Item {
	sorted := make([]*Item, len(items))
	for i := range items {
		sorted[i] = &items[i]
	}
	slices.SortFunc(sorted, func(a, b *Item) int {
		return cmp.Or(cmp.Compare(a.Product, b.Product), cmp.Compare(b.Version, a.Version))
	})
	versions := sorted[:0]
	for _, v := range sorted {
		last := len(versions) - 1
		if last < 0 || versions[last].Product != v.Product || versions[last].Version != v.Version {
			versions = append(versions, v)
			continue
		}
		both := *versions[last]
		both.Time = laterOrZero(both.Time, v.Time)
		both.Complete = both.Complete && v.Complete
		both.Skipped = both.Skipped && v.Skipped
		both.Rank = max(both.Rank, v.Rank)
		both.Expires = laterOrZero(both.Expires, v.Expires)
		both.SupportEOL = laterOrZero(both.SupportEOL, v.SupportEOL)
		both.Bytes += v.Bytes
		versions[last] = &both
	}
	return versions
}

// laterOrZero is the later time, or zero, which keeps for longer than any.
func laterOrZero(a, b time.Time) time.Time {
	switch {
	case a.IsZero() || b.IsZero():
		return time.Time{}
	case a.Before(b):
		return b
	}
	return a
}

func same(versions []*Item, reason string) [][]string {
	reasons := make([][]string, len(versions))
	for i := range reasons {
		reasons[i] = []string{reason}
	}
	return reasons
}

// rules finds the rule for a product, and remembers which were of use.
type rules struct {
	policy   Policy
	globs    []string
	used     []bool
	shadowed []bool
}

func newRules(p Policy) *rules {
	rs := &rules{policy: p, used: make([]bool, len(p.Rules)), shadowed: make([]bool, len(p.Rules))}
	for _, r := range p.Rules {
		rs.globs = append(rs.globs, noSlash(r.Match))
	}
	return rs
}

// find returns the index of the first rule that matches, -1 for none.
func (rs *rules) find(product string) int {
	product = noSlash(product)
	found := -1
	for i, glob := range rs.globs {
		if found >= 0 && (rs.used[i] || rs.shadowed[i]) {
			continue // nothing more to learn of it
		}
		if ok, _ := path.Match(glob, product); !ok {
			continue
		}
		if found < 0 {
			found = i
			rs.used[i] = true
		} else {
			rs.shadowed[i] = true
		}
	}
	return found
}

func (rs *rules) unmatched() []Unmatched {
	out := []Unmatched{}
	for i, used := range rs.used {
		if !used {
			out = append(out, Unmatched{Rule: i + 1, Match: rs.policy.Rules[i].Match, Shadowed: rs.shadowed[i]})
		}
	}
	return out
}
