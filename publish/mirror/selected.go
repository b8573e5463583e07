package mirror

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"example.com/publish/publish"
	"example.com/publish/publish/fault"
	"example.com/publish/stage"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/durable"
)

// A job of a catalog.Selector is about versions of products, which it selects anew at each
// attempt. Its digest is that of the selection; the selection itself, which may be large,
// has a file beside the queue, with the name of the job: .publish/mirror/selected/ID.json.
// That is written before the digest, so a job whose digest is another one than that of its
// file was killed in between: it runs, and selects again. The file goes when the job goes.

// selection is the file of a job.
type selection struct {
	Digest   string                   `json:"digest"`
	Versions []catalog.FetchedVersion `json:"versions"`
}

// maxSelection bounds that file, in bytes: names are those that a server chose.
const maxSelection = 16 << 20

// selector returns the upstream, if its names are patterns; else nil.
func (m *Mirror) selector() catalog.Selector {
	s, _ := m.Upstream.(catalog.Selector)
	return s
}

// selects reports whether jobs are about what was selected, and not about an image with a
// name. Who only looks has no upstream: the format says it too.
func (m *Mirror) selects() bool {
	_, named := catalog.As[catalog.Resolver](m.Repo.Stage.Format)
	return !named
}

func (m *Mirror) selectionOf(id string) string { return dir(m.Repo, "selected", id+".json") }

// request is what an upstream is asked for.
func (r *runner) request(c *Claimed, remote catalog.Remote, pin catalog.Pin) catalog.FetchRequest {
	j := c.Job()
	out := catalog.FetchRequest{Remote: remote, Pin: pin, Platforms: j.Platforms, Versions: j.Versions,
		Filters: j.Filters}
	if r.selector() != nil {
		out.Allow = r.Config.Allowed
		out.Check = r.lockCheck(c)
		out.Chosen = func(versions []catalog.FetchedVersion) error { return r.chosen(c, versions) }
	}
	return out
}

// chosen notes durably what a job is about now: the file first.
//
// Calls: those of durable.WriteFile for the selection, and those of Update.
func (r *runner) chosen(c *Claimed, versions []catalog.FetchedVersion) error {
	s := selection{catalog.SelectionDigest(versions).String(), versions}
	data, err := marshal(s)
	if err != nil {
		return err
	}
	if len(data) > maxSelection {
		return catalog.Failed(catalog.OverLimit, "", "the selection has %d versions, whose names are too long to keep",
			len(versions))
	}
	path := r.selectionOf(c.Job().ID)
	if err := durable.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := durable.SweepPending(path); err != nil { // of a runner of this job that died
		return err
	}
	if err := durable.WriteFile(path, data, 0o644); err != nil {
		return full(err)
	}
	c.Step(Copying)
	return c.Update(func(j *Job) {
		if j.Digest != s.Digest {
			j.Digest, j.MediaType, j.PinnedAt = s.Digest, "", r.Now()
		}
	})
}

// selected returns what a job selected last; nil if nobody knows that.
func (m *Mirror) selected(j Job) ([]catalog.FetchedVersion, error) {
	data, err := durable.ReadFile(m.selectionOf(j.ID), maxSelection)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var s selection
	if json.Unmarshal(data, &s) != nil || s.Digest != j.Digest ||
		catalog.SelectionDigest(s.Versions).String() != j.Digest {
		return nil, nil
	}
	return s.Versions, nil
}

// sweepSelected removes the selections of jobs that are not kept any more. A job has its
// file in the queue before it has one here.
func (m *Mirror) sweepSelected() error {
	list, err := os.ReadDir(dir(m.Repo, "selected"))
	if err != nil {
		return ignoreMissing(err)
	}
	var errs []error
	for _, e := range list {
		id, ok := jobID(strings.TrimLeft(e.Name(), "."))
		if hidden, rest, cut := strings.Cut(e.Name(), ".json"); cut && rest != "" && strings.HasPrefix(hidden, ".") {
			id, ok = hidden[1:], isID(hidden[1:]) // of a write that was killed
		}
		if !ok || !e.Type().IsRegular() {
			continue
		}
		if _, err := m.Queue.look(id); errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, ignoreMissing(os.Remove(dir(m.Repo, "selected", e.Name()))))
		}
	}
	return errors.Join(errs...)
}

// unite takes a tree into staging.
func (r *runner) unite(ctx context.Context, in *stage.Fetched) error {
	_, err := r.Repo.Unite(ctx, in, "mirror run")
	findings, document := new(stage.FindingsError), new(catalog.DocumentError)
	switch {
	case errors.As(err, &findings):
		// The upstream has read the tree alone: it is of the union with what staging has.
		bad := findings.Report.Errors()
		out := catalog.Failed(catalog.Conflict, "", "%s: %s", bad[0].Path, bad[0].Message)
		if n := len(bad) - 1; n > 0 {
			out = catalog.Failed(catalog.Conflict, "", "%s: %s (and %d more)", bad[0].Path, bad[0].Message, n)
		}
		out.Hint = "nothing was staged; publish stage list shows what staging has"
		return out
	case errors.As(err, &document):
		out := catalog.Failed(catalog.Internal, "", "%w", err)
		out.Hint = "publish validate staging says more"
		return out
	}
	return err
}

// leftOut is what a job says of what was not taken.
func leftOut(list []string) []string {
	if len(list) <= maxLeftOut {
		return list
	}
	n := len(list) - maxLeftOut + 1
	return append(slices.Clone(list[:maxLeftOut-1]), fmt.Sprintf("and %d more", n))
}

// liveHoldings is what production has, as it was read last.
type liveHoldings struct {
	mu   sync.Mutex
	last *publish.Holdings
}

// holdings returns what staging or production has; nil for production before the first
// promote.
func (m *Mirror) holdings(ctx context.Context, in string) (*publish.Holdings, error) {
	m.live.mu.Lock()
	defer m.live.mu.Unlock()
	old := m.live.last
	if in != "production" {
		old = nil
	}
	h, err := m.Repo.Holdings(ctx, in, old)
	if e := new(fault.Error); errors.As(err, &e) && e.Kind == fault.NotFound {
		return nil, nil
	}
	if err == nil && in == "production" {
		m.live.last = h
	}
	return h, err
}

// seeSelectedPublished is seePublished: a job is published when production has all versions
// that it selected, with all their files.
func (m *Mirror) seeSelectedPublished(ctx context.Context, jobs []Seen, staged []int) (left []int, err error) {
	for _, i := range staged {
		j := &jobs[i]
		versions, err := m.selected(j.Job)
		if err != nil {
			return nil, err
		}
		if versions == nil {
			continue
		}
		live, err := m.holdings(ctx, "production")
		if err != nil {
			return nil, err
		}
		if live == nil || !live.Have(versions) {
			left = append(left, i)
			continue
		}
		j.State, j.Address, j.Generation = Published, m.addressOf(j.Job), m.generation()
	}
	return left, nil
}

func (m *Mirror) seeSelectedGone(ctx context.Context, jobs []Seen, left []int) error {
	if len(left) == 0 {
		return nil
	}
	next, err := m.holdings(ctx, "staging") // once: it reads all documents
	if err != nil {
		return err
	}
	for _, i := range left {
		versions, err := m.selected(jobs[i].Job)
		if err != nil {
			return err
		}
		jobs[i].Gone = versions != nil && (next == nil || !next.Have(versions))
	}
	return nil
}

// pattern is what stands behind the # of a name.
func pattern(canonical string) string {
	_, after, _ := strings.Cut(canonical, "#")
	return after
}

// addressOf is where the image of a job is, or will be, by its name.
func (m *Mirror) addressOf(j Job) string {
	if !m.selects() {
		return m.at(m.NameOf(j.Canonical))
	}
	return m.within(pattern(j.Canonical))
}

// within is a part of the tree, as people write it: ADDRESS#PRODUCT/VERSION.
func (m *Mirror) within(name string) string {
	if m.Config.Address == "" {
		return name
	}
	return m.Config.Address + "#" + name
}

// maxPinned bounds how many versions PinnedAt names.
const maxPinned = 100

// pinnedSelected is PinnedAt: a line for each version; "" if the tree does not have all.
func (m *Mirror) pinnedSelected(ctx context.Context, j Job, in string) string {
	versions, err := m.selected(j)
	if err != nil || versions == nil {
		return ""
	}
	h, err := m.holdings(ctx, in)
	if err != nil || h == nil || !h.Have(versions) {
		return ""
	}
	var lines []string
	for _, v := range versions[:min(len(versions), maxPinned)] {
		lines = append(lines, m.within(v.Product+"/"+v.Version))
	}
	return strings.Join(lines, "\n")
}

// Addresses returns where production has what a name stands for: one place, or for a
// Selector one for each image of each version. The error is of kind NotFound if production
// has none.
func (m *Mirror) Addresses(ctx context.Context, reference string) ([]Place, error) {
	s := m.selector()
	if s == nil {
		p, err := m.Address(ctx, reference)
		if err != nil {
			return nil, err
		}
		return []Place{*p}, nil
	}
	r, err := s.Parse(reference)
	if err != nil {
		return nil, misused(err, "")
	}
	h, err := m.holdings(ctx, "production")
	if err != nil {
		return nil, err
	}
	var out []Place
	if h != nil {
		for _, i := range h.Images() {
			if i.Skipped != "" || !s.Match(r, i.Product, i.Version) {
				continue
			}
			name := i.Of().String()
			out = append(out, Place{Reference: reference, Name: name, Digest: i.Fingerprint, Type: i.Type,
				Aliases: i.Aliases, Address: m.within(i.Product), Pinned: m.within(name)})
		}
	}
	if len(out) == 0 {
		return nil, notPublished(pattern(r.Canonical))
	}
	return out, nil
}

func notPublished(name string) error {
	return &fault.Error{Kind: fault.NotFound, Path: name, Fact: "is not published",
		Hint: "publish mirror status shows where it is, and publish promote publishes what is staged"}
}

// sameSelection reports whether two jobs select by the same rules.
func sameSelection(a, b Want) bool {
	a.Locked, a.AcceptDrift, b.Locked, b.AcceptDrift = false, false, false, false
	return a.key() == b.key()
}

// checkSelecting reads what only a Selector knows.
func (m *Mirror) checkSelecting(w Wish) error {
	s := m.selector()
	switch {
	case w.Versions < 0:
		return &fault.Error{Kind: fault.Usage, Fact: fmt.Sprintf("--versions: %d is less than 1", w.Versions)}
	case s != nil:
		return misused(s.CheckFilters(w.Filters), "nothing was added")
	case w.Versions > 0 || len(w.Filters) > 0:
		return &fault.Error{Kind: fault.Usage, Fact: "images of format " + m.Kind + " have no versions to select from",
			Hint: "--versions and --filter are for servers whose images have versions; nothing was added"}
	}
	return nil
}
