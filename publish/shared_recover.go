package publish

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"example.com/publish/publish/site/bucket"
	"example.com/publish/stage/durable"
	"example.com/publish/stage/lock"
)

// recover finishes what killed commands left, of this machine and of others. The pointer
// is the truth, and a commit happened or did not; what may be left to do is
//
//	killed while                 is in the store, or here    is finished by
//	making a private tree        .snapshot-…, .revert-…      sweep removes it
//	uploading                    objects that nothing names  gc --orphans
//	the commit is under way      .publish/commit             settleBase
//	making staging from another  .publish/base has both      finishRebase
//	files beside the pointer     settled: false              settleBeside, the next switch
//	deleting files beside it     left                        clean, in the next gc
//	in the health check          pending                     checkHealth: see shared_health.go
//	in gc                        condemned                   the next gc
func (b *shared) recover(ctx context.Context, by actor) (*state, []string, error) {
	r := b.r
	var done []string
	did := func(format string, args ...any) { done = append(done, fmt.Sprintf(format, args...)) }
	p, err := b.pointer(ctx, 0)
	if err != nil {
		return nil, nil, err
	}
	if by.began != nil && by.began.generation() != p.Generation {
		return nil, nil, &bucket.MovedError{Now: p}
	}
	if n, err := b.settleBase(ctx); err != nil {
		return nil, done, err
	} else if n != 0 {
		did("generation %d was committed: staging is made from it", n)
	}
	s, err := b.state(ctx, b.present())
	if err != nil {
		return nil, done, err
	}
	r.tryAgain(leftByRecovery)
	if by.preparing || r.locks().state(prepareLock) == lock.Free {
		done = append(done, b.sweep(by)...)
	}
	if did, state, err := r.erase(ctx, s, r.tryStaging); err != nil {
		r.opt.Warn(fmt.Sprintf("revoked content is not deleted everywhere yet: %v", err))
	} else if did != nil && state == eraseDone {
		done = append(done, fmt.Sprintf("deleted revoked content: %d objects and files", did.Files))
	}
	b.trim(s)
	if s.current == nil || !r.unchecked(s.history) || !b.mayCheck() {
		return s, done, nil
	}
	mine, err := b.takeCheck(ctx, s)
	if err != nil {
		return s, done, err
	}
	if s, err = b.state(ctx, b.present()); err != nil {
		return nil, done, err
	}
	if mine {
		did("ran the health check of generation %d", s.current.Generation)
		if err := r.checkHealth(context.WithoutCancel(ctx), s); err != nil {
			return s, done, err
		}
	}
	return s, done, nil
}

// pending reports whether recover has something to do.
func (b *shared) pending(s *state) bool {
	if b.r.locks().state(productionLock) == lock.Held {
		return false
	}
	if len(b.r.lostParts()) > 0 {
		return true
	}
	if g, err := b.r.graveyard(); err == nil {
		if _, pending := g.Split(); len(pending) > 0 {
			return true
		}
	}
	if _, to, err := b.bases(); err == nil && to != 0 {
		return true
	}
	return !gone(b.intentPath()) || s.current != nil && (!b.present().Settled || b.r.unchecked(s.history) && b.mayCheck())
}

// settleBase finds out whether the commit that this machine began last has happened, and
// if it has, what staging is made from. It returns that generation; 0 if nothing was to
// do.
func (b *shared) settleBase(ctx context.Context) (int, error) {
	data, err := durable.ReadFile(b.intentPath(), 256)
	if err != nil {
		if gone(b.intentPath()) {
			return 0, nil
		}
		return 0, err
	}
	seq, nonce, n := 0, "", 0
	if _, err := fmt.Sscanf(string(data), "%d %s %d\n", &seq, &nonce, &n); err != nil {
		return 0, os.Remove(b.intentPath()) // it was cut off, so nothing was sent
	}
	done := slices.ContainsFunc(b.present().Commits, func(c bucket.Done) bool { return c.Nonce == nonce })
	if !done {
		// It has not happened, or long ago, or its request is still under way: after this
		// question it cannot take effect any more. If it has not, staging keeps its base;
		// what it has in common with production by then is the same on both sides of a union.
		var now *bucket.Pointer
		if done, now, err = b.site.Outcome(ctx, seq, nonce); err != nil {
			return 0, b.explain(err)
		}
		b.move(now)
	}
	if !done {
		return 0, os.Remove(b.intentPath())
	}
	m, err := b.r.store.Manifest(n)
	switch e := new(Error); {
	case errors.As(err, &e) && e.Kind == NotFound:
		err = b.setBase(n) // promote says what to do
	case err == nil:
		err = b.rest(ctx, m)
	}
	if err != nil {
		return 0, err
	}
	return n, os.Remove(b.intentPath())
}

// sweep removes drafts of commands that were killed.
func (b *shared) sweep(by actor) []string {
	var done []string
	for _, dir := range b.r.store.Drafts() {
		mine := by.draft != "" && strings.HasPrefix(dir, by.draft)
		if !mine && b.r.drop(leftByRecovery, dir) {
			done = append(done, "removed the snapshot of a command that did not end")
		}
	}
	return done
}

// recoverAll is Repo.Recover. made are the parts of the repository that were made anew.
func (b *shared) recoverAll(ctx context.Context, made []string) ([]string, error) {
	s, done, err := b.recover(ctx, actor{verb: "recover"})
	if err != nil {
		return append(made, done...), err
	}
	b.r.noteLeftovers(warnOfAll)
	did, err := b.finishBeside(ctx)
	if err != nil {
		return append(made, done...), err
	}
	if did {
		done = append(done, "replaced the files beside the index")
	}
	switch _, to, err := b.bases(); {
	case err != nil || to == 0 || s.current == nil:
	default:
		_, err = b.finishRebase(ctx, s)
		if e := new(Error); errors.As(err, &e) && e.Kind == Refused {
			b.r.opt.Warn(fmt.Sprintf("staging is not recovered: %v", err)) // promote says what to do
		} else if err != nil {
			return append(made, done...), err
		} else {
			done = append(done, fmt.Sprintf("staging is made from generation %d", to))
		}
	}
	return append(made, done...), b.r.pendingErasure()
}
