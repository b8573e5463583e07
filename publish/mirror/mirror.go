package mirror

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"example.com/publish/publish"
	"example.com/publish/publish/fault"
	"example.com/publish/stage/catalog"
)

// Mirror brings images from servers of one kind into the staging of a repository.
type Mirror struct {
	Repo     *publish.Repo
	Config   *publish.MirrorConfig
	Kind     string // of its references, such as oci
	Upstream catalog.Upstream
	Queue    *Queue
	Hosts    *Hosts
	Now      func() time.Time
	// Told is called with what happens to a job, from several goroutines; nil: nobody is.
	Told func(Job)
	// Warn gets what stops nothing; nil: it is dropped.
	Warn func(string)
}

// dir is a path below the mirror's own directory.
func dir(r *publish.Repo, parts ...string) string {
	return filepath.Join(append([]string{r.Dir, ".publish", "mirror"}, parts...)...)
}

// New returns the mirror of a repository. It touches nothing. upstream is given the hosts
// that must be left alone.
func New(r *publish.Repo, kind string, now func() time.Time, upstream func(*Hosts) (catalog.Upstream, error)) (
	m *Mirror, err error) {
	m = &Mirror{Repo: r, Config: &r.Config.Mirror, Kind: kind, Now: now,
		Queue: Open(dir(r, "queue"), now), Hosts: OpenHosts(dir(r, "hosts.json"), now)}
	m.Upstream, err = upstream(m.Hosts)
	return m, err
}

func (m *Mirror) warn(format string, args ...any) {
	if m.Warn != nil {
		m.Warn(fmt.Sprintf(format, args...))
	}
}

// Wish is what somebody asks for.
type Wish struct {
	References []string
	Platforms  []string // empty: those of the configuration
	Priority   int
	By         Requester
}

// Plan reads what somebody asks for, all of it or nothing. The error is of kind Usage for
// a reference that cannot be read, and Refused for one that the configuration denies.
func (m *Mirror) Plan(w Wish) ([]Request, error) {
	platforms := w.Platforms
	if len(platforms) == 0 {
		platforms = m.Config.Platforms
	}
	misused := func(err error) error {
		bad := new(catalog.UsageError)
		if errors.As(err, &bad) {
			return &fault.Error{Kind: fault.Usage, Fact: bad.Fact, Hint: cmp.Or(bad.Hint, "nothing was added")}
		}
		return err
	}
	if c, ok := m.Upstream.(catalog.PlatformChecker); ok {
		if err := c.CheckPlatforms(platforms); err != nil {
			return nil, misused(err)
		}
	}
	var out []Request
	for _, text := range w.References {
		r, err := m.Upstream.Parse(text)
		if err != nil {
			return nil, misused(err)
		}
		if why := m.Config.Allowed(r.Name); why != "" {
			return nil, denied(r.Name, why)
		}
		if s, ok := catalog.As[catalog.Speller](m.Repo.Stage.Format); ok && s.Spell(m.NameOf(r.Canonical)) == "" {
			return nil, &fault.Error{Kind: fault.Usage, Path: m.NameOf(r.Canonical), Fact: "is no name that a tree can have",
				Hint: "the key map under mirror in publish.yaml puts it elsewhere; nothing was added"}
		}
		out = append(out, Request{Priority: w.Priority, By: w.By, Want: Want{Reference: strings.TrimSpace(text),
			Canonical: r.Canonical, Kind: m.Kind, Platforms: platforms}})
	}
	return out, nil
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

// NameOf returns what an image is called in the tree, by its canonical name.
func (m *Mirror) NameOf(canonical string) string {
	name := m.Config.Place(canonical)
	s, ok := catalog.As[catalog.Speller](m.Repo.Stage.Format)
	if !ok {
		return name
	}
	base, digest, pinned := strings.Cut(name, "@") // Spell would leave out the tag of a name with both
	full := s.Spell(base)
	switch {
	case full == "":
		return name
	case pinned:
		return full + "@" + digest
	}
	return full
}

// Place is where an image of production is.
type Place struct {
	Reference string `json:"reference"` // as it was asked for
	Name      string `json:"name"`      // in the tree
	Digest    string `json:"digest"`
	Address   string `json:"address"` // where it is pulled from, by its name
	Pinned    string `json:"pinned"`  // likewise, by its digest: always the same image
}

// Address returns where an image of production is. The error is of kind NotFound if
// production does not have it.
func (m *Mirror) Address(ctx context.Context, reference string) (*Place, error) {
	r, err := m.Upstream.Parse(reference)
	if err != nil {
		bad := new(catalog.UsageError)
		if errors.As(err, &bad) {
			return nil, &fault.Error{Kind: fault.Usage, Fact: bad.Fact, Hint: bad.Hint}
		}
		return nil, err
	}
	name := m.NameOf(r.Canonical)
	found, err := m.Repo.Resolve(ctx, "production", name, "")
	if err != nil {
		if e := new(fault.Error); errors.As(err, &e) && e.Kind == fault.NotFound {
			return nil, &fault.Error{Kind: fault.NotFound, Path: name, Fact: "is not published",
				Hint: "publish mirror status shows where it is, and publish promote publishes what is staged"}
		}
		return nil, err
	}
	return &Place{Reference: reference, Name: found.Ref, Digest: found.Digest, Address: m.at(found.Ref),
		Pinned: m.at(found.Name)}, nil
}

// at is a name of the tree as clients write it.
func (m *Mirror) at(name string) string {
	if m.Config.Address == "" {
		return name
	}
	return m.Config.Address + "/" + name
}

// Settle brings a staged job up to date with production: it is published once production
// has the name with that digest, by whichever promote.
func (m *Mirror) Settle(ctx context.Context, j Job) (Job, error) {
	if j.State != Staged {
		return j, nil
	}
	there, err := m.Repo.Resolve(ctx, "production", m.NameOf(j.Canonical), "")
	if e := new(fault.Error); errors.As(err, &e) && (e.Kind == fault.NotFound || e.Kind == fault.Invalid) {
		return j, nil
	}
	if err != nil || there.Digest != j.Digest || !covers(there, j) {
		return j, err
	}
	j.State, j.Address = Published, m.at(there.Ref)
	return j, nil
}

// covers reports whether an image in the tree has the platforms that a job is about: an
// index has the same digest with fewer of them.
func covers(there *catalog.Resolved, j Job) bool {
	if len(there.Platforms) == 0 {
		return true
	}
	return len(j.Platforms) > 0 && !slices.ContainsFunc(j.Platforms, func(p string) bool {
		return !slices.Contains(there.Platforms, p) && !slices.Contains(j.MissingPlatforms, p)
	})
}

// SettleAll has all staged jobs brought up to date, durably. It is for those who run jobs:
// others call Settle for what they print.
func (m *Mirror) SettleAll(ctx context.Context) error {
	list, _, err := m.Queue.List(Staged)
	if err != nil {
		return err
	}
	for _, j := range list {
		now, err := m.Settle(ctx, j)
		if err != nil {
			return err
		}
		if now.State != Published {
			continue
		}
		now, err = m.Queue.Amend(ctx, j.ID, func(j *Job) error {
			j.State, j.Address = now.State, now.Address
			return nil
		})
		if err != nil {
			return err
		}
		m.tell(now)
	}
	return nil
}

func (m *Mirror) tell(j Job) {
	if m.Told != nil {
		m.Told(j)
	}
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

// PinnedAt is where the image of a staged or published job is, or will be when it is
// promoted, by its digest; "" if the tree does not have it under its name any more.
func (m *Mirror) PinnedAt(ctx context.Context, j Job) string {
	in := "staging"
	if j.State == Published {
		in = "production"
	}
	found, err := m.Repo.Resolve(ctx, in, m.NameOf(j.Canonical), "")
	if err != nil || found.Digest != j.Digest {
		return ""
	}
	return m.at(found.Name)
}
