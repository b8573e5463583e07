package publish

import (
	"context"
	"errors"

	"example.com/publish/publish/generation"
	"example.com/publish/stage"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// Reset makes staging equal to production's own rows. Files that it removes wait in
// trash for one grace window.
func (r *Repo) Reset(ctx context.Context) (added, dropped int, err error) {
	return r.reset(ctx, nil)
}

// reset is Reset. links are the symbolic links of an adopted tree.
func (r *Repo) reset(ctx context.Context, links []tree.Entry) (added, dropped int, err error) {
	if err := r.allows("stage reset"); err != nil {
		return 0, 0, err
	}
	for last := 0; ; {
		n, added, dropped, err := r.resetTo(ctx, links)
		if errors.Is(err, generation.ErrMoved) && n != last {
			last = n // the tree was deleted while this waited for the staging lock
			continue
		}
		r.tell(leftInStaging)
		return added, dropped, r.locks().explain(err)
	}
}

// resetTo makes staging equal to the present production, generation n.
func (r *Repo) resetTo(ctx context.Context, links []tree.Entry) (n, added, dropped int, err error) {
	s, err := r.load(ctx)
	if err != nil {
		return 0, 0, 0, err
	}
	if s.current == nil {
		return 0, 0, 0, notFound("publish promote makes the first generation", "production does not exist yet")
	}
	if r.shared != nil {
		_ = r.shared.leaveBase(s.current.Generation) // it may be unreadable, which this mends
		added, dropped, err = r.Stage.ResetTo(ctx, "stage reset", r.shared.side(s.current.Manifest), r.trash())
		if err == nil {
			err = r.at("reset")
		}
		if err == nil {
			err = r.shared.setBase(s.current.Generation)
		}
		return s.current.Generation, added, dropped, err
	}
	src, err := s.current.Open()
	if err != nil {
		return 0, 0, 0, err
	}
	defer src.Close()
	added, dropped, err = r.Stage.Reset(ctx, src, tree.Unsigned(s.current.Own), r.trash(), links...)
	return s.current.Generation, added, dropped, err
}

// Remove takes images, or files of a plain tree, out of staging.
func (r *Repo) Remove(ctx context.Context, what ...string) ([]catalog.Image, error) {
	if err := r.allows("stage remove"); err != nil {
		return nil, err
	}
	out, err := r.Stage.Remove(ctx, r.trash(), what...)
	if errors.Is(err, stage.ErrNotFound) {
		return nil, &Error{Kind: NotFound, Err: err,
			Hint: "publish stage list shows what is there; nothing was removed"}
	}
	r.tell(leftInStaging)
	return out, r.locks().explain(err)
}

// receiving returns staging for a delivery. With force it also accepts revoked
// content.
func (r *Repo) receiving(force bool) *stage.Stage {
	if !force {
		return r.Stage
	}
	s := *r.Stage
	s.Revoked = nil
	return &s
}

// Add puts an image into staging. With force it accepts revoked content.
func (r *Repo) Add(ctx context.Context, req stage.AddRequest, force bool) (*stage.Added, error) {
	if err := r.allows("stage add"); err != nil {
		return nil, err
	}
	if req.Move {
		if err := r.checkMove(req.Files); err != nil {
			return nil, err
		}
	}
	req.Now = r.now()
	out, err := r.receiving(force).Add(ctx, req)
	return out, refused(r.locks().explain(err))
}

// Import merges a tree of another program into staging. With force it accepts revoked
// content.
func (r *Repo) Import(ctx context.Context, dir string, force bool) (*stage.Imported, error) {
	if err := r.allows("stage import"); err != nil {
		return nil, err
	}
	if err := notRepository(dir); err != nil {
		return nil, err
	}
	out, err := r.receiving(force).Import(ctx, dir)
	return out, refused(r.locks().explain(err))
}

// refused gives an error about revoked content the kind Refused.
func refused(err error) error {
	var e *stage.RevokedError
	if !errors.As(err, &e) {
		return err
	}
	return &Error{Kind: Refused, Err: err,
		Hint: "nothing was staged; --force stages it anyway, and then promote also needs --force"}
}
