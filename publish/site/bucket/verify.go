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

// Check is an object that must be there, with the size and the digest of a row.
type Check struct {
	Key string
	Row tree.Row
}

// Flaw is an object that is not what a manifest says.
type Flaw struct {
	Key  string
	Row  tree.Row
	Fact string
}

// Verify compares objects with what they must be: their size and digest as the store says,
// with full the bytes. The flaws are in the order of the checks; read is how many bytes of
// files were read.
func (s *Site) Verify(ctx context.Context, checks iter.Seq[Check], full bool) (flaws []Flaw, read int64, err error) {
	birth, err := s.joined()
	if err != nil {
		return nil, 0, err
	}
	var mu sync.Mutex
	facts := map[int]Flaw{}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(max(1, s.Workers))
	n := 0
	for c := range checks {
		if gctx.Err() != nil {
			break
		}
		at := n
		n++
		g.Go(func() error {
			fact, size, err := s.flaw(gctx, c.Row, c.Key, birth.Repository, full)
			mu.Lock()
			defer mu.Unlock()
			if read += size; err == nil && fact != "" {
				facts[at] = Flaw{Key: c.Key, Row: c.Row, Fact: fact}
			}
			return err
		})
	}
	if err := errors.Join(g.Wait(), ctx.Err()); err != nil {
		return nil, 0, err
	}
	for i := range n {
		if f, ok := facts[i]; ok {
			flaws = append(flaws, f)
		}
	}
	return flaws, read, nil
}

// flaw says what is wrong with the object of a row; "" if nothing is. read is how many bytes
// of the file it has read to know.
func (s *Site) flaw(ctx context.Context, row tree.Row, key, owner string, full bool) (
	fact string, read int64, err error) {
	info, err := s.head(ctx, key)
	packed := key == KeyOf(row)
	switch {
	case errors.Is(err, ErrNotFound):
		return "is missing", 0, nil
	case err != nil:
		return "", 0, fmt.Errorf("%s: %w", key, err)
	case info.Owner != owner:
		return "is an object that this repository did not make", 0, nil
	case packed && !full:
		return "", 0, nil
	case packed:
		data, err := s.uncached().File(ctx, row)
		switch {
		case errors.Is(err, ErrNotFound):
			return "is missing", 0, nil // since it was asked for
		case errors.Is(err, ErrDamaged):
			return "has other bytes", int64(len(data)), nil
		}
		return "", int64(len(data)), err
	case info.Size != row.Size:
		return fmt.Sprintf("has %d bytes, and not %d", info.Size, row.Size), 0, nil
	case info.SHA256 != "" && info.SHA256 != row.SHA256:
		return "has other bytes", 0, nil
	case !full: // its size is right, and its digest if the store says that
		return "", 0, nil
	}
	sum, read, err := s.hash(ctx, key)
	switch {
	case errors.Is(err, ErrNotFound):
		return "is missing", 0, nil
	case err == nil && sum != row.SHA256:
		return "has other bytes", read, nil
	}
	return "", read, err
}

// uncached is s, for reading the store only.
func (s *Site) uncached() *Site {
	opt := s.Options
	opt.Cache = ""
	return New(opt)
}
