package bucket

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"

	"golang.org/x/sync/errgroup"

	"example.com/publish/stage/tree"
)

// Flaw is an object that is not what a manifest says.
type Flaw struct {
	Key  string
	Row  tree.Row
	Fact string
}

// Verify compares the objects with rows: their size and digest as the store says, with
// full the bytes. The flaws are in the order of the rows.
func (s *Site) Verify(ctx context.Context, rows iter.Seq[tree.Row], key func(tree.Row) string, full bool) (
	[]Flaw, error) {
	birth, err := s.joined()
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	facts := map[int]Flaw{}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(max(1, s.Workers))
	n := 0
	for row := range rows {
		if gctx.Err() != nil {
			break
		}
		at := n
		n++
		g.Go(func() error {
			fact, err := s.flaw(gctx, row, key(row), birth.Repository, full)
			if err == nil && fact != "" {
				mu.Lock()
				facts[at] = Flaw{Key: key(row), Row: row, Fact: fact}
				mu.Unlock()
			}
			return err
		})
	}
	if err := errors.Join(g.Wait(), ctx.Err()); err != nil {
		return nil, err
	}
	var flaws []Flaw
	for i := range n {
		if f, ok := facts[i]; ok {
			flaws = append(flaws, f)
		}
	}
	return flaws, nil
}

// flaw says what is wrong with the object of a row; "" if nothing is.
func (s *Site) flaw(ctx context.Context, row tree.Row, key, owner string, full bool) (string, error) {
	info, err := s.head(ctx, key)
	packed := key == KeyOf(row)
	switch {
	case errors.Is(err, ErrNotFound):
		return "is missing", nil
	case err != nil:
		return "", fmt.Errorf("%s: %w", key, err)
	case info.Owner != owner:
		return "is an object that this repository did not make", nil
	case packed && !full:
		return "", nil
	case packed:
		_, err := s.uncached().File(ctx, row)
		if errors.Is(err, ErrDamaged) {
			return "has other bytes", nil
		}
		return "", err
	case info.Size != row.Size:
		return fmt.Sprintf("has %d bytes, and not %d", info.Size, row.Size), nil
	case info.SHA256 != "" && info.SHA256 != row.SHA256:
		return "has other bytes", nil
	case !full && info.SHA256 != "":
		return "", nil
	}
	if !full {
		return "", nil // its size is right, and the store does not say more
	}
	sum, _, err := s.hash(ctx, key)
	switch {
	case errors.Is(err, ErrNotFound):
		return "is missing", nil
	case err == nil && sum != row.SHA256:
		return "has other bytes", nil
	}
	return "", err
}

// uncached is s, for reading the store only.
func (s *Site) uncached() *Site {
	opt := s.Options
	opt.Cache = ""
	return New(opt)
}
