package retention

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"example.com/publish/stage/glob"
)

// Tag is a name in a repository that may move, and what it stands for.
type Tag struct {
	Repository string
	Tag        string    // "@" and a digest for an image without a tag
	Ref        string    // what people write
	Digest     string    // what it stands for
	Seen       time.Time // when this tag was first seen on this digest
	Rank       int       // its place among tags that were first seen at the same time; the newest has the highest
	Complete   bool      // every file is there and right
	Exempt     string    // why no rule decides on it; "" where one may
	Used       string    // where somebody says that it is in use; "" where nobody does
	Bytes      int64     // what its files take
}

// TagPolicy is the list of rules for tags. The first rule that matches a tag and its
// repository decides on the tag. The zero TagPolicy keeps everything.
//
// Within a rule the keeps are a union: keep_last, older_than and protect. keep_last
// counts in each repository the tags on which the rule decides. The newest tag is
// the one that was first seen on its digest last: a tag tells no time, and a tag
// that has moved is new. A tag that is in use stays whatever the rules say, and takes
// its place in the counts like any other. An incomplete tag stays and takes no place:
// see the package's comment on versions. Nor does an exempt tag.
//
// An image without a tag is decided on only by a rule whose pattern begins with @.
// A rule for all tags would otherwise count it among them.
type TagPolicy struct {
	Rules []TagRule
}

// TagRule says what to keep of the tags that it matches.
type TagRule struct {
	// Repository is a glob: between slashes * is any run of characters, ? any one,
	// [a-z] one of a class; ** stands alone between slashes for any number of parts.
	Repository string
	// Tag is a regular expression (RE2) that matches the whole tag.
	Tag       string
	KeepLast  int           // tags; 0: not set
	OlderThan time.Duration // younger tags stay; 0: not set
	Protect   []string      // regular expressions like Tag; what one of them matches stays
}

// name is what messages call a rule after its number.
func (r TagRule) name() string { return r.Repository + ", " + r.Tag }

// Beyond the reasons of versions: the same promise holds.
const (
	reasonUsed      = "in use: %s"          // file:line
	reasonYounger   = "younger than %s"     // older_than as written
	reasonProtected = "protected by %s"     // the pattern
	reasonExempt    = "no rule decides: %s" // why
)

// Check reports everything that is wrong with the policy: the error joins a
// *RuleError for each problem, in the order of the rules.
func (p TagPolicy) Check() error {
	var errs []error
	first := map[string]int{}
	for i, r := range p.Rules {
		bad := func(key, format string, args ...any) {
			errs = append(errs, &RuleError{Rule: i + 1, Match: r.name(), Key: key, Problem: fmt.Sprintf(format, args...)})
		}
		if _, err := parseRepository(r.Repository); err != nil {
			bad("repository", "%s", err)
		}
		if r.Tag == "" {
			bad("tag", "is empty; .* matches every tag")
		} else if _, err := anchored(r.Tag); err != nil {
			bad("tag", "%s", err)
		} else if n, ok := first[r.name()]; ok {
			bad("tag", "rule %d has the same patterns and comes first", n)
		} else {
			first[r.name()] = i + 1
		}
		for _, pattern := range r.Protect {
			if _, err := anchored(pattern); err != nil {
				bad("protect", "%s", err)
			} else if pattern == "" {
				bad("protect", "a pattern is empty: it protects no tag")
			}
		}
		const all = "to keep everything, write protect: [\".*\"]"
		switch {
		case r.KeepLast < 0:
			bad("keep_last", "%d is negative; %s", r.KeepLast, all)
		case r.KeepLast > maxCount:
			bad("keep_last", "%d is more than %d; %s", r.KeepLast, maxCount, all)
		}
		switch {
		case r.OlderThan < 0:
			bad("older_than", "%s is negative", r.OlderThan)
		case r.OlderThan > 0 && r.OlderThan < minWithin:
			bad("older_than", "%s is less than a minute: write a unit, such as 14d", r.OlderThan)
		case r.OlderThan > maxWithin:
			bad("older_than", "%s is more than a hundred years; %s", formatDays(r.OlderThan), all)
		}
		if r.KeepLast == 0 && r.OlderThan == 0 && len(r.Protect) == 0 {
			bad("keep_last", "the rule keeps nothing: write keep_last (1 or more), older_than (a minute or more) or protect")
		}
	}
	return errors.Join(errs...)
}

// anchored compiles a pattern that matches a whole tag.
func anchored(pattern string) (*regexp.Regexp, error) {
	if _, err := regexp.Compile(pattern); err != nil { // without the anchors, which messages would show
		return nil, errors.New(strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
	return regexp.Compile(`\A(?:` + pattern + `)\z`)
}

// parseRepository reads a glob of repositories.
func parseRepository(text string) (glob.Pattern, error) {
	if text == "" {
		return nil, errors.New("is empty; ** matches every repository")
	}
	p, err := glob.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%q %w", text, err)
	}
	return p, nil
}

// tagRule is a TagRule that was compiled.
type tagRule struct {
	TagRule
	glob     glob.Pattern // the repository
	tag      *regexp.Regexp
	protect  []*regexp.Regexp
	untagged bool // it decides on images without a tag, and on no others
	used     bool // it decided on a tag
	shadowed bool // it matched one that an earlier rule had taken

	// Reasons that nearly all tags share: each has room for no other.
	last, younger, notKept []string
}

func (p TagPolicy) compile() (rules []*tagRule) {
	for _, r := range p.Rules {
		c := &tagRule{TagRule: r, untagged: strings.HasPrefix(r.Tag, "@"),
			last:    []string{fmt.Sprintf(reasonLast, r.KeepLast)},
			younger: []string{fmt.Sprintf(reasonYounger, formatDays(r.OlderThan))},
			notKept: []string{fmt.Sprintf(reasonNotKept, ruleName(len(rules)+1, r.name()))}}
		c.glob, _ = glob.Parse(r.Repository) // Check has refused others
		c.tag, _ = anchored(r.Tag)
		for _, pattern := range r.Protect {
			re, _ := anchored(pattern)
			c.protect = append(c.protect, re)
		}
		rules = append(rules, c)
	}
	return rules
}

// ApplyTags decides on every tag at the time now. It writes to none of its
// arguments. A policy that Check refuses keeps everything, with the reason "invalid
// policy". Version in a [Decision] is the tag, and Product the repository.
func ApplyTags(tags []Tag, p TagPolicy, now time.Time) Result {
	res := Result{Keep: make([]Decision, 0, len(tags)), Remove: []Decision{}, Unmatched: []Unmatched{}}
	valid := p.Check() == nil
	var rules []*tagRule
	if valid {
		rules = p.compile()
	}
	sorted := make([]*Tag, len(tags))
	for i := range tags {
		sorted[i] = &tags[i]
	}
	slices.SortFunc(sorted, func(a, b *Tag) int {
		return cmp.Or(cmp.Compare(a.Repository, b.Repository), b.Seen.Compare(a.Seen), cmp.Compare(b.Rank, a.Rank),
			cmp.Compare(b.Tag, a.Tag))
	})
	for len(sorted) > 0 {
		n := slices.IndexFunc(sorted, func(t *Tag) bool { return t.Repository != sorted[0].Repository })
		if n < 0 {
			n = len(sorted)
		}
		here := candidates(rules, sorted[0].Repository)
		counts := make([]int, len(p.Rules))
		for _, t := range sorted[:n] {
			res.decide(t, here, counts, valid, now)
		}
		sorted = sorted[n:]
	}
	for i, r := range rules {
		if !r.used {
			res.Unmatched = append(res.Unmatched, Unmatched{Rule: i + 1, Match: r.name(), Shadowed: r.shadowed})
		}
	}
	return res
}

// candidates are the rules for a repository; nil in the place of each other one.
func candidates(rules []*tagRule, repository string) []*tagRule {
	parts := strings.Split(repository, "/")
	out := make([]*tagRule, len(rules))
	for i, r := range rules {
		if r.glob.Match(parts) {
			out[i] = r
		}
	}
	return out
}

// decide files a tag under Keep or Remove. counts has for each rule how many tags of
// the repository it has counted.
func (res *Result) decide(t *Tag, rules []*tagRule, counts []int, valid bool, now time.Time) {
	d := Decision{Product: t.Repository, Version: t.Tag, Ref: t.Ref, Digest: t.Digest, Bytes: t.Bytes}
	keep := func(format string, args ...any) { d.Reasons = append(d.Reasons, fmt.Sprintf(format, args...)) }
	because := func(reason []string) {
		if d.Reasons == nil {
			d.Reasons = slices.Clip(reason)
		} else {
			d.Reasons = append(d.Reasons, reason...)
		}
	}
	if t.Used != "" {
		keep(reasonUsed, t.Used)
	}
	at := -1
	switch {
	case !valid:
		keep(reasonInvalid)
	case t.Exempt != "":
		keep(reasonExempt, t.Exempt)
	default:
		if at = find(rules, t.Tag); at < 0 {
			keep(reasonNoRule)
		}
	}
	if at >= 0 {
		r := rules[at]
		d.Rule = at + 1
		if !t.Complete {
			keep(reasonIncomplete)
		} else if counts[at]++; counts[at] <= r.KeepLast {
			because(r.last)
		}
		if r.OlderThan > 0 && !t.Seen.Before(now.Add(-r.OlderThan)) {
			because(r.younger)
		}
		for i, re := range r.protect {
			if re.MatchString(t.Tag) {
				keep(reasonProtected, r.Protect[i])
				break
			}
		}
		if d.Reasons == nil {
			because(r.notKept)
			res.Remove = append(res.Remove, d)
			return
		}
	}
	res.Keep = append(res.Keep, d)
}

// find returns the place of the first rule that matches a tag, -1 for none.
func find(rules []*tagRule, tag string) int {
	found := -1
	for i, r := range rules {
		if r == nil || r.untagged != strings.HasPrefix(tag, "@") || found >= 0 && (r.used || r.shadowed) ||
			!r.tag.MatchString(tag) {
			continue
		}
		if found < 0 {
			found = i
			r.used = true
		} else {
			r.shadowed = true
		}
	}
	return found
}
