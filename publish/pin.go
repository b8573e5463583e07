package publish

import (
	"context"
	"fmt"
	"slices"

	"example.com/publish/publish/journal"
)

// Pin keeps generation n after its window ends, until Unpin. Until then it can be
// reverted to.
func (r *Repo) Pin(ctx context.Context, n int, why string) error {
	return r.pin(ctx, "pin", n, func(s *state) error {
		if e, ok := s.history.Pin(n); ok {
			return standing("publish unpin ends it", e, fmt.Sprintf("generation %d is already pinned by", n))
		}
		return r.notePin(s, journal.KindPin, n, why)
	})
}

// Unpin ends a pin: gc deletes the generation when its window has ended. Nothing
// happens if it is not pinned.
func (r *Repo) Unpin(ctx context.Context, n int) error {
	return r.pin(ctx, "unpin", n, func(s *state) error {
		if _, ok := s.history.Pin(n); !ok {
			return nil
		}
		return r.notePin(s, journal.KindUnpin, n, "")
	})
}

func (r *Repo) pin(ctx context.Context, verb string, n int, do func(*state) error) error {
	s, _, unlock, err := r.exclusive(ctx, actor{verb: verb})
	if err != nil {
		return err
	}
	defer unlock()
	current := 0
	if s.current != nil {
		current = s.current.Generation
	}
	kept, err := r.store.Kept(current)
	if err != nil {
		return err
	}
	if !slices.Contains(kept, n) {
		return notFound(r.keptHint(), "generation %d is not kept", n)
	}
	return do(s)
}

func (r *Repo) notePin(s *state, kind journal.Kind, n int, why string) error {
	made, _ := s.history.Made(n)
	return r.log(s.history, journal.Event{Head: journal.Head{Time: s.now, Kind: kind, Generation: n, From: made.From,
		Origin: made.Origin, Who: r.who(), Message: why},
		Body: &journal.Pin{TreeID: made.TreeID}})
}
