package publish

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"

	"example.com/publish/publish/generation"
	"example.com/publish/publish/tombstone"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// RevokeOptions say what to revoke.
type RevokeOptions struct {
	What   []string // fingerprints, products, product/version, paths, sha256 of files
	Why    string
	DryRun bool
}

// RevokeResult is what a revoke did, or would do.
type RevokeResult struct {
	Generation int       `json:"generation"` // production now
	From       int       `json:"from"`       // production before; the same if it did not have the content
	Switched   bool      `json:"switched"`
	Revoked    []Revoked `json:"revoked"`
	// Unnamed are versions without content, which no index names any more.
	Unnamed     []Named  `json:"unnamed,omitempty"`
	Kept        []Shared `json:"kept"`                 // files that stay, because another image names them
	Generations []int    `json:"generations_redacted"` // kept trees that had the content
	Files       int      `json:"files"`                // deleted
	Bytes       int64    `json:"bytes"`                // deleted; a file with several names counts once
	DurationMS  int64    `json:"duration_ms"`
	DryRun      bool     `json:"dry_run"`
}

// Revoke removes content at once: a leaked secret, a poisoned image.
//
//  1. Take the production lock. A promote that is still hashing does not hold it.
//     If production serves the content, switch to a new generation without it,
//     which carries none of it. The manifest lists what is revoked, so this switch
//     is the commit point.
//  2. When the switch is durable, write the tombstones. If production did not have
//     the content, the tombstones are the commit point.
//  3. Delete what the tombstones list: see erase, which every recovery runs.
//
// If Revoke is killed before the commit point, nothing is revoked. If it is killed
// later, the next command that takes the production lock does the rest before anything
// else. The tombstones are written before the deletion, so that deleted content cannot
// come back. They are written after the switch, because production must not have
// content that cannot be promoted. A promote in preparation reads them when it takes
// the production lock.
//
// The staging lock comes before the production lock and may be held by a long import.
// So Revoke first makes production safe and releases its lock, and then waits for
// staging.
func (r *Repo) Revoke(ctx context.Context, opt RevokeOptions) (*RevokeResult, error) {
	if strings.TrimSpace(opt.Why) == "" {
		return nil, &Error{Kind: Usage, Fact: "a revoke needs a reason", Hint: "publish revoke WHAT... -m WHY"}
	}
	start := r.now()
	res, state, err := r.tryRevoke(ctx, opt)
	if res == nil {
		return nil, err
	}
	if state == eraseWaits {
		err = errors.Join(err, r.eraseWithStaging(context.WithoutCancel(ctx), res))
	}
	switch {
	case err == nil:
		res.DurationMS = r.now().Sub(start).Milliseconds()
	case res.Switched:
		err = afterSwitch(res.Generation, "publish recover deletes what is left of the revoked content", err)
	default:
		err = &Error{Kind: Switched, Err: err, Hint: "publish recover deletes what is left",
			Fact: "the content is revoked, but not deleted everywhere yet; production did not have it and is unchanged"}
	}
	return res, err
}

// revocation is a revoke that is worked out: a dry run prints it, and the real run
// carries it out.
type revocation struct {
	*tombstone.Selection
	stone  tombstone.Stone
	served bool // whether production has some of it; then the switch is the commit point, else the stone
}

func (r *Repo) planRevoke(
	ctx context.Context, s *state, graves *tombstone.Graveyard, opt RevokeOptions,
) (*revocation, error) {
	sel, err := r.selectContent(ctx, s, graves, opt.What)
	if err != nil {
		return nil, err
	}
	p := &revocation{Selection: sel, stone: sel.Stone(r.who(), opt.Why)}
	p.stone.Time = s.now
	p.served, err = serves(s, sel)
	return p, err
}

// tryRevoke is revoke. It begins again where another machine switched first.
func (r *Repo) tryRevoke(ctx context.Context, opt RevokeOptions) (res *RevokeResult, state erasure, err error) {
	if r.shared == nil {
		return r.revoke(ctx, opt)
	}
	err = r.shared.again(ctx, func() error {
		res, state, err = r.revoke(ctx, opt)
		return err
	})
	return res, state, err
}

// revoke is the part of Revoke that needs only the production lock. The result is nil
// if nothing was revoked.
func (r *Repo) revoke(ctx context.Context, opt RevokeOptions) (*RevokeResult, erasure, error) {
	s, _, unlock, err := r.exclusive(ctx, actor{verb: "revoke"})
	if err != nil {
		return nil, erasePending, err
	}
	defer unlock()
	graves, err := r.graveyard()
	if err != nil {
		return nil, erasePending, err
	}
	p, err := r.planRevoke(ctx, s, graves, opt)
	if err != nil {
		return nil, erasePending, err
	}
	res := &RevokeResult{Revoked: noNil(p.Revoked), Unnamed: noNil(p.Unnamed), Kept: noNil(p.Kept),
		Generations: []int{},
		DryRun:      opt.DryRun}
	if s.current != nil {
		res.Generation, res.From = s.current.Generation, s.current.Generation
	}
	if p.Empty() { // all of it was revoked before
		if _, pending := graves.Split(); len(pending) > 0 && !opt.DryRun {
			return res, eraseWaits, nil
		}
		return res, eraseDone, nil
	}
	if opt.DryRun {
		did, err := r.foresee(ctx, s, sought{contentsOf([]tombstone.Stone{p.stone}), graves})
		if err != nil {
			return nil, erasePending, err
		}
		res.add(did)
	}
	var later error // of a step after the commit point
	switch {
	case p.served:
		made, err := r.switchAway(ctx, s, p, opt)
		if made == nil {
			return nil, erasePending, err
		}
		res.Generation, res.Switched = made.Generation, true
		if !opt.DryRun && s.current.Generation != made.Generation {
			return res, erasePending, err // the switch is not durable, so nothing may be deleted; recovery continues
		}
		later = err
	case !opt.DryRun:
		if revoked, err := r.entomb(ctx, s, p.stone); err != nil {
			if !revoked {
				res = nil
			}
			return res, erasePending, err
		}
	}
	if opt.DryRun {
		return res, eraseDone, nil
	}
	did, state, err := r.erase(context.WithoutCancel(ctx), s, r.tryStaging)
	res.add(did)
	return res, state, errors.Join(later, err)
}

// entomb revokes content that production does not have. Writing the stone is the
// commit point; revoked reports whether that happened.
func (r *Repo) entomb(ctx context.Context, s *state, stone tombstone.Stone) (revoked bool, err error) {
	if stone.Before, err = r.next(s.history); err != nil {
		return false, err
	}
	if err := ctx.Err(); err != nil {
		return false, interrupted(err)
	}
	if err := r.at("before-tombstones"); err != nil {
		return false, err
	}
	if err := r.bury(stone); err != nil {
		return false, err
	}
	return true, r.at("after-tombstones")
}

func (res *RevokeResult) add(did *redaction) {
	if did == nil {
		return
	}
	for _, n := range did.Generations {
		if !slices.Contains(res.Generations, n) {
			res.Generations = append(res.Generations, n)
		}
	}
	res.Files += did.Files
	res.Bytes += did.Bytes
}

// eraseWithStaging waits for the staging lock, and then finishes the deletion with the
// locks in their order.
func (r *Repo) eraseWithStaging(ctx context.Context, res *RevokeResult) error {
	unlockStaging, err := r.Stage.Exclusive(ctx, "revoke")
	if err != nil {
		return r.locks().explain(err)
	}
	defer unlockStaging()
	s, _, unlock, err := r.exclusive(ctx, actor{verb: "revoke"})
	if err != nil {
		return err
	}
	defer unlock()
	did, _, err := r.erase(ctx, s, haveStaging)
	res.add(did)
	return err
}

// switchAway switches production to its own content without what is revoked. The new
// generation shows the redacted content of the one before. So it has the same origin,
// and a revert goes to the content that was live before that.
func (r *Repo) switchAway(ctx context.Context, s *state, p *revocation, opt RevokeOptions) (*Result, error) {
	draft, err := r.store.Draft(generation.RevertPrefix)
	if err != nil {
		return nil, err
	}
	draft.Look = opt.DryRun
	defer r.discard(draft, true)
	valid, err := r.redact(ctx, s, s.current, func(row tree.Row) bool { return p.Sums[row.SHA256] },
		tombstone.NamesOf(p.Unnamed), draft)
	if err != nil {
		return nil, interrupted(err)
	}
	if err := r.at("prepared"); err != nil {
		return nil, err
	}
	c := candidateOf(draft, valid, opt.Why)
	c.kind, c.origin, c.revoked, c.unnamed = generation.KindRevoke, s.current.Origin, p.Revoked, p.Unnamed
	// Content that an operator's revert barred stays barred.
	c.barred, c.barredTrees = s.current.Barred, s.current.BarredTrees
	return r.commit(ctx, s, c, opt.DryRun)
}

// leave removes from the carried list of generation n: rows that n itself dropped,
// revoked rows, and companions of documents. A carried copy of an index would name
// what the index had, unless the format has a bare form of it. If n follows others that
// were skipped, it also dropped what those dropped: only the indexes are removed of that.
func leave(
	c *generation.Carrier, carried []generation.Carried, n int, revoked []Revoked, skipped bool,
) ([]generation.Carried, error) {
	beside, err := c.Live.Companions(c.Format)
	if err != nil {
		return nil, err
	}
	sums := map[string]bool{}
	for _, c := range revoked {
		sums[c.SHA256] = true
	}
	bare := catalog.Serving(c.Format) != nil
	return slices.DeleteFunc(carried, func(row generation.Carried) bool {
		if bare && c.Format.Class(row.Path) == catalog.Index {
			return false // it names only what is carried
		}
		dropped := row.Dropped == n && (!skipped || c.Format.Class(row.Path) == catalog.Index)
		return dropped || sums[row.SHA256] || beside(row.Path) != ""
	}), nil
}

// serves reports whether production has any of the revoked content, including carried
// files that are due.
func serves(s *state, sel *tombstone.Selection) (bool, error) {
	if s.current == nil {
		return false, nil
	}
	if sel.Emptied || slices.ContainsFunc(s.current.Own, func(row tree.Row) bool { return sel.Sums[row.SHA256] }) {
		return true, nil
	}
	live, err := s.current.View()
	if err != nil {
		return false, err
	}
	defer live.Close()
	for _, c := range s.current.Carried {
		if !sel.Sums[c.SHA256] {
			continue
		}
		if s.current.Sparse {
			return true, nil
		}
		if _, err := live.Lstat(c.Path); !errors.Is(err, fs.ErrNotExist) {
			return true, nil
		}
	}
	return false, nil
}
