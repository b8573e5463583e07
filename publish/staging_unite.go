package publish

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"example.com/publish/stage"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// Unite merges a tree that came of a server into staging: see stage.Stage.Unite. The error
// is of kind Refused for content that was revoked, and for a path under which production
// serves other bytes, or has to serve them until their window ends: promote would refuse
// that, and clients would get bytes that their index does not name.
func (r *Repo) Unite(ctx context.Context, f *stage.Fetched, verb string) (*stage.Added, error) {
	if err := r.allows(verb); err != nil {
		return nil, err
	}
	if err := r.othersUnder(ctx, f.Contents); err != nil {
		return nil, err
	}
	out, err := r.Stage.Unite(ctx, f, verb)
	return out, refused(r.locks().explain(err))
}

// othersUnder returns an error if production has other content under one of some paths.
func (r *Repo) othersUnder(ctx context.Context, files map[string]stage.FetchedFile) error {
	s, err := r.load(ctx)
	if err != nil || s.current == nil {
		return err
	}
	graves, err := r.graveyard()
	if err != nil {
		return err
	}
	type conflict struct{ path, when string }
	var found []conflict
	other := func(row tree.Row, when string) {
		f, ok := files[row.Path]
		if ok && row.Role == catalog.Content && f.SHA256 != "" && f.SHA256 != row.SHA256 {
			found = append(found, conflict{row.Path, when})
		}
	}
	for _, row := range s.current.Own {
		other(row, "a promote that no longer has it frees the path, "+Duration(r.grace()).String()+" later")
	}
	for c, until := range carriedOf(s, s.current, graves) {
		when := "the path is free when its window has ended"
		if until != nil {
			when = "the path is free from " + until.Format(time.RFC3339)
		}
		other(c.Row, when)
	}
	if len(found) == 0 {
		return nil
	}
	slices.SortFunc(found, func(a, b conflict) int { return cmp.Compare(a.path, b.path) })
	fact := "production serves other content under this path"
	if n := len(found) - 1; n > 0 {
		fact += fmt.Sprintf(" (and %d more)", n)
	}
	return &Error{Kind: Refused, Path: found[0].path, Fact: fact, Hint: "nothing was staged; " + found[0].when}
}

// Holdings are the sha256s of the items of each version in a tree.
type Holdings struct {
	Generation int // 0 for staging
	of         map[catalog.Name]map[string]bool
	images     []catalog.Image
}

// Holdings returns what staging or production has. old, which may be nil, is returned if it
// is what production still has: to read a large catalog takes long. The error is of kind
// NotFound for production before the first promote.
func (r *Repo) Holdings(ctx context.Context, in string, old *Holdings) (*Holdings, error) {
	src, err := r.source(ctx, in)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	n := src.generation()
	if old != nil && n > 0 && old.Generation == n {
		return old, nil
	}
	cat, err := r.format.Read(ctx, src)
	if lost := src.Proved(); lost != nil {
		return nil, lost
	}
	if err != nil {
		return nil, err
	}
	out := &Holdings{Generation: n, of: map[catalog.Name]map[string]bool{}, images: cat.Images}
	for _, i := range cat.Items {
		if out.of[i.Of()] == nil {
			out.of[i.Of()] = map[string]bool{}
		}
		out.of[i.Of()][i.SHA256] = true
	}
	return out, nil
}

// Have reports whether all of some versions are there, with all their files. What their
// items are called there does not matter: a merge may keep other keys.
func (h *Holdings) Have(versions []catalog.FetchedVersion) bool {
	return !slices.ContainsFunc(versions, func(v catalog.FetchedVersion) bool {
		there := h.of[catalog.Name{Group: v.Product, Version: v.Version}]
		for _, sum := range v.Files {
			if !there[strings.ToLower(sum)] {
				return true
			}
		}
		return len(there) == 0
	})
}

// Images are those that clients can ask for, and what stands for versions that they skip;
// the list must not be changed.
func (h *Holdings) Images() []catalog.Image { return h.images }
