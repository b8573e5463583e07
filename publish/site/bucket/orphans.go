package bucket

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Orphans returns objects with this repository's id that nothing names and that are older
// than age, sorted by key; with remove it condemns and deletes them. Objects without the id
// are only counted. If another gc is at work, the error is a *CondemnedError. What
// is there is compared with the pointer as it is now.
func (s *Site) Orphans(ctx context.Context, _ *Pointer, age time.Duration, remove bool) (
	mine []*Info, foreign int, err error) {
	now, err := s.Read(ctx)
	if err != nil {
		return nil, 0, err
	}
	known, err := s.all(ctx, now)
	if err != nil {
		return nil, 0, err
	}
	var rest []*Info
	for info, err := range s.Store.List(ctx, "", "") {
		if err != nil {
			return nil, 0, err
		}
		if !known[info.Key] {
			rest = append(rest, info)
		}
	}
	mine, foreign, err = s.owned(ctx, rest, now.Date.Add(-age))
	if err == nil && remove {
		mine, err = s.orphaned(ctx, mine)
	}
	if err != nil {
		return nil, foreign, err
	}
	return mine, foreign, nil
}

// orphaned deletes what the pointer does not lead to, as it is when they are condemned.
func (s *Site) orphaned(ctx context.Context, list []*Info) ([]*Info, error) {
	for try := 1; len(list) > 0; try++ {
		now, start, err := s.free(ctx, nil)
		if err == nil && now.Condemned != nil {
			return nil, &CondemnedError{Key: now.Condemned.Key, Until: voidAfter(now.Condemned)}
		}
		var known map[string]bool
		if err == nil {
			known, err = s.all(ctx, now)
		}
		var out *Collected
		if err == nil {
			list = slices.DeleteFunc(list, func(i *Info) bool { return known[i.Key] })
			if len(list) == 0 {
				return nil, nil
			}
			sizes := map[string]int64{}
			for _, info := range list {
				sizes[info.Key] = info.Size
			}
			out, err = s.collect(ctx, now, start, sizes, change{nonce: NewNonce(), mutate: func(*Pointer) {}})
		}
		if err == nil {
			return slices.DeleteFunc(list, func(i *Info) bool {
				return slices.ContainsFunc(out.Stay, func(st Stay) bool { return st.Key == i.Key })
			}), nil
		}
		if moved := new(MovedError); !errors.As(err, &moved) {
			return nil, err
		}
		if err := s.sleep(ctx, s.backoff(try)); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// owned returns those of some objects that this repository made before a time, and how many
// others made.
func (s *Site) owned(ctx context.Context, list []*Info, before time.Time) (mine []*Info, foreign int, err error) {
	birth, err := s.joined()
	if err != nil {
		return nil, 0, err
	}
	var mu sync.Mutex
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(max(1, s.Workers))
	for _, info := range list {
		g.Go(func() error {
			full, err := s.head(gctx, info.Key)
			if errors.Is(err, ErrNotFound) {
				return nil
			}
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			switch {
			case full.Owner != birth.Repository:
				foreign++
			case !full.Modified.After(before):
				mine = append(mine, full)
			}
			return nil
		})
	}
	err = g.Wait()
	slices.SortFunc(mine, func(a, b *Info) int { return strings.Compare(a.Key, b.Key) })
	return mine, foreign, err
}

// all returns every key that the pointer leads to.
func (s *Site) all(ctx context.Context, base *Pointer) (map[string]bool, error) {
	known := map[string]bool{}
	add := func(key string) { known[key] = true }
	if err := s.named(ctx, base, func(Ref) bool { return false }, nil, add); err != nil {
		return nil, err
	}
	for _, ref := range base.refs() {
		add(ref.Key)
	}
	for e, err := range s.chain(ctx, base.Event) {
		if err != nil {
			return nil, err
		}
		add(e.Key)
	}
	condemned, err := s.condemned(ctx, base)
	if err != nil {
		return nil, err
	}
	for key := range condemned {
		add(key)
	}
	if base.Condemned != nil {
		add(base.Condemned.Key)
	}
	return known, nil
}
