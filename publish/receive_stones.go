package publish

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"example.com/publish/publish/generation"
	"example.com/publish/publish/tombstone"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// A target carries out what its leader revoked. Its generations have the leader's
// numbers, so a stone of the leader means the same here. The switch away from the content
// is that to the leader's generation: its manifest here lists what is revoked, and
// recovery writes the stone from it. All other stones are copied. Then the contents are
// deleted, as after a revoke.

// uncovered returns the stone with what no stone here says, and whether that is anything.
func uncovered(graves *tombstone.Graveyard, st tombstone.Stone) (tombstone.Stone, bool) {
	st.Revoked = slices.DeleteFunc(slices.Clone(st.Revoked), func(v Revoked) bool {
		over := graves.Over(v.SHA256)
		return over != nil && over.Before >= st.Before
	})
	names := graves.Unnamed(st.Before - 1)
	st.Unnamed = slices.DeleteFunc(slices.Clone(st.Unnamed), func(v Named) bool {
		return names[catalog.Name{Group: v.Product, Version: v.Version}]
	})
	return st, len(st.Revoked)+len(st.Unnamed) > 0
}

// servesAny reports whether a generation has some of what a stone revokes.
func servesAny(m *generation.Manifest, st tombstone.Stone) bool {
	sums := sumsOf(st)
	for row := range m.All() {
		if sums[row.SHA256] {
			return true
		}
	}
	return false
}

func sumsOf(stones ...tombstone.Stone) map[string]bool {
	sums := map[string]bool{}
	for _, st := range stones {
		for _, v := range st.Revoked {
			sums[v.SHA256] = true
		}
	}
	return sums
}

// redact carries out the stones after the switch. The caller holds the production lock.
func (p *Reception) redact(ctx context.Context, s *state) (*redaction, error) {
	r := p.r
	graves, err := r.graveyard()
	if err != nil {
		return nil, err
	}
	cur := s.current.Generation
	for _, st := range p.stones {
		if st.Before > cur && slices.ContainsFunc(s.current.Own, func(row tree.Row) bool {
			return row.Role != catalog.Link && slices.ContainsFunc(st.Revoked,
				func(v Revoked) bool { return v.SHA256 == row.SHA256 })
		}) {
			return nil, &Error{Kind: Invalid, Fact: "the leader serves what it revoked",
				Hint: "publish recover there, then sync again"}
		}
		lacking, is := uncovered(graves, st)
		if !is {
			continue
		}
		if err := errors.Join(r.bury(lacking), r.at("after-tombstones")); err != nil {
			return nil, err
		}
	}
	taken, err := r.takeOut(ctx, s, p.stones)
	if err != nil {
		return nil, err
	}
	did, state, err := r.erase(ctx, s, r.tryStaging)
	if did != nil {
		did.Files += taken
	}
	if err == nil && state == eraseWaits {
		err = &Error{Kind: Locked, Path: r.Stage.Dir, Fact: "is locked, and may have revoked content"}
	}
	return did, err
}

// takeOut deletes revoked content that production carries: where the leader's window had
// ended before it was revoked, there is no switch away from it. Documents stop naming it
// first, as when a window ends. It returns how many objects it deleted in a store.
func (r *Repo) takeOut(ctx context.Context, s *state, stones []tombstone.Stone) (int, error) {
	cur := s.current
	stones = slices.DeleteFunc(slices.Clone(stones), func(st tombstone.Stone) bool { return st.Before <= cur.Generation })
	sums := sumsOf(stones...)
	if r.shared != nil {
		return r.shared.takeOut(ctx, s, sums)
	}
	var rows []tree.Row
	for _, c := range cur.Carried {
		if !sums[c.SHA256] || c.Role == catalog.Link {
			continue
		}
		if _, err := os.Lstat(filepath.Join(cur.Dir, filepath.FromSlash(c.Path))); err == nil {
			rows = append(rows, c.Row)
		}
	}
	if len(rows) == 0 {
		return 0, nil
	}
	anew, err := r.shortenedBy(s, func(h generation.Held) bool {
		return !s.windows.Open(h.Dropped, s.now) || sums[h.Digest.Hex]
	})
	if err != nil {
		return 0, err
	}
	stay, err := r.site.Expire(ctx, cur, rows, anew)
	for _, f := range stay {
		err = errors.Join(err, fmt.Errorf("has revoked content: %w", f.Err))
	}
	return 0, err
}
