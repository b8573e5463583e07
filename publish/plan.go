package publish

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"

	"example.com/publish/retention"
	"example.com/publish/stage"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/tree"
)

// Plan is what a prune does, with a reason for each line. It follows from
// staging's catalog, what is known of its files, the policy, the time and the
// orphans' ages, and from nothing else: computed again at its own time, it is
// the same. That is how a plan that was edited is told from one that was not.
type Plan struct {
	PlanHash      string               `json:"plan_hash"`       // over all the rest
	Repository    string               `json:"repository"`      // its id: see idPath
	Time          time.Time            `json:"time"`            // at which ages were judged, UTC
	Generation    int                  `json:"generation"`      // production; 0: none yet
	StagingTreeID string               `json:"staging_tree_id"` // of what a promote would publish before the prune
	Rules         []RetentionRule      `json:"rules"`
	Keep          []retention.Decision `json:"keep"`
	Remove        []retention.Decision `json:"remove"`
	Orphans       []Orphan             `json:"orphans"` // files that go
	Waiting       []Orphan             `json:"waiting"` // files that no index names and whose grace has not ended
	// BytesNow is what the orphans free at once: files that a generation
	// still holds by a hard link are not counted.
	BytesNow int64 `json:"bytes_now"`
	// BytesAfterGrace is what is freed beside it when all windows have ended:
	// the files that only removed versions name, and the orphans that are not
	// in BytesNow.
	BytesAfterGrace int64 `json:"bytes_after_grace"`
}

// Orphan is an item-like file of staging that no index names.
type Orphan struct {
	Path  string    `json:"path"`
	Bytes int64     `json:"bytes"`
	Since time.Time `json:"since"` // when publish first saw it unnamed, UTC
}

// maxPlan bounds what is read as a plan: a million versions fit.
const maxPlan = 512 << 20

// survey is what a plan is made from.
type survey struct {
	checked    *stage.Checked
	rules      []RetentionRule
	expires    map[catalog.Name]time.Time // by product and version; absent: never
	strays     []tree.Entry               // what no index names
	seen       firstSeen
	sure       bool // whether strays may go at all
	grace      time.Duration
	now        time.Time
	generation int
	repository string
}

// plan works out what a prune has to do. It opens no file and reads no clock.
func (sv *survey) plan() (*Plan, []retention.Unmatched) {
	p := &Plan{Repository: sv.repository, Time: sv.now.UTC(), Generation: sv.generation,
		StagingTreeID: tree.ID(sv.checked.Rows),
		Rules:         noNil(sv.rules), Orphans: []Orphan{}, Waiting: []Orphan{}}
	res := retention.Apply(sv.items(), policy(sv.rules), p.Time)
	p.Keep, p.Remove = res.Keep, res.Remove
	p.BytesAfterGrace = sv.only(p.removes())
	for _, e := range sv.strays {
		o := Orphan{Path: e.Path, Bytes: e.Stat.Size, Since: sv.seen.since(e, p.Time)}
		switch {
		case !sv.sure || p.Time.Before(o.Since.Add(sv.grace)) || young(e, p.Time, sv.grace):
			p.Waiting = append(p.Waiting, o)
			continue
		case e.Stat.Links > 1:
			p.BytesAfterGrace += o.Bytes
		default:
			p.BytesNow += o.Bytes
		}
		p.Orphans = append(p.Orphans, o)
	}
	p.PlanHash = p.hash()
	return p, res.Unmatched
}

// young reports whether a file was written to within the window. A time in the
// future tells nothing: the clock of who set it is not this one.
func young(e tree.Entry, now time.Time, window time.Duration) bool {
	age := now.UnixNano() - e.Stat.Mtime
	return age >= 0 && age < int64(window)
}

// items are the versions for the policy. A version is complete when nothing is
// wrong with any of its files.
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
		out = append(out, retention.Item{Product: v.Product, Version: v.Name, Rank: v.Rank, Time: v.Time,
			Complete: !bad[k], Skipped: v.Skipped != "",
			Expires: sv.expires[k], SupportEOL: v.SupportEOL, Bytes: bytes[k]})
		bytes[k] = 0 // of a version that two catalogs have, once
	}
	return out
}

// only adds up the files that nothing but dropped versions name.
func (sv *survey) only(drop func(catalog.Name) bool) (total int64) {
	items := sv.checked.Catalog.Items
	for len(items) > 0 {
		n := 1
		for n < len(items) && items[n].Path == items[0].Path {
			n++
		}
		if !slices.ContainsFunc(items[:n], func(i catalog.Item) bool { return !drop(i.Of()) }) {
			row, _ := sv.checked.Row(items[0].Path)
			total += row.Size
		}
		items = items[n:]
	}
	return total
}

// removes tells which versions the plan removes.
func (p *Plan) removes() func(catalog.Name) bool {
	gone := make(map[catalog.Name]bool, len(p.Remove))
	for _, d := range p.Remove {
		gone[catalog.Name{Group: d.Product, Version: d.Version}] = true
	}
	return func(n catalog.Name) bool { return gone[n] }
}

// hash is over everything but the hash itself.
func (p *Plan) hash() string {
	q := *p
	q.PlanHash = ""
	data, err := json.Marshal(q)
	if err != nil {
		return "" // no time has a year that JSON cannot carry: ReadPlan refuses those
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// Write writes the plan to a file, for somebody to read and for Apply. The
// file is replaced in one step, so it must not be a device or a link.
func (p *Plan) Write(path string) error {
	if fi, err := os.Lstat(path); err == nil && !fi.Mode().IsRegular() {
		return &Error{Kind: Usage, Path: path, Fact: "is not a regular file: no plan is written there"}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	if err := enc.Encode(p); err != nil {
		return err
	}
	return durable.WriteFile(path, b.Bytes(), 0o644)
}

const planHint = "publish prune --plan FILE writes a new one; nothing was pruned"

// ReadPlan reads a plan that Write wrote. One that was cut or edited is
// refused.
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
		return nil, bad("is no plan, or was cut or edited: %v", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, bad("has something behind the plan: it was edited")
	}
	if p.PlanHash == "" || p.PlanHash != p.hash() {
		return nil, bad("was edited, or is of another version of publish: its hash does not match")
	}
	return &p, nil
}

// fits reports, as a refusal, why a plan that was read can no longer be
// applied: now is what the same staging, rules and ages say at the plan's own
// time.
func (p *Plan) fits(now *Plan) error {
	moved := func(format string, args ...any) error { return refuse(planHint, format, args...) }
	switch {
	case p.Repository == "" || p.Repository != now.Repository:
		return moved("the plan is of another repository")
	case p.Generation != now.Generation:
		return moved("the plan was made when production was generation %d; it is generation %d now", p.Generation,
			now.Generation)
	case p.StagingTreeID != now.StagingTreeID:
		return moved("staging has changed since the plan was made")
	case !slices.EqualFunc(p.Rules, now.Rules, sameRule):
		return moved("the rules of retention in %s have changed since the plan was made", ConfigName)
	case !slices.EqualFunc(p.Remove, now.Remove, sameDecision) || !slices.EqualFunc(p.Keep, now.Keep, sameDecision):
		return moved("the plan is not what the rules say of staging: it was edited, or files have changed")
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
