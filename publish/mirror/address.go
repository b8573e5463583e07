package mirror

import (
	"context"
	"errors"
	"strings"

	"example.com/publish/publish/fault"
	"example.com/publish/stage/catalog"
)

// NameOf returns what an image is called in the tree, by its canonical name.
func (m *Mirror) NameOf(canonical string) string {
	if m.selects() { // its files lie where they lay
		return canonical
	}
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
	// Of an image of a product: container or virtual-machine, and what clients may call it.
	Type    string   `json:"type,omitempty"`
	Aliases []string `json:"aliases,omitempty"`
}

// Address returns where an image of production is. The error is of kind NotFound if
// production does not have it.
func (m *Mirror) Address(ctx context.Context, reference string) (*Place, error) {
	r, err := m.Upstream.Parse(reference)
	if err != nil {
		return nil, misused(err, "")
	}
	name := m.NameOf(r.Canonical)
	if err := m.ownPlace(r); err != nil {
		return nil, err
	}
	found, err := m.Repo.Resolve(ctx, "production", name, "")
	if err != nil {
		if e := new(fault.Error); errors.As(err, &e) && e.Kind == fault.NotFound {
			return nil, notPublished(name)
		}
		if other := m.otherThan(ctx, r); other != "" {
			return nil, &fault.Error{Kind: fault.NotFound, Path: name, Fact: "is not published: production has " + other}
		}
		return nil, err
	}
	return &Place{Reference: reference, Name: found.Ref, Digest: found.Digest, Address: m.at(found.Ref),
		Pinned: m.at(found.Name)}, nil
}

// otherThan returns the digest that production has under the tag of a name which was written
// with another digest; "" if that is not so.
func (m *Mirror) otherThan(ctx context.Context, r catalog.Remote) string {
	base := baseOf(r)
	if base == r.Canonical {
		return ""
	}
	found, err := m.Repo.Resolve(ctx, "production", m.NameOf(base), "")
	if err != nil || found.Digest == r.Pinned.String() {
		return ""
	}
	return found.Digest
}

// at is a name of the tree as clients write it.
func (m *Mirror) at(name string) string {
	if m.Config.Address == "" {
		return name
	}
	return m.Config.Address + "/" + name
}

// PinnedAt is where the image of a staged or published job is, or will be when it is
// promoted, by its digest; "" if the tree does not have it under its name any more.
func (m *Mirror) PinnedAt(ctx context.Context, j Job) string {
	in := "staging"
	if j.State == Published {
		in = "production"
	}
	if m.selects() {
		return m.pinnedSelected(ctx, j, in)
	}
	found, err := m.Repo.Resolve(ctx, in, m.NameOf(j.Canonical), "")
	if err != nil || found.Digest != j.Digest {
		return ""
	}
	return m.at(found.Name)
}
