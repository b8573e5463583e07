package bucket

import (
	"context"
	"encoding/json"
	"errors"
	"time"
)

const (
	turnAfter = 3 // lost races
	turnLasts = 30 * time.Second
	turnWait  = 2 * time.Minute // after that, without the turn
)

// turn says who may try next. It is advice: nothing depends on it.
type turn struct {
	Nonce string    `json:"nonce"`
	Who   string    `json:"who"`
	Until time.Time `json:"until"` // by the store's clock; zero when it is free
}

// Turn waits until this process may try next, after it lost lost races in a row, of which the
// last one took so long: with full jitter, and from the third on behind the holder of
// _publish/turn. The longer a try takes, the more others are at work: so they spread. done
// gives the turn back. It is overwritten, never deleted: some stores count what was deleted as there.
func (s *Site) Turn(ctx context.Context, lost int, took time.Duration) (done func(), err error) {
	none := func() {}
	if lost <= 0 {
		return none, nil
	}
	window := max(100*time.Millisecond, took) << min(lost, 10)
	if lost >= turnAfter {
		window = 100 * time.Millisecond << min(lost, 10) // they stand in a line
	}
	if err := s.sleep(ctx, s.chance(min(max(window, 0), 5*time.Second))); err != nil {
		return nil, err
	}
	birth, err := s.joined()
	if err != nil || lost < turnAfter {
		return none, err
	}
	me := turn{Nonce: NewNonce(), Who: s.Who}
	for start := s.now(); s.now().Sub(start) < turnWait; {
		etag, free, err := s.takeTurn(ctx, me, birth.Repository)
		switch {
		case err != nil && ctx.Err() != nil:
			return nil, err
		case err != nil:
			s.warn("the turn to promote is not asked for: " + err.Error())
			return none, nil
		case free:
			return func() { s.putTurn(context.WithoutCancel(ctx), etag, turn{Nonce: me.Nonce}, birth.Repository) }, nil
		}
		if err := s.sleep(ctx, 200*time.Millisecond+s.chance(600*time.Millisecond)); err != nil {
			return nil, err
		}
	}
	return none, nil
}

// takeTurn takes the turn if it is free, and returns its ETag.
func (s *Site) takeTurn(ctx context.Context, me turn, owner string) (etag string, free bool, err error) {
	data, info, err := s.fetch(ctx, turnKey, 1<<20)
	var now time.Time
	switch {
	case errors.Is(err, ErrNotFound):
		if info, err = s.head(ctx, birthKey); err != nil { // for the time
			return "", false, err
		}
		now = info.Date
	case err != nil:
		return "", false, err
	default:
		var held turn
		if json.Unmarshal(data, &held) == nil && held.Until.After(info.Date) &&
			held.Until.Before(info.Date.Add(2*turnLasts)) {
			return "", held.Nonce == me.Nonce, nil // ours, when the answer was lost: not given back, but soon over
		}
		etag, now = info.ETag, info.Date
	}
	me.Until = now.Add(turnLasts)
	made, err := s.putTurn(ctx, etag, me, owner)
	switch {
	case errors.Is(err, ErrMoved) || errors.Is(err, ErrExists):
		return "", false, nil
	case err != nil && !known(err) && ctx.Err() == nil:
		return "", false, nil // it may be ours: the next look says so
	case err != nil:
		return "", false, err
	}
	return made.ETag, true, nil
}

func (s *Site) putTurn(ctx context.Context, etag string, t turn, owner string) (*Info, error) {
	data, err := json.Marshal(t)
	if err != nil {
		return nil, err
	}
	meta := s.meta(Upload{Type: typeJSON, Mutable: true}, owner)
	if etag == "" {
		return s.Store.Create(ctx, turnKey, bodyOf(data), meta)
	}
	return s.Store.Swap(ctx, turnKey, etag, bodyOf(data), meta)
}
