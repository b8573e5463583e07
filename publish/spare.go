package publish

import (
	"context"
	"errors"
	"io/fs"

	"example.com/publish/publish/generation"
	"example.com/publish/stage/tree"
)

// The spare is explained at generation.SpareName. gc makes it from the newest tree
// that is due. Promote, revert and revoke begin their trees with it, and give it
// back if they fail. Revoke deletes the old spare before it deletes content.

// reduceSpare removes from the spare what expires in production, so that its bytes are
// free at once. If all is true it deletes the whole spare, because a new one is about
// to replace it. The caller holds the production lock.
func (r *Repo) reduceSpare(ctx context.Context, live *tree.Source, keep tree.Common, all bool,
	with *tree.Comparison) error {
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
	if all || r.store.KeepSpare(ctx, dir, live, keep, with) != nil {
		r.drop(leftByGC, dir)
	}
	return nil
}

// dropSpare deletes the spare, because it may have revoked content. The caller holds
// the production lock. If part of the spare cannot be deleted, the caller searches
// that part for the content.
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

// discard gives up a draft, unless it became production. It makes the draft the spare
// again, reduced to what it has in common with production, because a new spare costs
// more. That needs the production lock: nothing may be revoked or expire between the
// comparison and the rename. If another process holds the lock, the draft is deleted.
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
