package publish

import (
	"context"

	"example.com/publish/publish/journal"
)

// Hold stops promotes until Unhold. It also stops a promote that has begun but has not
// switched yet.
func (r *Repo) Hold(ctx context.Context, why string) error {
	s, _, unlock, err := r.exclusive(ctx, actor{verb: "hold"})
	if err != nil {
		return err
	}
	defer unlock()
	if e, ok := s.history.Hold(); ok {
		return standing("publish unhold ends it", e, "already held by")
	}
	return r.log(s.history, r.note(s, journal.KindHold, why))
}

// Unhold ends a hold.
func (r *Repo) Unhold(ctx context.Context) error {
	s, _, unlock, err := r.exclusive(ctx, actor{verb: "unhold"})
	if err != nil {
		return err
	}
	defer unlock()
	if _, ok := s.history.Hold(); !ok {
		return nil
	}
	return r.log(s.history, r.note(s, journal.KindUnhold, ""))
}
