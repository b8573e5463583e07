package bucket

import (
	"context"
	"errors"
	"fmt"
)

// Put makes mutable objects beside the pointer, such as pages and signatures, have these
// bytes: each is created, or swapped on the condition that it still is what it was.
// Afterwards the caller commits Settled. The error is a *MovedError if production is no
// longer that of base: then they are for who came after to make, and a ReplacedError if
// an object is not of this repository.
//
// First it looks what is there, then whether base is still production, and then it writes on
// the condition that nothing has changed since the look. In this order a process that was
// asleep cannot overwrite what a later generation has put there.
func (s *Site) Put(ctx context.Context, base *Pointer, objects []Upload) error {
	birth, err := s.joined()
	if err != nil {
		return err
	}
	if _, err := s.missing(ctx, base, objects); err != nil {
		return err
	}
	for try := 1; ; try++ {
		was := map[string]string{} // ETags
		var todo []Upload
		for _, u := range objects {
			etag, same, err := s.mutable(ctx, u, birth.Repository)
			if err != nil {
				return err
			}
			if !same {
				was[u.Key] = etag
				todo = append(todo, u)
			}
		}
		if len(todo) == 0 {
			return nil
		}
		now, err := s.Read(ctx)
		if err != nil {
			return err
		}
		if now.Generation != base.Generation {
			return &MovedError{Now: now}
		}
		var failed error
		for _, u := range todo {
			if err := s.step("before-put"); err != nil {
				return err
			}
			if err := s.put(ctx, u, was[u.Key], birth.Repository); err != nil {
				failed = fmt.Errorf("%s: %w", u.Key, err)
				if refusal := new(Refusal); errors.As(err, &refusal) {
					return failed
				}
			}
			if err := s.step("after-put"); err != nil {
				return err
			}
		}
		if failed == nil {
			return nil
		}
		if try == tries || ctx.Err() != nil {
			return failed
		}
		if err := s.sleep(ctx, s.backoff(try)); err != nil {
			return err
		}
	}
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
