package mirror

import (
	"cmp"
	"context"
	"errors"
	"os/user"
	"strings"

	"example.com/publish/publish/fault"
	"example.com/publish/stage/catalog"
)

// Wish is what somebody asks for.
type Wish struct {
	References []string
	Platforms  []string // empty: those of the configuration
	Versions   int      // the newest of each product; 0: all
	Filters    []string // what versions and items must have
	Priority   int
	By         Requester

	Locked      bool // only what the lock file has
	AcceptDrift bool // what moved is followed
}

// Plan reads what somebody asks for, all of it or nothing. The error is of kind Usage for
// a reference that cannot be read, and Refused for one that the configuration denies.
func (m *Mirror) Plan(w Wish) ([]Request, error) {
	platforms := w.Platforms
	if len(platforms) == 0 {
		platforms = m.Config.Platforms
	}
	if c, ok := m.Upstream.(catalog.PlatformChecker); ok {
		if err := c.CheckPlatforms(platforms); err != nil {
			return nil, misused(err, "nothing was added")
		}
	}
	if err := m.checkSelecting(w); err != nil {
		return nil, err
	}
	if w.Locked && w.AcceptDrift {
		return nil, &fault.Error{Kind: fault.Usage, Fact: "--locked and --accept-drift exclude each other",
			Hint: "nothing was added"}
	}
	var out []Request
	set, err := m.lockFile()
	if err != nil {
		return nil, err
	}
	places := map[string]string{}
	for _, text := range w.References {
		r, err := m.Upstream.Parse(text)
		if err != nil {
			return nil, misused(err, "nothing was added")
		}
		if why := m.Config.Allowed(r.Name); why != "" {
			return nil, denied(r.Name, why)
		}
		if s, ok := catalog.As[catalog.Speller](m.Repo.Stage.Format); ok && s.Spell(m.NameOf(r.Canonical)) == "" {
			return nil, &fault.Error{Kind: fault.Usage, Path: m.NameOf(r.Canonical), Fact: "is no name that a tree can have",
				Hint: "the key map under mirror in publish.yaml puts it elsewhere; nothing was added"}
		}
		if err := m.mayBeAsked(set, r, w.Locked, places); err != nil {
			return nil, err
		}
		out = append(out, Request{Priority: w.Priority, By: w.By, Want: Want{Reference: strings.TrimSpace(text),
			Canonical: r.Canonical, Kind: m.Kind, Platforms: platforms, Versions: w.Versions, Filters: w.Filters,
			Locked: w.Locked, AcceptDrift: w.AcceptDrift}})
	}
	return out, nil
}

// misused makes an error of kind Usage of a *catalog.UsageError. hint is for one that has none.
func misused(err error, hint string) error {
	bad := new(catalog.UsageError)
	if errors.As(err, &bad) {
		return &fault.Error{Kind: fault.Usage, Fact: bad.Fact, Hint: cmp.Or(bad.Hint, hint)}
	}
	return err
}

func denied(name, why string) error {
	return &fault.Error{Kind: fault.Refused, Path: name, Fact: "may not come: " + why,
		Hint: "the keys allow and deny under mirror in publish.yaml decide; nothing was added"}
}

// Add asks for images.
func (m *Mirror) Add(ctx context.Context, w Wish) ([]Addition, error) {
	list, err := m.Plan(w)
	if err != nil {
		return nil, err
	}
	return m.Queue.AddAll(ctx, list)
}

// Me is the requester of a person at a terminal.
func Me(who string) Requester {
	if who == "" {
		if u, err := user.Current(); err == nil {
			who = u.Username
		}
	}
	return Requester{Who: who, Via: "add"}
}
