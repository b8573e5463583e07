package publish

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"reflect"
	"slices"
	"time"

	"example.com/publish/retention"
	"example.com/publish/stage"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// Plan is what a prune does, with a reason for each line. It depends only on staging's
// catalog, the recorded facts about its files, the policy, the time, and the orphans'
// ages. So it can be computed again for its own time, and the result is the same
// unless somebody edited the plan.
type Plan struct {
	PlanHash      string               `json:"plan_hash"`       // over all other fields
	Repository    string               `json:"repository"`      // its id: see idPath
	Time          time.Time            `json:"time"`            // ages are computed for this time, UTC
	Generation    int                  `json:"generation"`      // production; 0: none yet
	StagingTreeID string               `json:"staging_tree_id"` // what a promote would publish before the prune
	Rules         []RetentionRule      `json:"rules"`
	Tags          []TagRule            `json:"tags,omitempty"`   // those that decide instead, in a format with tags
	InUse         []InventoryRead      `json:"in_use,omitempty"` // likewise: what says which tags are in use
	Keep          []retention.Decision `json:"keep"`
	Remove        []retention.Decision `json:"remove"`
	Orphans       []Orphan             `json:"orphans"` // files to delete
	Waiting       []Orphan             `json:"waiting"` // unreferenced files, kept until their grace period ends
	// BytesNow is what deleting the orphans frees at once. Files that a generation
	// also has by a hard link are not counted.
	BytesNow int64 `json:"bytes_now"`
	// BytesAfterGrace is what is freed in addition when all windows have ended: what
	// only removed versions need, and the orphans not in BytesNow. A content that is
	// there under several paths counts once.
	BytesAfterGrace int64 `json:"bytes_after_grace"`
}

// Orphan is an item-like file of staging that no index names.
type Orphan struct {
	Path  string    `json:"path"`
	Bytes int64     `json:"bytes"`
	Since time.Time `json:"since"` // when publish first saw it unnamed, UTC
}

// maxPlan is the maximum size of a plan file, in bytes: enough for a million versions.
const maxPlan = 512 << 20

// survey has the inputs of a plan.
type survey struct {
	checked    *stage.Checked
	outline    *stage.Outlined // nil if each file was looked at: see checked
	rules      []RetentionRule
	expires    map[catalog.Name]time.Time // by product and version; absent: never
	strays     []tree.Entry               // files that no index names
	seen       firstSeen
	sure       bool // whether strays may be deleted at all
	grace      time.Duration
	now        time.Time
	generation int
	repository string
	format     catalog.Format
	tags       *tagSurvey // nil in a format without tags

	rows map[string]int32 // places of checked.Rows, by path: see row
}

// plan works out what a prune does. It opens no file and reads no clock.
func (sv *survey) plan() (*Plan, []retention.Unmatched) {
	p := &Plan{Repository: sv.repository, Time: sv.now.UTC(), Generation: sv.generation,
		StagingTreeID: sv.treeID(),
		Rules:         noNil(sv.rules), Orphans: []Orphan{}, Waiting: []Orphan{}}
	var res retention.Result
	if sv.tags == nil {
		res = retention.Apply(sv.items(), policy(sv.rules), p.Time)
	} else {
		p.Rules, p.Tags, p.InUse = []RetentionRule{}, sv.tags.rules, sv.tags.read
		res = retention.ApplyTags(sv.tagged(p.Time), tagPolicy(sv.tags.rules), p.Time)
	}
	p.Keep, p.Remove = res.Keep, res.Remove
	if sv.tags == nil {
		p.BytesAfterGrace = sv.only(p.removes())
	} else {
		p.BytesAfterGrace = sv.onlyTags(p.removes())
	}
	counted := map[uint64]bool{} // inodes with several names
	for _, e := range sv.strays {
		o := Orphan{Path: e.Path, Bytes: e.Stat.Size, Since: sv.seen.since(e, p.Time)}
		switch {
		case !sv.sure || p.Time.Before(o.Since.Add(sv.grace)) || young(e, p.Time, sv.grace):
			p.Waiting = append(p.Waiting, o)
			continue
		case counted[e.Stat.Ino]:
		case e.Stat.Links > 1:
			p.BytesAfterGrace += o.Bytes
			counted[e.Stat.Ino] = true
		default:
			p.BytesNow += o.Bytes
		}
		p.Orphans = append(p.Orphans, o)
	}
	p.PlanHash = p.hash()
	return p, res.Unmatched
}

func (sv *survey) treeID() string {
	if sv.outline != nil {
		return sv.outline.TreeID()
	}
	return tree.ID(sv.checked.Rows)
}

// young reports whether a file was written to within the window. A time in the future
// is ignored, because it comes from another clock.
func young(e tree.Entry, now time.Time, window time.Duration) bool {
	age := now.UnixNano() - e.Stat.Mtime
	return age >= 0 && age < int64(window)
}

// items returns the versions for the policy. A version is complete if none of its
// files has an error.
func (sv *survey) items() []retention.Item {
	c := sv.checked
	broken := map[string]bool{}
	for _, f := range c.Report.Findings {
		if f.Severity == catalog.Error && f.Path != "" {
			broken[f.Path] = true
		}
	}
	bytes, bad := map[catalog.Name]int64{}, map[catalog.Name]bool{}
	counted := ""
	var last catalog.Name
	for _, i := range c.Catalog.Items {
		k := i.Of()
		if i.Path != counted || k != last {
			row, ok := sv.checked.Row(i.Path)
			bytes[k] += row.Size
			bad[k] = bad[k] || !ok || broken[i.Path]
		}
		counted, last = i.Path, k
	}
	for _, p := range c.Report.BadPairs {
		bad[c.Catalog.Items[p.First].Of()] = true
	}
	out := make([]retention.Item, 0, len(c.Catalog.Versions))
	for _, v := range c.Catalog.Versions {
		k := v.Of()
		out = append(out, retention.Item{Product: v.Product, Version: v.Name, Ref: catalog.OwnRef(sv.format, v.Of()),
			Rank: v.Rank, Time: v.Time, Complete: !bad[k], Skipped: v.Skipped != "",
			Expires: sv.expires[k], SupportEOL: v.SupportEOL, Bytes: bytes[k]})
		bytes[k] = 0 // count a version that two catalogs have only once
	}
	return out
}

// only adds up the sizes of files that only dropped versions name.
func (sv *survey) only(drop func(catalog.Name) bool) int64 {
	gone := make([]bool, len(sv.checked.Rows))
	items := sv.checked.Catalog.Items
	for len(items) > 0 {
		n := 1
		for n < len(items) && items[n].Path == items[0].Path {
			n++
		}
		if !slices.ContainsFunc(items[:n], func(i catalog.Item) bool { return !drop(i.Of()) }) {
			if at, ok := tree.Search(sv.checked.Rows, items[0].Path); ok {
				gone[at] = true
			}
		}
		items = items[n:]
	}
	return sv.frees(func(at int) bool { return gone[at] })
}

// frees returns the size of the rows that go. A tree stores a content once: it counts
// once, and only if no row that stays has it.
func (sv *survey) frees(goes func(at int) bool) (total int64) {
	content := func(r tree.Row) string { return cmp.Or(r.SHA256, r.Path) }
	sizes := map[string]int64{}
	for at, r := range sv.checked.Rows {
		if goes(at) {
			sizes[content(r)] = r.Size
		}
	}
	for at, r := range sv.checked.Rows {
		if !goes(at) && r.Role == catalog.Content {
			delete(sizes, content(r))
		}
	}
	for _, size := range sizes {
		total += size
	}
	return total
}

// removes returns a function that reports whether the plan removes a version.
func (p *Plan) removes() func(catalog.Name) bool {
	gone := make(map[catalog.Name]bool, len(p.Remove))
	for _, d := range p.Remove {
		gone[catalog.Name{Group: d.Product, Version: d.Version}] = true
	}
	return func(n catalog.Name) bool { return gone[n] }
}

// hash is the hash over everything except the hash itself.
func (p *Plan) hash() string {
	q := *p
	q.PlanHash = ""
	sum := sha256.New()
	if err := q.encode(sum, planForm{escape: true}); err != nil {
		return "" // only a time beyond the year 9999 fails to marshal, and ReadPlan refuses it
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// Write writes the plan to a file, for people to read and for ReadPlan. It replaces
// the file in one step, so path must not be a device or a link.
func (p *Plan) Write(path string) error {
	if fi, err := os.Lstat(path); err == nil && !fi.Mode().IsRegular() {
		return &Error{Kind: Usage, Path: path, Fact: "is not a regular file: no plan is written there"}
	}
	return durable.WriteWith(path, 0o644, func(w io.Writer) error {
		if err := p.encode(w, planForm{indent: " "}); err != nil {
			return err
		}
		_, err := io.WriteString(w, "\n")
		return err
	})
}

const planHint = "publish prune --plan FILE writes a new one; nothing was pruned"

// ReadPlan reads a plan that Write wrote. A truncated or edited plan is refused.
func ReadPlan(path string) (*Plan, error) {
	f, err := durable.OpenNamed(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &Error{Kind: NotFound, Path: path, Fact: "there is no such plan", Hint: planHint}
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	bad := func(format string, args ...any) error {
		return &Error{Kind: Refused, Path: path, Fact: fmt.Sprintf(format, args...), Hint: planHint}
	}
	data, err := durable.ReadBounded(f, maxPlan)
	if err != nil {
		return nil, bad("cannot be read as a plan: %v", err)
	}
	var p Plan
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&p); err != nil {
		return nil, bad("is not a plan, or was truncated or edited: %v", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, bad("has text after the plan: it was edited")
	}
	if p.PlanHash == "" || p.PlanHash != p.hash() {
		return nil, bad("was edited, or was made by another version of publish: its hash does not match")
	}
	return &p, nil
}

// fits returns an error of kind Refused if a plan that was read can no longer be
// applied. now is the plan that the present staging, rules and ages give for the
// plan's own time.
func (p *Plan) fits(now *Plan) error {
	moved := func(format string, args ...any) error { return refuse(planHint, format, args...) }
	switch {
	case p.Repository == "" || p.Repository != now.Repository:
		return moved("the plan was made for another repository")
	case p.Generation != now.Generation:
		return moved("the plan was made when production was generation %d; it is generation %d now", p.Generation,
			now.Generation)
	case p.StagingTreeID != now.StagingTreeID:
		return moved("staging has changed since the plan was made")
	case !slices.EqualFunc(p.Rules, now.Rules, sameRule):
		return moved("the rules of retention in %s have changed since the plan was made", ConfigName)
	case !slices.EqualFunc(p.Tags, now.Tags, sameTagRule):
		return moved("the rules for tags in %s have changed since the plan was made", ConfigName)
	case p.ByTags() || now.ByTags():
		if err := p.fitsTags(now, moved); err != nil {
			return err
		}
	case !slices.EqualFunc(p.Remove, now.Remove, sameDecision) || !slices.EqualFunc(p.Keep, now.Keep, sameDecision):
		return moved("the plan does not follow from the rules and staging: it was edited, or files have changed")
	}
	due := make(map[string]Orphan, len(now.Orphans))
	for _, o := range now.Orphans {
		due[o.Path] = o
	}
	for _, o := range p.Orphans {
		if d, ok := due[o.Path]; !ok || d.Bytes != o.Bytes || !d.Since.Equal(o.Since) {
			return moved("%s: is gone, has changed or is named again since the plan was made", o.Path)
		}
	}
	return nil
}

func sameTagRule(a, b TagRule) bool { return reflect.DeepEqual(a, b) }

func sameRule(a, b RetentionRule) bool {
	min := func(c *Count) Count {
		if c == nil {
			return -1
		}
		return *c
	}
	am, bm := min(a.MinVersions), min(b.MinVersions)
	a.MinVersions, b.MinVersions = nil, nil
	return a == b && am == bm
}

func sameDecision(a, b retention.Decision) bool {
	return a.Product == b.Product && a.Version == b.Version && a.Bytes == b.Bytes && slices.Equal(a.Reasons, b.Reasons)
}
