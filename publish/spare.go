package publish

import (
	"context"
	"errors"
	"io/fs"

	"example.com/publish/publish/generation"
	"example.com/publish/stage/tree"
)

// What the spare is, and how it comes to be: see generation.SpareName. gc makes
// it of the newest tree that is due, promote, revert and revoke begin their trees
// with it, and give it back when they fail. Revoke deletes it.

// reduceSpare removes from the spare what expires in production, so that its
// bytes are free at once; with all the whole of it goes, for another one comes in
// its place. The caller holds the production lock.
func (r *Repo) reduceSpare(ctx context.Context, live *tree.Source, keep func(path string) bool, all bool) error {
	dir, err := r.store.SpareAside()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		r.leave(leftByGC, r.store.SparePath(), err)
		return nil
	}
	if err := r.at("spare-aside"); err != nil {
		return err
	}
	if all || r.store.KeepSpare(ctx, dir, live, tree.Common{Keep: keep}) != nil {
		r.drop(leftByGC, dir)
	}
	return nil
}

// dropSpare deletes the spare, for it may hold what was revoked. The caller holds
// the production lock, and looks for that in what stays.
func (r *Repo) dropSpare() error {
	dir, err := r.store.SpareAside()
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		r.leave(leftByRecovery, r.store.SparePath(), err)
	default:
		err := r.at("spare-aside")
		r.drop(leftByRecovery, dir)
		return err
	}
	return nil
}

// discard gives up a draft, unless it became production. It becomes the spare
// again, without what it did not have in common with production: to make it anew
// costs more. That needs the production lock, so that nothing is revoked, or
// expires, between the comparison and the name; where somebody else has the lock,
// the draft is deleted.
func (r *Repo) discard(draft *generation.Draft, locked bool) {
	defer draft.Discard()
	if draft.Look || gone(draft.Dir) || r.store.HasSpare() {
		return
	}
	ctx := context.Background() // also when the command was interrupted
	if !locked {
		unlock, err := r.tryLock(ctx, productionLock, "promote")
		if err != nil {
			return
		}
		defer unlock()
	}
	n, err := r.site.Live(ctx)
	if err != nil || n == 0 {
		return
	}
	live, err := tree.OpenSource(r.site.Dir(n))
	if err != nil {
		return
	}
	defer live.Close()
	_ = draft.Return(ctx, live) // else it is deleted
}
