package publish

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"example.com/publish/publish/generation"
	"example.com/publish/retention"
	"example.com/publish/stage/catalog"
)

// A name that matches immutable_tags may leave production, but it never stands for
// other content: neither at once, nor when it comes back. Production says what a name
// stands for now. What one that has left stood for is in the manifest of production,
// and each manifest takes it over from the one before: so it outlives the generation
// that had the name, and a switch and the record of it are one step.

// immutable returns the patterns of the names that never move.
func (c *Config) immutable(doc *yaml.Node) ([]retention.NameGlob, error) {
	var out []retention.NameGlob
	var errs []error
	for i, text := range c.ImmutableTags {
		g, err := retention.ParseNameGlob(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("%simmutable_tags: %w", ruleLine(doc, "immutable_tags", i, ""), err))
		}
		out = append(out, g)
	}
	return out, errors.Join(errs...)
}

// fixed reports whether a unit's name never moves.
func (r *Repo) fixed() func(catalog.Unit) bool {
	globs, _ := r.Config.immutable(nil) // checked when it was read
	return func(u catalog.Unit) bool {
		if u.Group || len(globs) == 0 || strings.Contains(u.Key, u.Digest) { // a name that is the digest cannot move
			return false
		}
		n := r.format.ParseRef(u.Key)
		return slices.ContainsFunc(globs, func(g retention.NameGlob) bool { return g.Matches(n.Group, n.Version) })
	}
}

// moves returns a finding for each name that never moves and would stand for other
// content in a tree with the units next. live is the manifest of production, nil for
// none, and units are its units.
func (r *Repo) moves(live *generation.Manifest, units, next []catalog.Unit) []catalog.Finding {
	if live == nil || len(r.Config.ImmutableTags) == 0 {
		return nil
	}
	fixed := r.fixed()
	was, left := digests(units), digests(live.Gone)
	var out []catalog.Finding
	for _, u := range next {
		if !fixed(u) {
			continue
		}
		if digest := was[u.Key]; digest != "" && digest != u.Digest {
			out = append(out, tagMoved("%s: stands for %s in production, and must not move to %s", u.Key, digest, u.Digest))
		} else if digest := left[u.Key]; digest != "" && digest != u.Digest {
			out = append(out, tagMoved("%s: stood for %s before it left production, and must not come back as %s", u.Key,
				digest, u.Digest))
		}
	}
	return out
}

func tagMoved(format string, args ...any) catalog.Finding {
	return catalog.Finding{Severity: catalog.Error, Code: "tag-moved",
		Message: fmt.Sprintf(format, args...) + ": immutable_tags has it"}
}

// movedBy is moves for a tree that is not about to be sealed.
func (r *Repo) movedBy(ctx context.Context, s *state, next []catalog.Unit) ([]catalog.Finding, error) {
	if s.current == nil || len(r.Config.ImmutableTags) == 0 {
		return nil, nil
	}
	units, err := r.liveUnits(ctx, s.current)
	return r.moves(s.current.Manifest, units, next), err
}

// liveUnits are the units of production.
func (r *Repo) liveUnits(ctx context.Context, live *generation.Tree) ([]catalog.Unit, error) {
	if live.Counts() {
		return r.units(live.Units, live.Own), nil
	}
	return r.unitsOf(ctx, live)
}

// gone returns what the manifest of a tree with the units next has to remember: the
// names that never move and are not in it.
func (r *Repo) gone(live *generation.Manifest, units, next []catalog.Unit) []catalog.Unit {
	if live == nil || len(r.Config.ImmutableTags)+len(live.Gone) == 0 {
		return nil
	}
	fixed, there := r.fixed(), digests(next)
	var out []catalog.Unit
	for _, u := range live.Gone {
		if there[u.Key] == "" {
			out = append(out, u)
		}
	}
	for _, u := range units {
		if there[u.Key] == "" && fixed(u) {
			out = append(out, catalog.Unit{Key: u.Key, Digest: u.Digest})
		}
	}
	slices.SortFunc(out, func(a, b catalog.Unit) int { return cmp.Compare(a.Key, b.Key) })
	return out
}

// digests are those of units, by their names.
func digests(units []catalog.Unit) map[string]string {
	out := make(map[string]string, len(units))
	for _, u := range units {
		if !u.Group {
			out[u.Key] = u.Digest
		}
	}
	return out
}
