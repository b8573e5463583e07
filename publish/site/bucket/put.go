package bucket

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// Put makes mutable objects beside the pointer, such as pages and tags, have these bytes,
// Workers at once: each is created, or swapped on the condition that it still is what it
// was. Objects with the same Stage are written before those of a higher one. Afterwards the
// caller commits Settled. The error is a *MovedError if production is no longer that of base:
// then they are for who came after to make, and a ReplacedError if an object is not of this
// repository. wrote says whether something may have been written.
//
// First it looks what is there, then whether base is still production, and then it writes on
// the condition that nothing has changed since the look. So a process that was asleep does
// not overwrite what a later generation has put there. There is one exception: an ETag follows
// from the bytes, so if the later one found its bytes there already, and wrote nothing, that
// process can. It sees then that production has moved, when it commits Settled, and has to put
// right what it has written.
func (s *Site) Put(ctx context.Context, base *Pointer, objects []Upload) (wrote bool, err error) {
	birth, err := s.joined()
	if err != nil {
		return false, err
	}
	if _, err := s.missing(ctx, base, objects); err != nil {
		return false, err
	}
	for try := 1; ; try++ {
		todo, err := s.unlike(ctx, objects, try == 1, birth.Repository)
		if err != nil || len(todo) == 0 {
			return wrote, err
		}
		now, err := s.Read(ctx)
		if err != nil {
			return wrote, err
		}
		if now.Generation != base.Generation {
			return wrote, &MovedError{Now: now}
		}
		if err := s.step("before-put"); err != nil {
			return wrote, err
		}
		wrote = true
		objects = make([]Upload, len(todo))
		for i, p := range todo {
			objects[i] = p.Upload
		}
		failed := s.putAll(ctx, todo, birth.Repository)
		if err := s.step("after-put"); err != nil {
			return wrote, err
		}
		refusal := new(Refusal)
		if failed == nil || errors.As(failed, &refusal) || try == tries || ctx.Err() != nil {
			return wrote, failed
		}
		if err := s.sleep(ctx, s.backoff(try)); err != nil {
			return wrote, err
		}
	}
}

// putting is an object to put, with the ETag of what is there; "" for nothing.
type putting struct {
	Upload
	etag string
}

// unlike returns the objects that do not have their bytes. With guess, those that are
// Fresh are taken to be absent: to create them fails if they are not.
func (s *Site) unlike(ctx context.Context, objects []Upload, guess bool, owner string) ([]putting, error) {
	found := make([]*putting, len(objects))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(max(1, s.Workers))
	for i, u := range objects {
		if guess && u.Fresh {
			found[i] = &putting{Upload: u}
			continue
		}
		g.Go(func() error {
			etag, same, err := s.mutable(gctx, u, owner)
			if err == nil && !same {
				found[i] = &putting{u, etag}
			}
			return err
		})
	}
	if err := errors.Join(g.Wait(), ctx.Err()); err != nil {
		return nil, err
	}
	var todo []putting
	for _, p := range found {
		if p != nil {
			todo = append(todo, *p)
		}
	}
	return todo, nil
}

// putAll writes objects, stage after stage. Of one that fails others are still written,
// unless the store refuses it.
func (s *Site) putAll(ctx context.Context, todo []putting, owner string) error {
	for len(todo) > 0 {
		n := 1
		for n < len(todo) && todo[n].Stage == todo[0].Stage {
			n++
		}
		var mu sync.Mutex
		var failed error
		var refused atomic.Bool
		g := errgroup.Group{}
		g.SetLimit(max(1, s.Workers))
		for _, p := range todo[:n] {
			g.Go(func() error {
				if refused.Load() || ctx.Err() != nil {
					return nil
				}
				err := s.put(ctx, p.Upload, p.etag, owner)
				if err == nil {
					return nil
				}
				if refusal := new(Refusal); errors.As(err, &refusal) {
					refused.Store(true)
				}
				mu.Lock()
				defer mu.Unlock()
				if failed == nil || refused.Load() {
					failed = fmt.Errorf("%s: %w", p.Key, err)
				}
				return nil
			})
		}
		_ = g.Wait() // it returns none
		if err := errors.Join(failed, ctx.Err()); err != nil {
			return err
		}
		todo = todo[n:]
	}
	return nil
}

// mutable returns the ETag of what is at a key, and whether it is right already.
func (s *Site) mutable(ctx context.Context, u Upload, owner string) (etag string, same bool, err error) {
	info, err := s.head(ctx, u.Key)
	if errors.Is(err, ErrNotFound) {
		return "", false, nil
	}
	if err != nil {
		return "", false, err
	}
	err = s.same(ctx, info, u, owner)
	if replaced := new(ReplacedError); errors.As(err, &replaced) && !replaced.Foreign {
		return info.ETag, false, nil
	}
	return info.ETag, err == nil, err
}

func (s *Site) put(ctx context.Context, u Upload, etag, owner string) (err error) {
	u.Mutable = true
	if etag == "" {
		_, err = s.Store.Create(ctx, u.Key, u.Body, s.meta(u, owner))
	} else {
		_, err = s.Store.Swap(ctx, u.Key, etag, u.Body, s.meta(u, owner))
	}
	return err
}
