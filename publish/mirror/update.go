package mirror

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"example.com/publish/publish/fault"
	"example.com/publish/publish/mirror/pins"
	"example.com/publish/stage/catalog"
)

// Drift is a name, or a version of a product of it, that stands for something else than
// the lock file has.
type Drift struct {
	Canonical string `json:"canonical"`
	Product   string `json:"product,omitempty"` // of an image with versions
	Version   string `json:"version,omitempty"`
	From      string `json:"from"` // a digest
	To        string `json:"to"`
	ID        string `json:"id,omitempty"` // of the job that follows

	entry pins.Entry
}

// Survey is what servers say about the lock file.
type Survey struct {
	Drifted []Drift // in the order of the lock file
	Asked   int     // names
	Failed  []error // of names that could not be asked, with the name first
}

// asksAtOnce is how many names are asked for at once. An upstream spares its servers.
const asksAtOnce = 8

// Survey asks servers what locked names stand for now: those of references, or all for
// none. A name with a digest stands for that, and is not asked for. The error is of kind
// NotFound for a reference that the lock file does not have; then nobody was asked.
func (m *Mirror) Survey(ctx context.Context, references ...string) (*Survey, error) {
	set, err := m.Pins.Load()
	if err != nil {
		return nil, err
	}
	entries := set.All()
	if len(references) > 0 {
		entries = nil
		seen := map[string]bool{}
		for _, text := range references {
			e, err := m.lockedEntry(set, text)
			if err != nil {
				return nil, err
			}
			if !seen[e.Canonical] {
				seen[e.Canonical] = true
				entries = append(entries, e)
			}
		}
	}
	out := &Survey{}
	found := make([][]Drift, len(entries))
	failed := make([]error, len(entries))
	var mu sync.Mutex
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(asksAtOnce)
	for i, e := range entries {
		if _, byDigest := e.Base(); byDigest {
			continue
		}
		g.Go(func() error {
			if err := gctx.Err(); err != nil {
				return err
			}
			mu.Lock()
			out.Asked++
			mu.Unlock()
			found[i], failed[i] = m.driftOf(gctx, e)
			return nil
		})
	}
	if err := errors.Join(g.Wait(), ctx.Err()); err != nil {
		return nil, ctx.Err()
	}
	for i := range entries {
		out.Drifted = append(out.Drifted, found[i]...)
		if err := failed[i]; err != nil {
			out.Failed = append(out.Failed, err)
		}
	}
	return out, nil
}

// lockedEntry returns the entry of what a person wrote.
func (m *Mirror) lockedEntry(set *pins.Set, text string) (pins.Entry, error) {
	r, err := m.Upstream.Parse(text)
	if err != nil {
		return pins.Entry{}, misused(err, "")
	}
	e, ok := set.Find(r.Canonical)
	if !ok {
		return e, &fault.Error{Kind: fault.NotFound, Path: r.Canonical, Fact: "is not in the lock file",
			Hint: "publish mirror add asks for it; what a job stages is locked"}
	}
	return e, nil
}

// driftOf asks what has changed of an entry. Its error begins with the name.
func (m *Mirror) driftOf(ctx context.Context, e pins.Entry) ([]Drift, error) {
	fail := func(err error) ([]Drift, error) {
		if text := err.Error(); strings.HasPrefix(text, e.Canonical) {
			return nil, err
		}
		return nil, &fault.Error{Path: e.Canonical, Err: err}
	}
	r, err := m.Upstream.Parse(e.Canonical)
	if err != nil {
		return fail(err)
	}
	if r.Canonical != e.Canonical { // a person wrote it
		return fail(fmt.Errorf("locks nothing: in the lock file its name must be %s", r.Canonical))
	}
	if why := m.Config.Allowed(r.Name); why != "" {
		return fail(errors.New("may not come: " + why))
	}
	if e.Digest == "" {
		now, err := m.versionsNow(ctx, r, e)
		if err != nil {
			return fail(err)
		}
		return driftedVersions(e, now), nil
	}
	was, err := catalog.ParseDigest(e.Digest)
	if err != nil {
		return fail(err)
	}
	now, err := m.standsFor(ctx, r, was)
	if err != nil {
		return fail(err)
	}
	if now == was {
		return nil, nil
	}
	return []Drift{{Canonical: e.Canonical, From: e.Digest, To: now.String(), entry: e}}, nil
}

// driftedVersions compares locked versions with those of now. A version that is new, or not
// there any more, is no drift.
func driftedVersions(e pins.Entry, now []pins.Version) (out []Drift) {
	for _, v := range now {
		if was, ok := e.Has(v.Product, v.Version); ok && was.Moved(v) {
			out = append(out, Drift{Canonical: e.Canonical, Product: v.Product, Version: v.Version, From: was.Digest(),
				To: v.Digest(), entry: e})
		}
	}
	return out
}

// versionsNow asks for the versions of an entry with products: as they were selected when
// they were locked, and without their content.
func (m *Mirror) versionsNow(ctx context.Context, r catalog.Remote, e pins.Entry) (out []pins.Version, err error) {
	_, err = m.Upstream.Fetch(ctx, catalog.FetchRequest{Remote: r, Versions: e.Newest, Filters: e.Filters,
		Check: func(v catalog.FetchedVersion) error {
			out = append(out, pins.Version(v))
			return nil
		}}, lookStore{})
	if errors.Is(err, errLooked) {
		err = nil
	}
	return out, err
}

// lookStore takes no content: what is to come is known by then.
type lookStore struct{}

var errLooked = errors.New("nothing is fetched: it was only asked what there is")

func (lookStore) Has(catalog.Digest) bool { return false }

func (lookStore) Bring(context.Context, catalog.Digest, int64, func(context.Context, int64) (
	io.ReadCloser, int64, error)) error {
	return errLooked
}

func (lookStore) Open(catalog.Digest) (io.ReadCloser, error) { return nil, errLooked }
func (lookStore) Expect(int64, int64) error                  { return errLooked }

// Follow asks for a job for each name of a survey that drifted. Such a job brings what the
// name stands for when it runs, and then changes the lock file. The IDs are noted in s.
func (m *Mirror) Follow(ctx context.Context, s *Survey, by Requester) error {
	var list []Request
	at := map[string]int{} // in list, by name
	for _, d := range s.Drifted {
		if _, ok := at[d.Canonical]; ok {
			continue
		}
		at[d.Canonical] = len(list)
		list = append(list, Request{By: by, Want: Want{Reference: d.entry.Requested, Canonical: d.Canonical, Kind: m.Kind,
			Platforms: d.entry.Platforms, Versions: d.entry.Newest, Filters: d.entry.Filters, AcceptDrift: true}})
	}
	if len(list) == 0 {
		return nil
	}
	added, err := m.Queue.AddAll(ctx, list)
	if err != nil {
		return err
	}
	for i := range s.Drifted {
		s.Drifted[i].ID = added[at[s.Drifted[i].Canonical]].Job.ID
	}
	return nil
}
