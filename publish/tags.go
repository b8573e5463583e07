package publish

import (
	"cmp"
	"context"
	"fmt"
	"reflect"
	"strings"
	"time"

	"example.com/publish/retention"
	"example.com/publish/stage/catalog"
)

// tagSurvey has the inputs of a plan that only a format with tags has.
type tagSurvey struct {
	tagger catalog.Tagger
	rules  []TagRule
	read   []InventoryRead
	used   map[catalog.Name]string // where an inventory says that a tag is in use: file:line
	seen   *tagRecord
}

// row returns the row of a path. The files of tags are in no order, and there are very
// many: so it does not search.
func (sv *survey) row(path string) (at int, ok bool) {
	if sv.rows == nil {
		sv.rows = make(map[string]int32, len(sv.checked.Rows))
		for i := range sv.checked.Rows {
			sv.rows[sv.checked.Rows[i].Path] = int32(i)
		}
	}
	i, ok := sv.rows[path]
	return int(i), ok
}

// surveyTags reads the inputs that only a format with tags has; nil in another.
func (r *Repo) surveyTags(now time.Time) (*tagSurvey, *uses, error) {
	tagger, ok := catalog.As[catalog.Tagger](r.format)
	if !ok {
		return nil, nil, nil
	}
	t := &tagSurvey{tagger: tagger, rules: []TagRule{}}
	for _, rule := range r.Config.Tags {
		rule.Protect = noNil(rule.Protect)
		t.rules = append(t.rules, rule)
	}
	u, err := r.inventories(tagger, now)
	if err != nil {
		return nil, nil, err
	}
	t.seen, err = r.tagged().record()
	return t, u, err
}

// tagged returns the tags for the policy.
func (sv *survey) tagged(now time.Time) []retention.Tag {
	if sv.outline != nil {
		return sv.outlined(now)
	}
	c := sv.checked
	broken := map[string]bool{}
	for _, f := range c.Report.Findings {
		if f.Severity == catalog.Error && f.Path != "" {
			broken[f.Path] = true
		}
	}
	versions := make(map[catalog.Name]*catalog.Version, len(c.Catalog.Versions))
	for i := range c.Catalog.Versions {
		v := &c.Catalog.Versions[i]
		versions[v.Of()] = v
	}
	out := make([]retention.Tag, 0, len(c.Catalog.Images))
	for _, i := range c.Catalog.Images {
		t := retention.Tag{Repository: i.Product, Tag: i.Version, Ref: i.Ref, Digest: i.Fingerprint, Complete: true,
			Seen: sv.tags.seen.since(i.Of(), i.Fingerprint, now), Used: sv.tags.used[i.Of()]}
		if v := versions[i.Of()]; v != nil {
			t.Rank, t.Exempt = v.Rank, v.Exempt
		}
		for _, p := range i.Paths {
			at, ok := sv.row(p)
			if ok {
				t.Bytes += c.Rows[at].Size
			}
			t.Complete = t.Complete && ok && !(len(broken) > 0 && broken[p])
		}
		out = append(out, t)
	}
	return out
}

// onlyTags adds up the sizes of files that only dropped tags need.
func (sv *survey) onlyTags(drop func(catalog.Name) bool) int64 {
	if sv.outline != nil {
		return sv.onlyOutlined(drop)
	}
	const dropped, kept = 1, 2
	needed := make([]byte, len(sv.checked.Rows)) // by whom
	for _, i := range sv.checked.Catalog.Images {
		by := byte(kept)
		if drop(i.Of()) {
			by = dropped
		}
		for _, p := range i.Paths {
			if at, ok := sv.row(p); ok {
				needed[at] |= by
			}
		}
	}
	return sv.frees(func(at int) bool { return needed[at] == dropped })
}

// ByTags reports whether rules for tags decided.
func (p *Plan) ByTags() bool { return p.Tags != nil }

// fitsTags is fits for the decisions on tags. Inventories are written again and again:
// what counts is that nothing that goes is in use now.
func (p *Plan) fitsTags(now *Plan, moved func(format string, args ...any) error) error {
	at := func(d retention.Decision) catalog.Name { return catalog.Name{Group: d.Product, Version: d.Version} }
	goes := make(map[catalog.Name]retention.Decision, len(now.Remove))
	for _, d := range now.Remove {
		goes[at(d)] = d
	}
	stays := make(map[catalog.Name]retention.Decision, len(now.Keep))
	for _, d := range now.Keep {
		stays[at(d)] = d
	}
	for _, d := range p.Remove {
		if g, ok := goes[at(d)]; ok && reflect.DeepEqual(withoutRule(g), withoutRule(d)) {
			continue
		}
		if k, ok := stays[at(d)]; ok && strings.HasPrefix(k.Reasons[0], "in use: ") {
			return moved("%s: is %s, and the plan removes it", cmp.Or(k.Ref, at(d).String()), k.Reasons[0])
		}
		return moved("the plan does not follow from the rules and staging: it was edited, or files have changed")
	}
	if len(p.Keep)+len(p.Remove) != len(now.Keep)+len(now.Remove) {
		return moved("the plan does not have all tags of staging: it was edited")
	}
	return nil
}

func withoutRule(d retention.Decision) retention.Decision {
	d.Rule = 0 // a plan that was read does not have it
	return d
}

// firstTagged records, for each tag, what it stands for and since when.
type firstTagged map[catalog.Name]tagSighting

type tagSighting struct {
	since  time.Time // whole seconds, UTC
	digest string
}

// seeTags adds tags that are new to the record, so that their age does not begin only
// with the next prune. It is no reason to fail: then they are a little younger.
func (r *Repo) seeTags(ctx context.Context, s *state, images []catalog.Image) {
	if _, ok := catalog.As[catalog.Tagger](r.format); !ok || s.clockBehind() {
		return
	}
	add := func() *tagRecord {
		seen, err := r.tagged().record()
		if err != nil {
			return nil
		}
		return seen.with(images, s.now)
	}
	if add() == nil {
		return
	}
	unlock, err := r.Stage.Exclusive(ctx, "promote")
	if err != nil {
		return
	}
	defer unlock()
	if seen := add(); seen != nil {
		if err := r.tagged().replace(seen); err != nil {
			r.opt.Warn(fmt.Sprintf("%s: %v: the ages of new tags begin later", r.tagged(), err))
		}
	}
}

// tagFile is the path of the record of tags. Writing it needs the staging lock.
type tagFile string

func (r *Repo) tagged() tagFile { return tagFile(r.path(".publish", "tags")) }

// correct sets the time of tags that were first seen in the future to now.
func (file tagFile) correct(now time.Time) (n int, err error) {
	seen, err := file.read()
	if err != nil {
		return 0, err
	}
	for name, s := range seen {
		if s.since.After(now) {
			n++
			seen[name] = tagSighting{now.Truncate(time.Second), s.digest}
		}
	}
	if n > 0 {
		err = file.write(seen)
	}
	return n, err
}
