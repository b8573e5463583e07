package publish

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"

	"example.com/publish/publish/generation"
	"example.com/publish/publish/tombstone"
	"example.com/publish/stage"
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
	Generation  int       `json:"generation"` // production's now
	From        int       `json:"from"`       // production's before; the same when it did not have the content
	Switched    bool      `json:"switched"`
	Revoked     []Revoked `json:"revoked"`
	Unnamed     []Named   `json:"unnamed,omitempty"`    // versions that had no content, and that no index names any more
	Kept        []Shared  `json:"kept"`                 // files that stay, because another image names them
	Generations []int     `json:"generations_redacted"` // kept trees that had it
	Files       int       `json:"files"`                // deleted
	Bytes       int64     `json:"bytes"`                // of these, each file once whatever its number of names
	DurationMS  int64     `json:"duration_ms"`
	DryRun      bool      `json:"dry_run"`
}

// Revoke takes content away at once: a leaked secret, a poisoned image.
//
//  1. Under the production lock, which it does not share with a promote that
//     is still hashing: if production serves the content, switch to a new
//     generation without it, of which nothing is carried. The manifest says
//     what is revoked, so this switch is the commit point.
//  2. When the switch is durable, write the tombstones. Where production had
//     nothing of it they are the commit point themselves.
//  3. Delete what they name: see erase, which every recovery runs.
//
// Killed before the commit point, nothing is revoked; after it, the next
// command that takes the production lock does the rest, before anything else.
// The tombstones come before the deletion, so that what was deleted cannot
// come back, and after the switch, so that what cannot be promoted is not
// production. A promote in preparation meets them under the same lock.
//
// Staging's lock comes before production's and may be held by a long import:
// so production is made safe first, and released before staging is waited for.
func (r *Repo) Revoke(ctx context.Context, opt RevokeOptions) (*RevokeResult, error) {
	if strings.TrimSpace(opt.Why) == "" {
		return nil, &Error{Kind: Usage, Fact: "a revoke needs a reason", Hint: "publish revoke WHAT... -m WHY"}
	}
	start := r.now()
	res, finished, err := r.revoke(ctx, opt)
	if res != nil && !finished && !opt.DryRun {
		err = errors.Join(err, r.eraseStaging(context.WithoutCancel(ctx), res))
	}
	if res == nil || err == nil {
		if res != nil {
			res.DurationMS = r.now().Sub(start).Milliseconds()
		}
		return res, err
	}
	if res.Switched {
		return res, afterSwitch(res.Generation, "publish recover deletes what is left of the revoked content", err)
	}
	return res, &Error{Kind: Switched, Fact: "it is revoked, but not deleted everywhere yet; production is unchanged, it did not have it", Err: err, Hint: "publish recover deletes what is left"}
}

// revoke is all that needs the production lock alone. The result is nil when
// nothing was revoked.
func (r *Repo) revoke(ctx context.Context, opt RevokeOptions) (res *RevokeResult, finished bool, err error) {
	s, _, unlock, err := r.exclusive(ctx, "revoke", false, "")
	if err != nil {
		return nil, false, err
	}
	defer unlock()
	graves, err := r.graveyard()
	if err != nil {
		return nil, false, err
	}
	sel, err := r.selectContent(ctx, s, graves, opt.What)
	if err != nil {
		return nil, false, err
	}
	res = &RevokeResult{Revoked: noNil(sel.Revoked), Unnamed: noNil(sel.Unnamed), Kept: noNil(sel.Kept), Generations: []int{}, DryRun: opt.DryRun}
	if s.current != nil {
		res.Generation, res.From = s.current.Generation, s.current.Generation
	}
	if sel.Empty() { // all of it was revoked before, and perhaps not deleted yet
		_, pending := graves.Split()
		return res, len(pending) == 0, nil
	}
	list := sel.Stone(r.who(), opt.Why)
	list.Time = s.now
	if opt.DryRun {
		did, err := r.eraseKept(ctx, s, contentsOf([]tombstone.Stone{list}), graves, true)
		if err != nil {
			return nil, false, err
		}
		found, err := stage.Find(ctx, r.Stage.Dir, r.format, tree.OpenCache(r.Stage.Hashes), contentsOf([]tombstone.Stone{list}))
		if err != nil {
			return nil, false, err
		}
		for _, e := range found {
			did.count(e.Stat)
		}
		res.Generations, res.Files, res.Bytes = did.Generations, did.Files, did.Bytes
	}
	if serves(s, sel) {
		made, err := r.switchAway(ctx, s, sel, opt)
		if made == nil {
			return nil, false, err
		}
		res.Generation, res.Switched = made.Generation, true
		if opt.DryRun {
			return res, true, nil
		}
		if s.current.Generation != made.Generation {
			return res, true, err // not durable, so nothing may be deleted: recovery's business
		}
		did, finished, eraseErr := r.erase(context.WithoutCancel(ctx), s, false)
		res.add(did)
		return res, finished || eraseErr != nil, errors.Join(err, eraseErr)
	}
	if opt.DryRun {
		return res, true, nil
	}
	if list.Before, err = r.next(s.history); err != nil {
		return nil, false, err
	}
	if err := ctx.Err(); err != nil {
		return nil, false, interrupted(err)
	}
	if err := r.at("before-tombstones"); err != nil {
		return nil, false, err
	}
	if err := r.bury(list); err != nil {
		return nil, false, err
	}
	if err := r.at("after-tombstones"); err != nil {
		return res, true, err
	}
	did, finished, err := r.erase(context.WithoutCancel(ctx), s, false)
	res.add(did)
	return res, finished || err != nil, err
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

// eraseStaging waits for whoever has staging's lock, and then ends the
// deletion, with the locks in their order.
func (r *Repo) eraseStaging(ctx context.Context, res *RevokeResult) error {
	unlockStaging, err := r.Stage.Exclusive(ctx, "revoke")
	if err != nil {
		return r.lockError(err)
	}
	defer unlockStaging()
	s, _, unlock, err := r.exclusive(ctx, "revoke", false, "")
	if err != nil {
		return err
	}
	defer unlock()
	did, _, err := r.erase(ctx, s, true)
	res.add(did)
	return err
}

// switchAway switches production to its own content without what is revoked.
// The new generation shows the same content as the one before, redacted: so
// its origin is the same, and a revert goes to what was live before that.
func (r *Repo) switchAway(ctx context.Context, s *state, sel *tombstone.Selection, opt RevokeOptions) (*Result, error) {
	draft, err := r.store.Draft(revertPrefix)
	if err != nil {
		return nil, err
	}
	defer draft.Discard()
	valid, err := r.redact(ctx, s, s.current, func(row tree.Row) bool { return sel.Sums[row.SHA256] }, tombstone.NamesOf(sel.Unnamed), draft)
	if err != nil {
		return nil, interrupted(err)
	}
	if err := r.at("prepared"); err != nil {
		return nil, err
	}
	c := candidateOf(draft, valid, opt.Why)
	c.kind, c.origin, c.revoked, c.unnamed = generation.KindRevoke, s.current.Origin, sel.Revoked, sel.Unnamed
	// What an operator's revert barred stays barred.
	c.barred, c.barredTrees = s.current.Barred, s.current.BarredTrees
	return r.commit(ctx, s, c, opt.DryRun)
}

// leave removes from what generation n would carry what it dropped itself, what
// is revoked, and what stands beside documents: a carried copy of an index names
// what that index had.
func leave(c *generation.Carrier, carried []Carried, n int, revoked []Revoked) ([]Carried, error) {
	beside, err := c.Live.Companions(c.Format)
	if err != nil {
		return nil, err
	}
	sums := map[string]bool{}
	for _, c := range revoked {
		sums[c.SHA256] = true
	}
	return slices.DeleteFunc(carried, func(c Carried) bool { return c.Dropped == n || sums[c.SHA256] || beside(c.Path) != "" }), nil
}

// serves reports whether production has any of what is revoked, carried files
// that are due included.
func serves(s *state, sel *tombstone.Selection) bool {
	if s.current == nil {
		return false
	}
	if sel.Emptied {
		return true
	}
	for row := range s.current.All() {
		if sel.Sums[row.SHA256] && !gone(filepath.Join(s.current.Dir, filepath.FromSlash(row.Path))) {
			return true
		}
	}
	return slices.ContainsFunc(s.current.Own, func(row tree.Row) bool { return sel.Sums[row.SHA256] })
}
